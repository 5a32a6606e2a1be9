"""The processes that decode strangers' pictures: `python -m ml.sandbox_child`, started by `ml.sandbox` alone.

The first of them imports neither torch nor anything of our other rooms, and forks the others; see `ml.fork_server`.
Each of those closes its doors, and then answers one file after another until its parent hangs up. The file and the
pixels lie in memory that it shares with its parent; over the socket go a few numbers. It is expected to die now and
then: that is what it is for.
"""

import gc
import io
import mmap
import os
import socket
import sys
import time

import numpy as np

# Imported now, because Pillow would import them when a file asks for them, and by then no file can be opened.
from PIL import ExifTags, Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from ml.confinement import close_doors, cpu_limit, die_with_parent, limit_resources, parent_is
from ml.errors import InvalidInputError
from ml.fork_server import serve
from ml.images import RGBRow, decode_picture
from ml.sandbox_protocol import (
    INPUT_BYTES,
    REQUEST,
    ROOM_BYTES,
    Failure,
    Pixels,
    Request,
    greet,
    write_failure,
    write_pixels,
)

PLUGINS = (ExifTags, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)

#: Seconds of computing for one file; 25 megapixels take less than two on a slow core.
ITEM_CPU_S = 8.0

#: Pictures that are decoded before the doors close, so that all that is loaded late is loaded.
WARM_UP_FORMATS = ("JPEG", "PNG", "WEBP")


def main(control: int, parent: int) -> None:
    """Fork processes that decode until the parent hangs up.

    Args:
        control: The socket to the parent.
        parent: The process that must be there still.
    """
    die_with_parent()
    if not parent_is(parent):
        return
    _warm_up()
    # What is there by now stays as it is, in memory that all of them share.
    gc.freeze()
    server = os.getpid()
    serve(socket.socket(fileno=control), lambda descriptors: decode_files(server, *descriptors))


def decode_files(server: int, channel: int, memory: int) -> None:
    """Answer until the parent hangs up.

    Args:
        server: The process that must be there still.
        channel: The socket to whoever sends the files.
        memory: What is shared with it: the file first, then the pixels.
    """
    limit_resources()
    if not parent_is(server):
        return
    shared = mmap.mmap(memory, INPUT_BYTES + ROOM_BYTES)
    room: RGBRow = np.frombuffer(shared, dtype=np.uint8, offset=INPUT_BYTES)
    # What went wrong so far stands in the parent's log; what a file makes a library print from now on does not.
    os.dup2(0, 2)
    # Read and written like a file: the calls of sockets are refused from now on.
    os.write(channel, greet(close_doors()))
    while given := os.read(channel, REQUEST.size):
        os.write(channel, _answer(shared, room, Request.read(given)))


def _answer(shared: mmap.mmap, room: RGBRow, request: Request) -> bytes:
    data = shared[: request.size]
    try:
        with cpu_limit(ITEM_CPU_S):
            return _decode(data, room, request)
    except InvalidInputError as error:
        return write_failure(Failure.INVALID, error.detail)
    except MemoryError:
        return write_failure(Failure.MEMORY, "")
    # Whatever it was, the parent says it to the sender; what is broken in this process is known to nobody.
    except Exception as error:  # noqa: BLE001
        return write_failure(Failure.FAULT, type(error).__name__)


def _decode(data: bytes, room: RGBRow, request: Request) -> bytes:
    picture = decode_picture(data, max_pixels=request.max_pixels, target_px=request.target_px or None, room=room)
    pixels = picture.pixels_hwc
    if pixels.size > room.size:
        return write_failure(Failure.MEMORY, "")
    if not np.shares_memory(pixels, room):
        room[: pixels.size].reshape(pixels.shape)[:] = pixels
    rows, columns = pixels.shape[:2]
    return write_pixels(Pixels(rows, columns, picture.height, picture.width, picture.reduction, time.process_time()))


def _warm_up() -> None:
    blank = Image.new("RGB", (16, 16))
    for kind in WARM_UP_FORMATS:
        decode_picture(_encode(blank, kind), target_px=8)
        decode_picture(_encode(blank.convert("P") if kind == "PNG" else blank.convert("L"), kind))


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
