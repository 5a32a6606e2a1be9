"""What a process that reads strangers' files gives up before it reads the first: memory, time, files and the network.

Linux only, through libc and without privileges. A decoder that is taken over finds itself in a process that can open
no file and no connection, start no program, look into no other process, and write into nothing but the memory that it
shares with its parent, who believes nothing of what stands there but pixels.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024

#: Address space. A photo of 25 megapixels with transparency takes 600 MiB on its way to RGB.
MEMORY_BYTES = 2048 * MEBIBYTE

#: Files and pipes together; what is needed is open by then.
OPEN_FILES = 16

#: Seconds of computing in a whole life; long before, its parent starts another.
CPU_S = 600

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWNET = 0x4000_0000

# Instructions of the kernel's packet filter, in which a filter of system calls is written.
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_GREATER_OR_EQUAL = 0x35
_RETURN = 0x06
_ALLOW = 0x7FFF_0000
_KILL = 0x8000_0000
_REFUSE = 0x0005_0000
_OFFSET_OF_NUMBER = 0
_OFFSET_OF_ARCHITECTURE = 4


@dataclass(frozen=True, slots=True)
class _Machine:
    """The numbers of system calls on one kind of processor.

    Attributes:
        audit: How the kernel calls it.
        refused: Numbers of what is refused.
        highest: From here on everything is refused; None where there is no second table of calls.
    """

    audit: int
    refused: tuple[int, ...]
    highest: int | None = None


# Opening files by any name; sockets of any kind; starting programs and processes; other processes; namespaces,
# mounts, modules, keys, tracing and all else that a decoder has no use for. From 424 on (but for `close_range`, which
# nobody needs here) are pidfd_*, io_uring_*, clone3, openat2, the new mounts and whatever comes yet.
_NEW_CALLS = tuple(range(424, 512))
_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000_003E,
        refused=(
            *(2, 85, 257, 304, 303),  # open, creat, openat, open_by_handle_at, name_to_handle_at
            *range(41, 56),  # socket ... getsockopt
            *(288, 299, 307),  # accept4, recvmmsg, sendmmsg
            *(56, 57, 58, 59, 322),  # clone, fork, vfork, execve, execveat
            *(62, 200, 234, 129, 297),  # kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo
            *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(82, 83, 84, 86, 87, 88, 90, 92, 76, 77),  # rename ... truncate, ftruncate
            *(258, 259, 260, 263, 264, 265, 266, 268, 316, 285),  # the same relative to a folder, fallocate
            *(80, 81, 161, 155, 165, 166),  # chdir, fchdir, chroot, pivot_root, mount, umount2
            *(272, 308, 175, 176, 313, 246, 320),  # unshare, setns, modules, kexec
            *(248, 249, 250, 298, 321, 323, 282, 254, 253),  # keys, perf, bpf, userfaultfd, signalfd, inotify
            *(29, 30, 31, 64, 65, 66, 240, 241),  # System V and POSIX queues
            *(319, 206, 160, 302, 157),  # memfd_create, io_setup, setrlimit, prlimit64, prctl
        ),
        highest=0x4000_0000,
    ),
    "aarch64": _Machine(
        audit=0xC000_00B7,
        refused=(
            *(56, 264, 265),  # openat, name_to_handle_at, open_by_handle_at
            *range(198, 213),  # socket ... recvmsg
            *(242, 243, 269),  # accept4, recvmmsg, sendmmsg
            *(220, 221, 281),  # clone, execve, execveat
            *(129, 130, 131, 138, 240),  # kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo
            *(117, 270, 271, 272),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(33, 34, 35, 36, 37, 38, 276, 45, 46, 47, 53, 54),  # mknodat ... renameat2, truncate, fchmodat
            *(49, 50, 51, 41, 40, 39),  # chdir, fchdir, chroot, pivot_root, mount, umount2
            *(97, 268, 105, 106, 273, 104, 294),  # unshare, setns, modules, kexec
            *(217, 218, 219, 241, 280, 282, 74, 26, 27),  # keys, perf, bpf, userfaultfd, signalfd, inotify
            *(180, 186, 190, 194),  # queues and shared memory
            *(279, 0, 164, 261, 167),  # memfd_create, io_setup, setrlimit, prlimit64, prctl
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Confinement:
    """What was put up.

    Attributes:
        calls: Whether system calls are filtered.
        network: Whether it has a network of its own, which is empty.
    """

    calls: bool
    network: bool

    @property
    def is_closed(self) -> bool:
        """Whether nothing can get out."""
        return self.calls or self.network


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_resources(memory_bytes: int = MEMORY_BYTES) -> None:
    """Bound what this process may take, and die with the thread that started it.

    Args:
        memory_bytes: Of address space.
    """
    die_with_parent()
    # Where the system has too little memory this process goes first; some containers do not let it say so. Before the
    # next line, after which the file is root's.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


def close_doors() -> Confinement:
    """Give up files, the network, other programs and other processes, for good.

    Everything that will ever be imported must be imported by now.
    """
    libc = _libc()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    calls = _filter_calls(libc)
    # The second best, and permitted to root alone: without the filter at least nothing can be sent anywhere.
    return Confinement(calls=calls, network=not calls and libc.unshare(_CLONE_NEWNET) == 0)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Kill this process when it computes for longer while the block runs."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _filter_calls(libc: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _program(machine)
    code = ctypes.create_string_buffer(program, len(program))
    head = _Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(head), 0, 0) == 0)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _program(machine: _Machine) -> bytes:
    """Kill what speaks for another kind of processor, refuse what is listed, allow the rest."""
    refused = (*machine.refused, *_NEW_CALLS)
    lines = [
        (_LOAD, 0, 0, _OFFSET_OF_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _OFFSET_OF_NUMBER),
    ]
    if machine.highest is not None:
        lines += [(_JUMP_IF_GREATER_OR_EQUAL, 0, 1, machine.highest), (_RETURN, 0, 0, _KILL)]
    for number in refused:
        lines += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | errno.EACCES)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def parent_is(pid: int) -> bool:
    """Whether the process that started this one is still there: it may have died before it could take us along."""
    return os.getppid() == pid
