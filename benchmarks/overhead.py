"""What the backend costs over the bare network: `python -m benchmarks.overhead`, or `make bench`.

Starts a stack of its own with embedded servers, sends predictions of `xor` (2-8-1, the smallest model) through the
queue with wrk, every one committed in Postgres, and prints rate, latency and memory. Load generator, web, worker,
Postgres and Valkey share the machine, so figures of different runs compare only as far as the machine was as quiet;
the ratios within a run do.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.engine import Engine
from ml.spec import ModelSpec
from tests.running import RunningStack

WARM_UP_S = 3
FORWARDS = 2_000
MEBIBYTE = 1024 * 1024

SCRIPT = """
wrk.method = "POST"
wrk.body = '{"input": [0, 1]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""

RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
PERCENTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)\s*$", re.MULTILINE)
FAILURES = re.compile(r"Non-2xx or 3xx responses: (\d+)")
TO_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk saw at one number of connections. Times in milliseconds."""

    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failures: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run. `stored` counts the rows that the crowd left in Postgres. Memory is resident, in MiB."""

    forward_ms: float
    lone: Load
    crowd: Load
    stored: int
    web_mib: float
    worker_mib: float

    @property
    def added_ms(self) -> float:
        """Median time that a lone request takes beyond the bare forward."""
        return self.lone.p50_ms - self.forward_ms


def measure_forward_ms() -> float:
    """Time the bare network: decode and forward of one item in this process, median, milliseconds."""
    bundle = read_bundle(BUNDLED_DIRECTORY / "xor")
    engine = Engine("cpu:0")
    engine.load(ModelSpec.from_config("xor", 1, bundle.config), bundle.weights)
    times = []
    for _ in range(FORWARDS):
        started = time.perf_counter()
        engine.compute(("xor", 1), engine.decode(("xor", 1), [[0.0, 1.0]]))
        times.append((time.perf_counter() - started) * 1000)
    engine.close()
    return median(times)


def send_load(url: str, script: Path, connections: int, seconds: int) -> Load:
    """Send as many requests as the backend answers over so many connections."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"-s{script}"]
    printed = subprocess.run(
        [*command, f"{url}/v1/models/xor/predictions"], capture_output=True, text=True, check=True
    ).stdout
    percentiles = {int(rank): float(value) * TO_MS[unit] for rank, value, unit in PERCENTILE.findall(printed)}
    failures = FAILURES.search(printed)
    return Load(
        connections=connections,
        per_second=float(RATE.findall(printed)[0]),
        p50_ms=percentiles[50],
        p99_ms=percentiles[99],
        failures=int(failures.group(1)) if failures else 0,
    )


def run(connections: int, seconds: int) -> Report:
    """Start a stack, load it, and stop it."""
    with tempfile.TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        script = Path(folder) / "xor.lua"
        with RunningStack.start(Path(folder) / "var") as stack:
            script.write_text(SCRIPT % stack.admin_key)
            send_load(stack.url, script, connections, WARM_UP_S)
            lone = send_load(stack.url, script, 1, seconds)
            before = _count_rows(stack)
            crowd = send_load(stack.url, script, connections, seconds)
            return Report(
                forward_ms=measure_forward_ms(),
                lone=lone,
                crowd=crowd,
                stored=_count_rows(stack) - before,
                web_mib=max(_resident_mib(child) for child in psutil.Process(stack.pid("web")).children()),
                worker_mib=_resident_mib(psutil.Process(stack.pid("cpu-0"))),
            )


@click.command()
@click.option("--connections", type=int, default=64, show_default=True)
@click.option("--seconds", type=int, default=10, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def main(connections: int, seconds: int, as_json: bool) -> None:
    """Measure what the backend costs over the bare network."""
    if shutil.which("wrk") is None:
        sys.exit("wrk makes the load: install it, e.g. `apt-get install wrk`")
    report = run(connections, seconds)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
        return
    _print(report)


def _print(report: Report) -> None:
    table = Table("figure", "measured", "wanted", box=None, pad_edge=False, header_style="bold")
    crowd = report.crowd
    rows = [
        (f"xor through the queue, {crowd.connections} connections", f"{crowd.per_second:,.0f} /s", ">= 1,000 /s"),
        ("  of these stored in Postgres while it ran", f"{report.stored:,}", "all"),
        ("  refused or failed", f"{crowd.failures}", "0"),
        ("  p50, p99", f"{crowd.p50_ms:.0f} ms, {crowd.p99_ms:.0f} ms", ""),
        ("bare forward of one item, p50", f"{report.forward_ms:.2f} ms", ""),
        ("one connection, p50", f"{report.lone.p50_ms:.1f} ms", ""),
        ("one connection, p50 added over the forward", f"{report.added_ms:.1f} ms", "<= 6 ms"),
        ("memory of a web process", f"{report.web_mib:.0f} MiB", "<= 150 MB (143 MiB)"),
        ("memory of the CPU worker", f"{report.worker_mib:.0f} MiB", "<= 700 MB (667 MiB)"),
    ]
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _count_rows(stack: RunningStack) -> int:
    with stack.open_database().connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM predictions")).scalar_one())


def _resident_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MEBIBYTE


if __name__ == "__main__":
    main()
