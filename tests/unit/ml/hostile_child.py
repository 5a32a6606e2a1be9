"""A decoding process whose decoder does what a file that begins or ends with a word tells it to."""

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml import sandbox_child
from ml.errors import InvalidInputError
from ml.images import Picture, decode_picture

_hoard: list[bytes] = []


def _segfault() -> None:
    ctypes.string_at(0)


def _hang() -> None:
    while True:
        pass


def _sleep() -> None:
    import time  # noqa: PLC0415 - what it does is done by then

    time.sleep(60)


def _eat() -> None:
    while True:
        _hoard.append(bytes(100 * 1024 * 1024))


def _refusal(attempt: Callable[[], Any]) -> Callable[[], None]:
    """Try it, and tell as the fault of the file how it went."""

    def tell() -> None:
        try:
            attempt()
        except OSError as error:
            raise InvalidInputError("input", type(error).__name__) from error
        raise InvalidInputError("input", "it worked")

    return tell


DEEDS: dict[bytes, Callable[[], object]] = {
    b"SEGV": _segfault,
    b"ABRT": os.abort,
    b"HANG": _hang,
    b"DOZE": _sleep,
    b"EATS": _eat,
    b"FAIL": lambda: ().index(0),
    b"READ": _refusal(lambda: Path("/etc/passwd").read_bytes()),
    b"SAVE": _refusal(lambda: Path("/tmp/torchqueue-hostile").write_bytes(b"x")),  # noqa: S108 - it must not be
    b"CALL": _refusal(lambda: socket.create_connection(("127.0.0.1", 9))),
    b"FORK": _refusal(os.fork),
    b"EXEC": _refusal(lambda: subprocess.run(["/bin/true"], check=False)),
    b"KILL": _refusal(lambda: os.kill(os.getppid(), 0)),
}


def decode(data: bytes, **options: Any) -> Picture:
    """Do the deed, or decode. A word at the end leaves a picture one that is let in at the door."""
    deed = DEEDS.get(data[:4]) or DEEDS.get(data[-4:])
    if deed is not None:
        deed()
    return decode_picture(data, **options)


if __name__ == "__main__":
    vars(sandbox_child)["decode_picture"] = decode
    sandbox_child.main(*(int(each) for each in sys.argv[1:]))
