"""`tasks.heap`: what was freed goes back to the system."""

import psutil
import pytest

from tasks.heap import trim_heap

#: Below the size from which the C library asks the system for each block, and gives it back, by itself.
BLOCK = 100_000
BLOCKS = 1_000


@pytest.mark.skipif(not hasattr(psutil, "heap_trim"), reason="this C library cannot give memory back")
def test_what_was_freed_below_what_is_used_goes_back_to_the_system() -> None:
    blocks = [bytes(bytearray(BLOCK)) for _ in range(BLOCKS)]
    kept = blocks[::100]
    del blocks
    before = psutil.Process().memory_info().rss

    trim_heap()

    assert len(kept) == BLOCKS // 100
    assert before - psutil.Process().memory_info().rss > BLOCKS * BLOCK / 2
