"""How long a prediction is away when its worker is: `python -m benchmarks.recovery`.

Real processes and real signals. A worker of two is stopped in the middle of its work, so that it holds rows for
certain; then it is killed, or stays silent as a lost node does. Measured is the time until the last of the rows that it
held waits again, which is what is promised, and until the last of them has its answer. A bad input among 32 is counted
in forwards of the network, in this process.
"""

import os
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import click
import torch
from sqlalchemy import Connection, text

from benchmarks.report import Figure, Unit, at_least, at_most, print_table
from ml.classification import ClassificationPredictor
from ml.engine import Engine
from ml.kinds import KINDS, build_untrained
from ml.spec import ModelSpec
from ml.weights import dump_weights
from tests.load import Crowd, asking
from tests.running import RunningStack, wait_until

CLIENTS = 16
KILLS = 10
SILENCES = 5

#: Looked at so often, in seconds; it bounds what can be told apart.
LOOK_EVERY_S = 0.005

GIVE_UP_S = 60.0

BATCH = 32
BAD_VALUE = 666.0

HELD = text("""
    SELECT p.id, p.fence FROM predictions p JOIN workers w ON w.id = p.worker_id
    WHERE p.status = 'processing' AND w.pid = :pid
""")

STILL_HELD = text("""
    SELECT count(*) FILTER (WHERE p.status = 'processing' AND p.fence = h.fence) AS held,
        count(*) FILTER (WHERE p.finished_at IS NULL) AS unfinished
    FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS bigint[])) AS h(id, fence) JOIN predictions p ON p.id = h.id
""")


@dataclass
class Recoveries:
    """Times in seconds, one for each loss.

    Attributes:
        waiting: Until the last of the rows waited again, or had gone on.
        finished: Until the last of them was finished.
        rows: How many there were.
    """

    waiting: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def figures(self, what: str, wanted_s: float) -> list[Figure]:
        """Put them into the table."""
        note = f"{len(self.waiting)} times, {sum(self.rows)} rows held"
        return [
            Figure(
                name=f"{what}: until its rows wait again, slowest",
                value=max(self.waiting),
                unit=Unit.S,
                wanted=at_most(wanted_s),
                note=f"{note}; median {statistics.median(self.waiting):.2f} s",
            ),
            Figure(
                name=f"{what}: until the last of them is answered, slowest",
                value=max(self.finished),
                unit=Unit.S,
                note=f"median {statistics.median(self.finished):.2f} s",
            ),
        ]


def measure_losses(kills: int, silences: int, var_dir: Path) -> list[Figure]:
    """Lose workers under load."""
    killed, silent = Recoveries(), Recoveries()
    with RunningStack.start(var_dir, "--workers=2") as stack, stack.open_database().connect() as opened:
        connection = opened.execution_options(isolation_level="AUTOCOMMIT")
        with asking(Crowd(stack), clients=CLIENTS, pause_s=0.0) as people:
            for turn in range(kills):
                _kill(stack, f"cpu-{turn % 2}", connection, killed)
            for turn in range(silences):
                _silence(stack, f"cpu-{turn % 2}", connection, silent)
        lost = len(people.lost())
    return [
        *killed.figures("worker process killed", 1.0),
        *silent.figures("worker silent", 10.0),
        Figure(
            name="lost or wrong after all this",
            value=lost,
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=f"{len(people.accepted):,} accepted",
        ),
    ]


def _kill(stack: RunningStack, name: str, connection: Connection, into: Recoveries) -> None:
    pid, held = _stop_at_work(stack, name, connection)
    os.kill(pid, signal.SIGKILL)
    _watch(connection, held, into)
    stack.wait_for(name, other_than=pid)


def _silence(stack: RunningStack, name: str, connection: Connection, into: Recoveries) -> None:
    pid, held = _stop_at_work(stack, name, connection)
    try:
        _watch(connection, held, into)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: _answers_again(connection, pid), GIVE_UP_S)


def _stop_at_work(stack: RunningStack, name: str, connection: Connection) -> tuple[int, Sequence[tuple[UUID, int]]]:
    """Stop a process at a moment at which it holds rows."""
    pid = stack.pid(name)
    until = time.monotonic() + GIVE_UP_S
    while time.monotonic() < until:
        os.kill(pid, signal.SIGSTOP)
        # A claim or a commit that was under way when it stopped ends by itself.
        time.sleep(0.05)
        held = [(row.id, row.fence) for row in connection.execute(HELD, {"pid": pid})]
        if held:
            return pid, held
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
    raise RuntimeError(f"{name} never held a row in {GIVE_UP_S:.0f} s of load")


def _watch(connection: Connection, held: Sequence[tuple[UUID, int]], into: Recoveries) -> None:
    began, waiting_s = time.monotonic(), None
    values = {"ids": [str(each) for each, _ in held], "fences": [fence for _, fence in held]}
    while time.monotonic() - began < GIVE_UP_S:
        row = connection.execute(STILL_HELD, values).one()
        if waiting_s is None and not row.held:
            waiting_s = time.monotonic() - began
        if not row.unfinished:
            into.waiting.append(waiting_s or 0.0)
            into.finished.append(time.monotonic() - began)
            into.rows.append(len(held))
            return
        time.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"rows were not finished within {GIVE_UP_S:.0f} s")


def _answers_again(connection: Connection, pid: int) -> bool:
    """Whether a process that was silent has begun a new life."""
    live = text("SELECT count(*) FROM workers WHERE pid = :pid AND stopped_at IS NULL AND lease_expires_at > now()")
    return bool(connection.execute(live, {"pid": pid}).scalar_one())


class CountingPredictor(ClassificationPredictor):
    """A network that fails on one value, and counts what it is asked."""

    forwards = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Fail the batch that holds a bad item."""
        type(self).forwards += 1
        if (batch[:, 0] == BAD_VALUE).any():
            raise ValueError("a bad item")
        return super().forward(batch)


def measure_bad_input() -> list[Figure]:
    """Compute a full batch with one bad item at each of its places."""
    KINDS["counting"] = CountingPredictor
    config = {
        "kind": "counting",
        "arch": "mlp",
        "arch_options": {"hidden": [8]},
        "input": {"type": "vector", "size": 2},
        "labels": ["0", "1"],
        "max_batch": BATCH,
    }
    spec = ModelSpec.from_config("counting", 1, config)
    engine = Engine("cpu:0")
    engine.load(spec, dump_weights(build_untrained(spec, "cpu").module))
    extra, succeeded = [], []
    for place in range(BATCH):
        payloads = [[BAD_VALUE if index == place else 0.5, 1.0] for index in range(BATCH)]
        CountingPredictor.forwards = 0
        outcomes = engine.compute(("counting", 1), engine.decode(("counting", 1), payloads))
        extra.append(CountingPredictor.forwards - 1)
        succeeded.append(sum(outcome.result is not None for outcome in outcomes))
    engine.close()
    note = f"the bad one at each of {BATCH} places"
    return [
        Figure(
            name="a bad input among 32: others that succeed, fewest",
            value=min(succeeded),
            unit=Unit.COUNT,
            wanted=at_least(BATCH - 1),
            note=note,
        ),
        Figure(
            name="a bad input among 32: extra forwards, most",
            value=max(extra),
            unit=Unit.COUNT,
            wanted=at_most(11),
            note=note,
        ),
    ]


@click.command()
@click.option("--kills", type=click.IntRange(1), default=KILLS, show_default=True)
@click.option("--silences", type=click.IntRange(1), default=SILENCES, show_default=True)
@click.option(
    "--var", "var_dir", type=click.Path(file_okay=False, path_type=Path), help="Of the stack.  [default: a new one]"
)
def main(kills: int, silences: int, var_dir: Path | None) -> None:
    """Measure and print."""
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        losses = measure_losses(kills, silences, var_dir or Path(folder) / "var")
    print_table([*losses, *measure_bad_input()])


if __name__ == "__main__":
    main()
