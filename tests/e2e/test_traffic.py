"""Split traffic through a stack of real processes: web process, worker, beat and maintenance."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy.orm import Session

from store.models import get_version, resolve
from store.promotion import archive
from tests.factories import add_version
from tests.running import RunningStack, wait_until

PATH = "/v1/models/xor/traffic"
COMPARISON = "/v1/models/xor/comparison"
REQUESTS = 80


class Arms(NamedTuple):
    """Versions of xor: the champion, a network whose answers are its own, and one that cannot be loaded."""

    champion: int
    good: int
    broken: int


@pytest.fixture
def arms(stack: RunningStack) -> Iterator[Arms]:
    """Two more versions of xor in the shared stack; without a split afterwards."""
    with Session(stack.open_database()) as session, session.begin():
        like = resolve(session, "xor")
        numbers = [add_version(session, "xor", like=like).number, add_version(session, "xor").number]
    yield Arms(like.number, *numbers)
    stack.client.delete(PATH).raise_for_status()
    with Session(stack.open_database()) as session, session.begin():
        for number in numbers:
            archive(session, version=get_version(session, "xor", number), reason="tested", actor="tests")


def test_a_split_serves_compares_and_stops_itself(stack: RunningStack, arms: Arms) -> None:
    put(stack, {"policy": "fixed", "weights": {str(arms.champion): 50, str(arms.good): 50}, "sticky": "header"})
    wait_until(lambda: {*ask_many(stack, 10)} == {arms.champion, arms.good})
    first = ask_many(stack, REQUESTS)
    assert ask_many(stack, REQUESTS) == first, "each key stays with its version"

    found = stack.client.get(COMPARISON).json()
    assert sum(each["requests"] for each in found["versions"]) >= 2 * REQUESTS
    assert [each["errors"] for each in found["versions"]] == [0, 0]
    assert not found["sample_ratio"]["off"]

    put(stack, {"policy": "fixed", "weights": {str(arms.champion): 50, str(arms.broken): 50}})
    wait_until(lambda: has_stopped(stack))
    wait_until(lambda: {*ask_many(stack, 10)} == {arms.champion})


def put(stack: RunningStack, plan: dict[str, Any]) -> None:
    stack.client.put(PATH, json=plan).raise_for_status()


def ask_many(stack: RunningStack, count: int) -> Counter[int]:
    """Ask with so many keys; returns which versions answered how often."""
    answers = [stack.predict_xor(headers={"X-Sticky-Key": f"user-{number}"}) for number in range(count)]
    return Counter(answer.json()["version"] for answer in answers)


def has_stopped(stack: RunningStack) -> bool:
    """Ask once more; the broken version fails each of its requests until the guard stops it."""
    ask_many(stack, 10)
    return bool(stack.client.get(PATH).json()["policy"] == "none")
