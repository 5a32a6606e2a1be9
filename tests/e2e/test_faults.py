"""Real faults against real processes under load: nothing accepted is lost, nothing is done twice."""

import signal
import time

import pytest
import redis

from tests.broker import PREFIX
from tests.load import crowd
from tests.running import RunningStack, wait_until
from webapp.prefer import DEFAULT_WAIT_S


def requests_seen(people_accepted: dict[str, tuple[int, int]], count: int) -> None:
    """Wait until the load has really begun."""
    wait_until(lambda: len(people_accepted) >= count)


def test_killing_the_worker_under_load_loses_and_doubles_nothing(stack: RunningStack) -> None:
    with crowd(stack) as people:
        requests_seen(people.accepted, 50)
        killed = stack.kill("cpu-0")
        stack.wait_for("cpu-0", other_than=killed)
        requests_seen(people.accepted, len(people.accepted) + 50)
    people.assert_each_ended_once_and_rightly()
    assert people.refused == []


def test_flushing_valkey_under_load_loses_nothing(stack: RunningStack, stack_valkey: redis.Redis) -> None:
    with crowd(stack) as people:
        for _ in range(5):
            requests_seen(people.accepted, len(people.accepted) + 30)
            stack_valkey.flushall()
    people.assert_each_ended_once_and_rightly()
    assert people.refused == []


def test_a_worker_that_hangs_past_its_lease_stores_no_stale_result(stack: RunningStack) -> None:
    pid = stack.kill("cpu-0", signal.SIGSTOP)
    accepted = stack.predict_xor(headers={"Prefer": "respond-async"}).json()["id"]
    wait_until(lambda: _lease_lost(stack))
    stack.kill("cpu-0", signal.SIGCONT)
    ended = stack.client.get(f"/v1/predictions/{accepted}", headers={"Prefer": "wait=30"})
    assert ended.json()["result"]["label"] == "1"
    assert stack.pid("cpu-0") == pid


def test_without_postgres_requests_are_refused_at_once(stack: RunningStack) -> None:
    stack.predict_xor()
    with stack.without("postgres"):
        began = time.monotonic()
        response = stack.predict_xor()
        took_s = time.monotonic() - began
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.json()["type"] == "database-unavailable"
    assert took_s < DEFAULT_WAIT_S


def test_postgres_that_dies_under_load_loses_nothing_that_was_accepted(stack: RunningStack) -> None:
    with crowd(stack) as people:
        requests_seen(people.accepted, 50)
        killed = stack.kill("postgres")
        stack.wait_for("postgres", other_than=killed)
        requests_seen(people.accepted, len(people.accepted) + 50)
    people.assert_each_ended_once_and_rightly()
    assert set(people.refused) <= {503}


def test_without_valkey_requests_are_still_answered(stack: RunningStack) -> None:
    with stack.without("valkey"):
        response = stack.predict_xor()
    assert response.status_code == 200
    assert response.json()["result"]["label"] == "1"


def test_a_worker_outlives_a_valkey_that_refuses_to_write(stack: RunningStack, stack_valkey: redis.Redis) -> None:
    pid = stack.pid("cpu-0")
    stack_valkey.replicaof("127.0.0.1", 1)
    try:
        refused_for_a_second = time.monotonic() + 2
        while time.monotonic() < refused_for_a_second:
            assert stack.predict_xor().status_code == 200
    finally:
        stack_valkey.replicaof("NO", "ONE")
    wait_until(lambda: stack.predict_xor().json()["timings_ms"]["queued"] < 100)
    assert stack.pid("cpu-0") == pid


@pytest.mark.parametrize("garbage", [b"\x00\xff", b"{}", b"null", b"[1]", b'""', b'{"properties": 5}'])
def test_garbage_in_a_queue_ends_no_worker(stack: RunningStack, stack_valkey: redis.Redis, garbage: bytes) -> None:
    pid = stack.pid("cpu-0")
    queue = f"{PREFIX}inference"
    stack_valkey.lpush(queue, garbage)
    wait_until(lambda: stack_valkey.llen(queue) == 0)
    assert stack.predict_xor().json()["result"]["label"] == "1"
    assert stack.pid("cpu-0") == pid


def test_after_valkey_is_back_doorbells_ring_again(stack: RunningStack) -> None:
    with stack.without("valkey"):
        stack.predict_xor()
    wait_until(lambda: stack.predict_xor().json()["timings_ms"]["queued"] < 100)


@pytest.mark.parametrize("name", ["web", "beat", "maintenance", "training", "fetch", "flower", "valkey"])
def test_a_process_that_dies_is_started_again(stack: RunningStack, name: str) -> None:
    killed = stack.kill(name)
    stack.wait_for(name, other_than=killed)
    assert stack.predict_xor().status_code == 200


def _lease_lost(stack: RunningStack) -> bool:
    workers = stack.client.get("/v1/workers").json()["data"]
    return all(worker["role"] != "inference" for worker in workers)
