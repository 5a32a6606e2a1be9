"""One process each, in the foreground: what a container runs."""

import os
import socket
import sys
from pathlib import Path

import click
from sqlalchemy import select

from schemas.enums import WorkerRole
from stack.bootstrap import prepare_database
from stack.commands.options import open_database, read_settings, var_option
from stack.console import one_line_errors, say
from stack.plan import WEB_PROCESSES_VARIABLE, web_command
from store.database import open_session
from store.objects import ObjectStore
from store.tables.worker import Worker
from store.workers import is_serving

DEFAULT_PORT = 8000

# Load balancers look every second or two.
DEFAULT_GRACE_S = 5.0


@click.command()
@var_option
@one_line_errors
def migrate(var_dir: Path) -> None:
    """Bring the database to this version, and import the bundled models on the first run."""
    settings = read_settings(var_dir)
    imported = prepare_database(open_database(var_dir), ObjectStore(settings.object_url))
    say(f"the database is up to date; imported {', '.join(imported) or 'no model'}")


@click.command()
@var_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=DEFAULT_PORT, show_default=True, help="Port to listen on.")
@click.option("--processes", type=int, default=1, show_default=True, help="Processes that answer.")
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0),
    default=DEFAULT_GRACE_S,
    show_default=True,
    help="Seconds of serving after SIGTERM, not ready any more, so that load balancers send nobody.",
)
@one_line_errors
def web(var_dir: Path, host: str, port: int, processes: int, grace_s: float) -> None:
    """Serve the API."""
    read_settings(var_dir)
    os.environ.setdefault(WEB_PROCESSES_VARIABLE, str(processes))
    _become(web_command(host=host, port=port, processes=processes, grace_s=grace_s))


@click.command()
@var_option
@click.argument("role", type=click.Choice([str(role) for role in WorkerRole]))
@click.option("--device", default="cpu:0", show_default=True, help="cuda:N or cpu:N.")
@one_line_errors
def worker(var_dir: Path, role: str, device: str) -> None:
    """Consume one role's queues on one device."""
    read_settings(var_dir)
    _become([sys.executable, "-m", "tasks.worker", role, f"--device={device}"])


@click.command()
@var_option
@one_line_errors
def beat(var_dir: Path) -> None:
    """Send the scheduled jobs. Any number may run."""
    read_settings(var_dir)
    _become([sys.executable, "-m", "tasks.beat"])


@click.command()
@var_option
@one_line_errors
def flower(var_dir: Path) -> None:
    """Serve Flower, which shows workers and tasks."""
    read_settings(var_dir)
    _become([sys.executable, "-m", "tasks.flower"])


@click.command()
@var_option
@click.argument("role", type=click.Choice([str(role) for role in WorkerRole]))
@click.option("--device", default=None, help="Only a worker of this device counts.")
@one_line_errors
def healthcheck(var_dir: Path, role: str, device: str | None) -> None:
    """Exit with 0 when a worker of this role on this host holds its lease and serves."""
    statement = select(Worker.id).where(Worker.host == socket.gethostname(), Worker.role == role, is_serving())
    if device is not None:
        statement = statement.where(Worker.device == device)
    with open_session(open_database(var_dir)) as session:
        found = session.scalars(statement).first()
    if found is None:
        raise click.ClickException(f"no {role} worker on this host holds a lease")


def _become(argv: list[str]) -> None:
    """Replace this process, so that signals reach the real one."""
    sys.stdout.flush()
    os.execv(argv[0], argv)
