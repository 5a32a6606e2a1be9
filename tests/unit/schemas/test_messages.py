"""`schemas.messages`: what is written is what is read."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.messages import PredictionFinished, RunPredictions

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT_OR_NONE = st.none() | st.text()
EVENTS = st.builds(
    PredictionFinished,
    attempt=st.integers(0, 3),
    result=st.none() | st.dictionaries(st.text(), FLOATS | st.text() | st.lists(st.text())),
    error_code=TEXT_OR_NONE,
    error_detail=TEXT_OR_NONE,
    started_at=TEXT_OR_NONE,
    decode_ms=st.none() | FLOATS,
    compute_ms=st.none() | FLOATS,
    device=TEXT_OR_NONE,
)


@given(st.lists(EVENTS, max_size=3))
def test_events_are_read_as_they_were_written(events: list[PredictionFinished]) -> None:
    assert PredictionFinished.load_many(PredictionFinished.dump_many(events)) == events


def test_events_are_read_from_bytes_as_redis_gives_them() -> None:
    assert PredictionFinished.load_many(b"[]") == []


def test_a_message_cannot_be_changed() -> None:
    message = RunPredictions(model="xor", version=1, prediction_ids=[])

    with pytest.raises(FrozenInstanceError):
        message.model = "fashion"  # type: ignore[misc]
