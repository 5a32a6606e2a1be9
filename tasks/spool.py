"""Finished results on disk while Postgres is away, so that not even the end of their worker loses the work.

One file a process, made when it is first needed and removed when all that it holds is committed. It is a row of
records: magic, length and CRC-32 of a JSON list of outcomes. A record is appended in one write and flushed to disk, so
what is torn by a crash is the last one, and a reader stops before it. The owner holds a lock on the file that the
kernel drops when the process ends, however it ends: a file that can be locked is nobody's, and whoever starts next
commits it.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog

from schemas.enums import ErrorCode
from store.ledger_rows import Claim, Outcome

log = structlog.get_logger()

MAGIC = b"TQS1"
HEADER = struct.Struct(">4sII")

SUFFIX = ".spool"

#: No file grows beyond this, in bytes. What does not fit waits in memory alone.
LIMIT_BYTES = 64 * 1024 * 1024

PRIVATE_MODE = 0o600


class Spool:
    """The file of this process. Used by one thread at a time.

    Args:
        folder: Where files are; made when it is missing.
        name: Begins the name of the file, for people.
        limit_bytes: The file's largest size.
    """

    def __init__(self, folder: Path, name: str, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._name = name
        self._limit_bytes = limit_bytes
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0

    def append(self, outcomes: Sequence[Outcome]) -> bool:
        """Write outcomes and flush them to the disk.

        Returns:
            False when they did not fit, or the disk refused them: they are in memory alone.
        """
        record = _encode(outcomes)
        if self._size + len(record) > self._limit_bytes:
            log.warning("spool_full", count=len(outcomes), bytes=self._size)
            return False
        try:
            file = self._open()
            _write(file, record, at=self._size)
        except OSError as error:
            log.warning("spool_not_written", count=len(outcomes), error=str(error))
            return False
        self._size += len(record)
        return True

    def clear(self) -> None:
        """Remove the file: all that it holds is committed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the file, if there is one, to whoever starts next."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._path, self._size = None, None, 0

    def _open(self) -> int:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{self._name}-{os.getpid()}-{uuid4().hex[:8]}{SUFFIX}"
            draft = path.with_suffix(".new")
            file = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, PRIVATE_MODE)
            # Locked before it has its name: an unlocked file would be taken for that of a dead process.
            fcntl.flock(file, fcntl.LOCK_EX)
            draft.rename(path)
            _flush_folder(self._folder)
            self._file, self._path, self._size = file, path, 0
        return self._file


def take_up(folder: Path, commit: Callable[[Sequence[Outcome]], int]) -> int:
    """Commit what processes left that ended while Postgres was away, and remove their files.

    Args:
        folder: Where the files are.
        commit: Stores outcomes whose fences still hold; returns how many did.

    Returns:
        How many results were stored.

    Raises:
        DBAPIError: Of `commit`: Postgres is away; the files stay.
    """
    stored = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with _adopted(path) as file:
            if file is None:
                continue
            found = 0
            for outcomes in read_records(file):
                found += len(outcomes)
                stored += commit(outcomes)
            path.unlink()
            log.info("spool_taken_up", file=path.name, found=found, stored=stored)
    return stored


def read_records(file: int) -> Iterator[list[Outcome]]:
    """Yield the records of a file up to the first that is torn or damaged."""
    with os.fdopen(os.dup(file), "rb") as reader:
        while header := reader.read(HEADER.size):
            if len(header) < HEADER.size:
                break
            magic, length, checksum = HEADER.unpack(header)
            payload = reader.read(length) if magic == MAGIC else b""
            if len(payload) < length or magic != MAGIC or zlib.crc32(payload) != checksum:
                break
            yield [_decode(row) for row in orjson.loads(payload)]
        else:
            return
    # Its rows are taken back and computed again.
    log.warning("spool_torn")


@contextmanager
def _adopted(path: Path) -> Iterator[int | None]:
    """Yield the opened file of a process that ended; None for one that lives, or that is gone by now."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        # Its owner, or another process that starts, may have removed it before we had the lock.
        yield file if path.exists() else None
    finally:
        os.close(file)


def _encode(outcomes: Sequence[Outcome]) -> bytes:
    payload = orjson.dumps([_row(outcome) for outcome in outcomes])
    return HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def _row(outcome: Outcome) -> dict[str, Any]:
    claim = outcome.claim
    return {
        "id": str(claim.id),
        "fence": claim.fence,
        "model_version_id": claim.model_version_id,
        "result": outcome.result,
        "error_code": outcome.error_code,
        "error_detail": outcome.error_detail,
        "decode_ms": outcome.decode_ms,
        "compute_ms": outcome.compute_ms,
    }


def _decode(row: dict[str, Any]) -> Outcome:
    code = row["error_code"]
    return Outcome(
        claim=Claim(
            id=UUID(row["id"]),
            fence=row["fence"],
            model_version_id=row["model_version_id"],
            input=None,
            input_sha256=None,
        ),
        result=row["result"],
        error_code=None if code is None else ErrorCode(code),
        error_detail=row["error_detail"],
        decode_ms=row["decode_ms"],
        compute_ms=row["compute_ms"],
    )


def _write(file: int, record: bytes, *, at: int) -> None:
    """Append a record whole, or not at all.

    Raises:
        OSError: The disk is full, or broken.
    """
    try:
        _write_all(file, record)
    except OSError:
        os.ftruncate(file, at)
        raise


def _write_all(file: int, record: bytes) -> None:
    written = os.write(file, record)
    if written < len(record):
        raise OSError(f"only {written} of {len(record)} bytes were written")
    os.fsync(file)


def _flush_folder(folder: Path) -> None:
    """Make a new name in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
