"""What waits in the broker, as a worker would receive it."""

import base64
import json
from typing import Any

import redis

import celeryconfig

PREFIX = celeryconfig.broker_transport_options["global_keyprefix"]


def waiting_messages(valkey: redis.Redis, queue: str) -> list[tuple[str, dict[str, Any]]]:
    """Read the task names and arguments that wait in a queue, oldest first."""
    raw = valkey.lrange(f"{PREFIX}{queue}", 0, -1)
    assert isinstance(raw, list)
    return [_decode(json.loads(message)) for message in reversed(raw)]


def _decode(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    _args, kwargs, _embedded = json.loads(base64.b64decode(message["body"]))
    return message["headers"]["task"], kwargs
