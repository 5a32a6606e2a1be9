"""How many inference workers, of how many threads, `torchqueue up` starts on a machine without GPU."""

from dataclasses import dataclass

from sqlalchemy import Engine as Database

from ml.machine import count_cores, free_memory_bytes, host_kind, torch_version
from store.database import open_session
from store.tunings import find_layout

#: What a worker process takes, most of it torch; measured.
WORKER_BYTES = 825_000_000

#: Of the free memory; databases, web processes and inputs need the rest.
MEMORY_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Worker processes and the threads inside one operation of each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads}"


#: What is started where nobody measured: little memory, and no threads that wait for each other.
DEFAULT_LAYOUT = Layout(processes=1, threads=1)


def stored_layout(database: Database) -> Layout | None:
    """Return what was measured on this kind of machine, with no more processes than there is memory for."""
    with open_session(database) as session:
        row = find_layout(session, host_kind=host_kind(), torch_version=torch_version())
    if row is None:
        return None
    return Layout(processes=min(row.processes, affordable_processes()), threads=row.threads)


def affordable_processes() -> int:
    """Workers that the free memory suffices for; at least one."""
    return max(1, int(free_memory_bytes() * MEMORY_SHARE / WORKER_BYTES))


def possible_layouts(cores: int, processes: int) -> list[Layout]:
    """Layouts worth measuring: one of one thread, and each power of two of processes that shares all cores evenly.

    Args:
        cores: To share.
        processes: At most so many.
    """
    found = [DEFAULT_LAYOUT]
    count = 1
    while count <= min(cores, processes):
        found.append(Layout(processes=count, threads=cores // count))
        count *= 2
    if cores & (cores - 1) and cores <= processes:
        # Not a power of two: a process for each core is still to come.
        found.append(Layout(processes=cores, threads=1))
    return list(dict.fromkeys(found))


def possible_here() -> list[Layout]:
    """Layouts worth measuring on this machine."""
    return possible_layouts(count_cores(), affordable_processes())
