"""`store.replies`: telling who waits, over real Valkey."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from schemas.messages import PredictionFinished
from schemas.names import FINISHED_CHANNEL, IDLE_CHANNEL, reply_channel
from stack.embedded import free_port
from store.ledger_rows import Finished
from store.replies import connect_redis, publish, publish_idle
from tests.broker import Hear, listening

WEB_1, WEB_2 = reply_channel("web-1"), reply_channel("web-2")


@pytest.fixture
def hear(valkey: redis.Redis) -> Iterator[Hear]:
    """All that is said."""
    with listening(valkey, WEB_1, WEB_2, FINISHED_CHANNEL, IDLE_CHANNEL) as hear:
        yield hear


def test_the_process_that_waits_hears_the_outcome(valkey: redis.Redis, hear: Hear) -> None:
    entry = _finished(WEB_1)

    publish(valkey, [entry])

    channel, message = hear(1)[0]
    assert channel == WEB_1
    assert PredictionFinished.load_many(json.dumps(message)) == [entry.event]


def test_every_process_hears_the_ids(valkey: redis.Redis, hear: Hear) -> None:
    entries = [_finished(WEB_1), _finished(None)]

    publish(valkey, entries)

    assert (FINISHED_CHANNEL, [entry.event.id for entry in entries]) in hear(2)


def test_each_process_hears_its_own_outcomes_in_one_message(valkey: redis.Redis, hear: Hear) -> None:
    publish(valkey, [_finished(WEB_1), _finished(WEB_2), _finished(WEB_1)])

    counts = {channel: len(message) for channel, message in hear(3)}
    assert counts == {WEB_1: 2, WEB_2: 1, FINISHED_CHANNEL: 3}


def test_nothing_finished_is_nothing_said(valkey: redis.Redis, hear: Hear) -> None:
    publish(valkey, [])
    publish_idle(valkey, ["end"])

    assert hear(1) == [(IDLE_CHANNEL, ["end"])]


def test_an_idle_worker_names_its_queues(valkey: redis.Redis, hear: Hear) -> None:
    publish_idle(valkey, ["inference-cpu-0", "inference"])

    assert hear(1) == [(IDLE_CHANNEL, ["inference-cpu-0", "inference"])]


def test_a_broker_that_is_away_harms_nobody() -> None:
    client = connect_redis(f"redis://127.0.0.1:{free_port()}/0")

    publish(client, [_finished(WEB_1)])
    publish_idle(client, ["inference"])


def _finished(channel: str | None) -> Finished:
    event = PredictionFinished(
        id=str(uuid4()),
        status="succeeded",
        attempt=1,
        result={"label": "1"},
        error_code=None,
        error_detail=None,
        created_at="2026-11-20T12:00:00+00:00",
        started_at=None,
        finished_at="2026-11-20T12:00:01+00:00",
        decode_ms=None,
        compute_ms=None,
        device=None,
        worker_id=1,
    )
    return Finished(channel, event)
