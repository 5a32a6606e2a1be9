"""The way back: finished predictions are told to the web process that waits, over Redis publish and subscribe.

Telling is best effort. What counts is the row; a waiter that hears nothing reads it.
"""

import json
from collections import defaultdict
from collections.abc import Sequence

import redis
import structlog

from schemas.messages import PredictionFinished
from schemas.names import FINISHED_CHANNEL, FORGOTTEN_CHANNEL, IDLE_CHANNEL, KEYS_CHANNEL
from store.ledger_rows import Finished

log = structlog.get_logger()

# A frozen server must not hold a worker: the waiters poll Postgres meanwhile.
SOCKET_TIMEOUT_S = 0.25


def connect_redis(url: str, *, timeout_s: float | None = SOCKET_TIMEOUT_S) -> redis.Redis:
    """Make a client; nothing connects before its first use. `timeout_s` None waits for ever, for subscribers."""
    return redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=SOCKET_TIMEOUT_S)


def publish(client: redis.Redis, finished: Sequence[Finished]) -> None:
    """Tell the processes that wait, and everybody else the ids. Call it after the commit.

    A server that is down or frozen is logged, never raised: the rows are committed and will be read.
    """
    if not finished:
        return
    by_channel: defaultdict[str, list[PredictionFinished]] = defaultdict(list)
    for entry in finished:
        if entry.reply_channel is not None:
            by_channel[entry.reply_channel].append(entry.event)
    messages = [(channel, PredictionFinished.dump_many(events)) for channel, events in by_channel.items()]
    _send(client, [*messages, (FINISHED_CHANNEL, json.dumps([entry.event.id for entry in finished]))])


def publish_idle(client: redis.Redis, queues: Sequence[str]) -> None:
    """Say that the worker of these queues found nothing left, so that the next row must ring."""
    _send(client, [(IDLE_CHANNEL, json.dumps(list(queues)))])


def publish_forgotten(client: redis.Redis, answered: Sequence[tuple[int, int]]) -> None:
    """Say of which tenants and model versions no answer may be given from memory again. Call it after the commit.

    A process that does not hear it forgets when the answers grow old.
    """
    _send(client, [(FORGOTTEN_CHANNEL, json.dumps(list(answered)))])


def publish_keys(client: redis.Redis, public_ids: Sequence[str]) -> None:
    """Say which API keys are not what they were. Call it after the commit.

    A process that does not hear it reads them again when what it remembers grows old.
    """
    _send(client, [(KEYS_CHANNEL, json.dumps(list(public_ids)))])


def _send(client: redis.Redis, messages: Sequence[tuple[str, str]]) -> None:
    pipeline = client.pipeline(transaction=False)
    for channel, message in messages:
        pipeline.publish(channel, message)
    try:
        pipeline.execute()
    except redis.RedisError as error:
        log.warning("replies_not_published", count=len(messages), error=str(error))
