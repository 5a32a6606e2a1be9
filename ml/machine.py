"""What kind of machine this is: what a measurement made here is good for. Imports no torch."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

CPU_INFO = Path("/proc/cpuinfo")

TELLING_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""Instructions that decide how fast a number format is, best first; the first that is there names the rest."""

MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit is, in the second and the first version of control groups."""


def torch_version() -> str:
    """The version of torch that is installed, with its build, e.g. ``2.15.0+cu132``."""
    return version("torch")


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def host_kind() -> str:
    """This machine's processor, its best instructions and the cores that we may use.

    Two machines of one kind run a network equally fast, e.g. ``AMD EPYC 9654, avx512_bf16, 2 cores``.
    """
    name, flags = _read_cpu_info()
    best = next((flag for flag in TELLING_FLAGS if flag in flags), platform.machine())
    return f"{name}, {best}, {count_cores()} cores"


def cpu_kind(threads: int) -> str:
    """The kind of a CPU device whose process computes with so many threads."""
    return f"{host_kind()}, {threads} thread{'s' if threads > 1 else ''}"


def free_memory_bytes() -> int:
    """Memory that new processes can take, within the container's limit."""
    available = psutil.virtual_memory().available
    for path in MEMORY_LIMITS:
        if path.exists() and (limit := path.read_text().strip()).isdigit():
            return min(available, int(limit))
    return available


def _read_cpu_info() -> tuple[str, frozenset[str]]:
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", platform.machine()), frozenset(flags.split())
