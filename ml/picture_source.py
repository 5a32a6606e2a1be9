"""Who decodes the pictures that a predictor asks for: this process, or a sandbox, as the engine decides.

Predictors of every kind, a plugin's too, ask ``read_picture`` and need not know.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ml.images import Picture, decode_picture
from ml.sandbox import ITEM_TIMEOUT_S, Sandbox


class _Source(threading.local):
    """Of one thread; the stack keeps what was decoded until the predictor has its tensor."""

    sandbox: Sandbox | None = None
    timeout_s: float = ITEM_TIMEOUT_S
    opened: ExitStack | None = None


_source = _Source()


@contextmanager
def decoding_in(sandbox: Sandbox, timeout_s: float = ITEM_TIMEOUT_S) -> Iterator[None]:
    """Have the pictures that this thread asks for decoded there.

    What was read is gone when the next is read, and when the block ends.

    Args:
        sandbox: Where.
        timeout_s: For one attempt at one picture.
    """
    with ExitStack() as opened:
        _source.sandbox, _source.timeout_s, _source.opened = sandbox, timeout_s, opened
        try:
            yield
        finally:
            _source.sandbox, _source.opened = None, None


def read_picture(data: bytes, *, target_px: int) -> Picture:
    """Decode a picture; see ``ml.images.decode_picture``.

    What is made of the pixels must be copied: they may lie in memory that the next picture is decoded into.

    Raises:
        InvalidInputError: It cannot be used.
        DecodeFailedError: Our own code failed.
    """
    if _source.sandbox is None or _source.opened is None:
        return decode_picture(data, target_px=target_px)
    # The one before is done with, and its child is free again.
    _source.opened.close()
    decoded = _source.sandbox.decoded(data, target_px=target_px, timeout_s=_source.timeout_s)
    return _source.opened.enter_context(decoded)
