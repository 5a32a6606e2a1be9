"""Small file systems of our own under the folders of a stack, to be filled up and freed again."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.embedded import prepare_postgres
from tests.faults.rights import why_not

WHY_NOT = why_not("--mount", ["mount", "-t", "tmpfs", "none", "/mnt"])

#: By name: the folder within the stack's, and its size in MiB. Memory is used for what is written alone.
SIZES = {
    "postgres-data": ("postgres", 192),
    # Postgres keeps some 80 MiB of its log whatever is in it.
    "postgres-wal": ("postgres/pg_wal", 256),
    "objects": ("objects", 16),
    "spool": ("spool", 1),
    "logs": ("log", 64),
}

BALLAST = "ballast"


@dataclass(frozen=True)
class Disk:
    """A file system of its own."""

    folder: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room for as long as the block runs."""
        ballast = self.folder / BALLAST
        try:
            fill(ballast)
            yield
        finally:
            ballast.unlink(missing_ok=True)


def fill(ballast: Path) -> None:
    """Write a file until the disk refuses the smallest piece more."""
    file = os.open(ballast, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    try:
        for piece in (1 << 20, 1 << 12):
            while _fits(file, bytes(piece)):
                pass
    finally:
        os.close(file)


@contextmanager
def small_disks(folder: Path) -> Iterator[Mapping[str, Disk]]:
    """Mount a small file system under each folder of a stack that will be, with a fresh cluster of Postgres in it."""
    with ExitStack() as stack:
        disks = {}
        for name, (below, megabytes) in SIZES.items():
            disks[name] = stack.enter_context(mounted(folder / below, megabytes))
            if below == "postgres":
                prepare_postgres(folder / below)
        yield disks


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a file system over a folder, with what was in it, for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    before = folder.with_name(f"{folder.name}.before")
    folder.rename(before)
    folder.mkdir()
    owner = before.stat()
    options = f"size={megabytes}m,mode={owner.st_mode & 0o777:o},uid={owner.st_uid},gid={owner.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{before}/.", str(folder)], check=True)
        shutil.rmtree(before)
        yield Disk(folder)
    finally:
        # Lazily: it goes even where something that should be dead still writes there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fits(file: int, piece: bytes) -> bool:
    try:
        return os.write(file, piece) > 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
