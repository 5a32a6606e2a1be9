"""Split traffic through a stack of real processes: web process, worker, beat and maintenance."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from store.models import archive, get_version, resolve
from tests.factories import add_version
from tests.running import RunningStack, wait_until

PATH = "/v1/models/xor/traffic"
COMPARISON = "/v1/models/xor/comparison"
PATIENCE_S = 30.0
REQUESTS = 80

#: A network whose answers are those of the first version, and one that cannot be loaded.
GOOD, BROKEN = 2, 3


@pytest.fixture
def split(stack: RunningStack) -> Iterator[RunningStack]:
    """The shared stack, with two more versions of xor; without a split afterwards."""
    with Session(stack.open_database()) as session, session.begin():
        like = resolve(session, "xor")
        numbers = [add_version(session, "xor", like=like).number for _ in (GOOD,)]
        numbers.append(add_version(session, "xor").number)
    assert numbers == [GOOD, BROKEN]
    yield stack
    stack.client.delete(PATH).raise_for_status()
    with Session(stack.open_database()) as session, session.begin():
        for number in numbers:
            archive(session, version=get_version(session, "xor", number), reason="tested", actor="tests")


def test_a_split_serves_compares_and_stops_itself(split: RunningStack) -> None:
    put(split, {"policy": "fixed", "weights": {"1": 50, str(GOOD): 50}, "sticky": "header"})
    wait_until(lambda: {*ask_many(split, 10)} == {1, GOOD}, PATIENCE_S)
    first = ask_many(split, REQUESTS)
    assert ask_many(split, REQUESTS) == first, "each key stays with its version"

    found = split.client.get(COMPARISON).json()
    assert sum(each["requests"] for each in found["versions"]) >= 2 * REQUESTS
    assert [each["errors"] for each in found["versions"]] == [0, 0]
    assert not found["sample_ratio"]["off"]

    put(split, {"policy": "fixed", "weights": {"1": 50, str(BROKEN): 50}})
    wait_until(lambda: has_stopped(split), PATIENCE_S)
    wait_until(lambda: {*ask_many(split, 10)} == {1}, PATIENCE_S)


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
