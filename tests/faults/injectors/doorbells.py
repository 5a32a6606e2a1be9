"""Doorbells that ring wrongly."""

import base64
import json
import random
from uuid import uuid4

import redis

from schemas.names import QueueName
from tests.broker import PREFIX
from tests.faults.arena import Arena
from tests.faults.injectors.done import Done


def send_doorbells(arena: Arena, state: str, count: int) -> Done:
    """Ring wrongly: each message three times and in another order, or late, forged, or garbage."""
    done = Done()
    queues, pid = _inference_queues(arena), arena.stack.pid("cpu-0")
    while done.faults < count:
        messages = _messages(arena.rng, state)
        with redis.Redis.from_url(arena.valkey.url, socket_timeout=5) as broker:
            for message in messages:
                broker.lpush(f"{PREFIX}{arena.rng.choice(queues)}", message)
        done.faults += len(messages)
        done.recoveries.append(arena.probe())
    if arena.stack.pid("cpu-0") != pid:
        done.broken.append(f"a worker: ended by a doorbell ({state})")
    return done


def _messages(rng: random.Random, state: str) -> list[bytes]:
    """A burst of wrong messages; each names ids that nobody has."""
    if state == "garbage":
        return [rng.choice([b"\x00\xff garbage", b"{}", b"[1]", b'{"body": 5}', b'""', b"null"])]
    tasks = {"duplicate": "run_predictions", "forged": rng.choice(["run_predictions", "forged.task", "tend_queue"])}
    kwargs = {
        "prediction_ids": ["forged"],
        "model": rng.choice(["xor", "no-such-model", "../../etc/passwd"]),
        "version": rng.choice([1, -1]),
    } | ({} if state == "duplicate" else {"forged": [{}]})
    body = base64.b64encode(json.dumps([[], kwargs, {}]).encode()).decode()
    name = str(uuid4())
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": tasks[state],
            "id": name,
            "root_id": name,
            "argsrepr": "forged",
            "retries": 0,
        },
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "inference"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": name,
        },
    }
    return [json.dumps(message).encode()] * 3


def _inference_queues(arena: Arena) -> list[str]:
    workers = arena.stack.client.get("/v1/workers").json()["data"]
    own = [f"{QueueName.INFERENCE}-{worker['name']}" for worker in workers if worker["role"] == "inference"]
    return [*own, str(QueueName.INFERENCE)]
