"""The whole stack: up, down, status, logs."""

import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
import psutil

from stack.announce import announce, first_answer, print_processes
from stack.bootstrap import BUNDLED
from stack.client import ApiClient
from stack.commands.options import AUTO, WorkerCount, json_option, var_option
from stack.commands.process import DEFAULT_PORT
from stack.console import console, one_line_errors, print_json, print_table, say
from stack.errors import AlreadyRunningError, NotRunningError, StartupError
from stack.state import is_locked, read_state
from stack.up import Options, run_stack

DEFAULT_FLOWER_PORT = 5555

# One process of Python answers at one core's speed; more than a few only take memory from the models.
MOST_WEB_PROCESSES = 4

DETACH_TIMEOUT_S = 180.0
DOWN_TIMEOUT_S = 60.0
POLL_S = 0.1
LOG_LINES = 50


@click.command()
@var_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API.")
@click.option(
    "--port", type=int, envvar="TORCHQUEUE_PORT", default=DEFAULT_PORT, show_default=True, help="Port of the API."
)
@click.option(
    "--flower-port",
    type=int,
    envvar="TORCHQUEUE_FLOWER_PORT",
    default=DEFAULT_FLOWER_PORT,
    show_default=True,
    help="Port of Flower.",
)
@click.option(
    "--workers",
    type=WorkerCount(),
    default=AUTO,
    show_default=True,
    help="Inference workers; auto: one a GPU, or on a CPU as many as were measured to answer most; one before that.",
)
@click.option(
    "--web-processes",
    type=click.IntRange(1),
    default=lambda: min(MOST_WEB_PROCESSES, os.cpu_count() or 1),
    help="Processes that answer HTTP; default: one a core, at most 4.",
)
@click.option("--inline", is_flag=True, help="Let web processes compute the models whose placement is `inline`.")
@click.option(
    "--models",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=BUNDLED,
    help="Folder of models that are imported where they are missing.  [default: the bundled ones]",
)
@click.option("--detach", is_flag=True, help="Return when all is ready and leave it running.")
@one_line_errors
def up(
    var_dir: Path,
    host: str,
    port: int,
    flower_port: int,
    workers: int | None,
    web_processes: int,
    inline: bool,
    models: Path,
    detach: bool,
) -> None:
    """Start everything on this machine; Ctrl-C drains and stops it."""
    if detach:
        _detach(var_dir)
        return
    options = Options(
        var_dir=var_dir,
        host=host,
        port=port,
        flower_port=flower_port,
        workers=workers,
        web_processes=web_processes,
        inline=inline,
        models=models,
    )
    run_stack(options, say, first_answer, announce)


@click.command()
@var_option
@one_line_errors
def down(var_dir: Path) -> None:
    """Drain and stop the stack on this folder."""
    state = read_state(var_dir)
    if not is_locked(var_dir):
        raise NotRunningError(f"the stack on {var_dir} was killed; the next `torchqueue up` ends what it left behind")
    psutil.Process(state.pid).terminate()
    until = time.monotonic() + DOWN_TIMEOUT_S
    while is_locked(var_dir):
        if time.monotonic() > until:
            raise NotRunningError(f"the stack (process {state.pid}) still drains after {DOWN_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)
    say("stopped")


@click.command()
@var_option
@json_option
@one_line_errors
def status(var_dir: Path, as_json: bool) -> None:
    """Show the processes of the stack, what waits, and what was done in the last minute."""
    state = read_state(var_dir)
    with ApiClient(var_dir) as client:
        queues, stats = client.get("/v1/queues")["data"], client.get("/v1/stats")["models"]
        workers = client.get("/v1/workers")["data"]
    if as_json:
        print_json({"stack": asdict(state), "workers": workers, "queues": queues, "stats": stats})
        return
    print_processes(state)
    console.print("\nworkers")
    print_table(
        ["worker", "role", "device", "state", "models"],
        [(w["name"], w["role"], w["device"], w["state"], len(w["models"])) for w in workers],
    )
    console.print("\nlast minute")
    print_table(
        ["model", "succeeded", "failed", "per second", "p50 ms", "p99 ms"],
        [
            (
                f"{s['model']}/{s['version']}",
                s["succeeded"],
                s["failed"],
                f"{s['per_second']:.1f}",
                s["total_p50_ms"],
                s["total_p99_ms"],
            )
            for s in stats
        ],
    )
    console.print("\nwaiting and running")
    columns = ["model", "priority", "queued", "processing"]
    print_table(columns, [(f"{q['model']}/{q['version']}", *(q[name] for name in columns[1:])) for q in queues])


@click.command()
@var_option
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added.")
@one_line_errors
def logs(var_dir: Path, name: str, follow: bool) -> None:
    """Print the end of a process's log."""
    state = read_state(var_dir)
    paths = {process.name: process.log for process in state.processes}
    if name not in paths:
        raise NotRunningError(f"the stack has no process {name!r}; it has {', '.join(sorted(paths))}")
    os.execvp("tail", ["tail", f"-n{LOG_LINES}", *(["-F"] if follow else []), paths[name]])


def _detach(var_dir: Path) -> None:
    """Start the same command without a terminal, wait until it is ready, and print what it printed."""
    if is_locked(var_dir):
        raise AlreadyRunningError(f"a stack already runs on {var_dir}; `torchqueue down` stops it")
    var_dir.mkdir(parents=True, exist_ok=True)
    log = var_dir / "stack.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack", *(argument for argument in sys.argv[1:] if argument != "--detach")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + DETACH_TIMEOUT_S
    while "ready. " not in log.read_text():
        if process.poll() is not None:
            raise StartupError(log.read_text().strip().removeprefix("Error: "))
        if time.monotonic() > until:
            raise StartupError(f"the stack was not ready within {DETACH_TIMEOUT_S:.0f} s; see {log}")
        time.sleep(POLL_S)
    click.echo(log.read_text().replace("Ctrl-C stops it.", "`torchqueue down` stops it."), nl=False)
