"""What is looked at every few seconds while a stack works for long."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from sqlalchemy.exc import SQLAlchemyError

from tests.faults.arena import Arena
from tests.faults.history import Request

FIGURES = """
    SELECT (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables) AS dead,
        (SELECT coalesce(extract(epoch FROM now() - min(run_after)), 0) FROM predictions WHERE status = 'queued') AS age
"""

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ProcessSample:
    """One process at one moment; a granian and its child count as one.

    Attributes:
        pid: A restart is another life, whose memory is not compared with the one before.
        rss_mb: Memory in MiB.
        fds: Open files and connections.
        threads: Threads.
    """

    pid: int
    rss_mb: float
    fds: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A stack at one moment.

    Attributes:
        at_s: Seconds since the start.
        processes: By name.
        dead_tuples: Rows that await a vacuum; None while Postgres is away.
        queue_age_s: Of the oldest row that waits; None likewise.
        p99_ms: Of the answers since the sample before; None where none came.
        answers: Since the sample before.
        fault: Done since the sample before; empty for none.
    """

    at_s: float
    processes: dict[str, ProcessSample]
    dead_tuples: int | None
    queue_age_s: float | None
    p99_ms: float | None
    answers: int
    fault: str


def take_sample(arena: Arena, *, at_s: float, answered: list[Request], fault: str) -> Sample:
    """Look at a stack."""
    dead, age = None, None
    with suppress(SQLAlchemyError), arena.database.connect() as connection:
        row = connection.exec_driver_sql(FIGURES).one()
        dead, age = int(row.dead), round(float(row.age), 3)
    latencies = [request.took_ms for request in answered if request.took_ms is not None]
    return Sample(
        at_s=round(at_s, 1),
        processes={p.name: s for p in arena.stack.state.processes if p.pid is not None and (s := _look_at(p.pid))},
        dead_tuples=dead,
        queue_age_s=age,
        p99_ms=round(float(np.percentile(latencies, 99)), 2) if latencies else None,
        answers=len(latencies),
        fault=fault,
    )


def write_sample(path: Path, sample: Sample) -> None:
    """Keep a sample, so that a soak may be stopped at any time."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(sample)) + "\n")


def read_samples(path: Path) -> list[Sample]:
    """Read what was kept."""
    found = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        processes = {name: ProcessSample(**each) for name, each in fields.pop("processes").items()}
        found.append(Sample(**fields, processes=processes))
    return found


def _look_at(pid: int) -> ProcessSample | None:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return ProcessSample(
            # A child that was born anew is a new life too.
            pid=max(each.pid for each in family),
            rss_mb=round(sum(each.memory_info().rss for each in family) / MIB, 2),
            fds=sum(each.num_fds() for each in family),
            threads=sum(each.num_threads() for each in family),
        )
    except psutil.Error:
        return None
