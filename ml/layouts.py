"""How a machine's cores are shared out: how many inference workers, of how many threads. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.machine import count_cores, free_memory_bytes

#: What a worker process takes, most of it torch; measured.
WORKER_BYTES = 825_000_000

#: Of the free memory; databases, web processes and inputs need the rest.
MEMORY_SHARE = 0.5

#: More processes must answer so many times as much as fewer, or the fewer are chosen: each costs memory.
LEAST_GAIN = 1.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Worker processes and the threads inside one operation of each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads}"


#: What is started where nobody measured: little memory, and no threads that wait for each other.
DEFAULT_LAYOUT = Layout(processes=1, threads=1)


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


def pick_layout(rates: Mapping[Layout, float]) -> Layout:
    """The fastest, or one of fewer processes that is nearly as fast.

    Args:
        rates: Items a second of all processes of a layout together.
    """
    fewest_first = sorted(rates, key=lambda layout: (layout.processes, layout.threads))
    best = fewest_first[0]
    for layout in fewest_first[1:]:
        best = layout if rates[layout] > rates[best] * LEAST_GAIN else best
    return best
