"""`benchmarks.history`: how rows are divided over time."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from benchmarks.history import BUSY_SPAN, CHUNK_ROWS, WEEKS, plan_chunks
from store.partitions import Week

NOW = datetime(2026, 11, 19, 12, tzinfo=UTC)


@pytest.mark.parametrize("rows", [1, 1_000, 1_234_567, 10_000_000])
def test_every_row_is_in_one_chunk(rows: int) -> None:
    chunks = plan_chunks(rows, NOW)

    assert [chunk.first for chunk in chunks] == [sum(c.count for c in chunks[:i]) for i in range(len(chunks))]
    assert sum(chunk.count for chunk in chunks) == rows


def test_the_chunks_reach_from_thirteen_weeks_ago_to_now() -> None:
    chunks = plan_chunks(1_000_000, NOW)

    assert (chunks[0].start, chunks[-1].end) == (NOW - WEEKS * timedelta(weeks=1), NOW)
    assert all(earlier.end <= later.start for earlier, later in pairwise(chunks))


def test_no_chunk_crosses_a_partition_or_is_too_large() -> None:
    for chunk in plan_chunks(10_000_000, NOW):
        assert chunk.count <= CHUNK_ROWS
        assert chunk.end <= Week.of(chunk.start).end


def test_the_last_minute_is_busy() -> None:
    busy = [chunk for chunk in plan_chunks(1_000_000, NOW, busy_rows=5_000) if chunk.start >= NOW - BUSY_SPAN]

    assert sum(chunk.count for chunk in busy) == 5_000
