"""What waits in the broker, and what is said on its channels."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

import celeryconfig
from tests.running import wait_until

PREFIX = celeryconfig.broker_transport_options["global_keyprefix"]


#: Waits for so many messages and returns all that were heard, as (channel, decoded message).
Hear = Callable[[int], list[tuple[str, Any]]]


def waiting_messages(valkey: redis.Redis, queue: str) -> list[tuple[str, dict[str, Any]]]:
    """Read the task names and arguments that wait in a queue, oldest first."""
    raw = valkey.lrange(f"{PREFIX}{queue}", 0, -1)
    assert isinstance(raw, list)
    return [_decode(json.loads(message)) for message in reversed(raw)]


@contextmanager
def listening(valkey: redis.Redis, *channels: str) -> Iterator[Hear]:
    """Hear what is said on channels while the block runs."""
    pubsub = valkey.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe(*channels)
    wait_until(lambda: all(count for _, count in valkey.pubsub_numsub(*channels)))
    heard: list[tuple[str, Any]] = []

    def hear(count: int) -> list[tuple[str, Any]]:
        wait_until(lambda: _take(pubsub, heard) >= count)
        return heard

    yield hear
    pubsub.close()


def _take(pubsub: Any, heard: list[tuple[str, Any]]) -> int:
    """Add the next message, if there is one; returns how many were heard."""
    message = pubsub.get_message()
    if message is not None:
        heard.append((message["channel"].decode(), json.loads(message["data"])))
    return len(heard)


def _decode(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _args, kwargs, _embedded = json.loads(base64.b64decode(message["body"]))
    return message["headers"]["task"], kwargs
