"""`tests.faults.others`: when the wait of an untouched tenant is held against the product."""

import pytest

from tests.faults.history import REQUEST_TIMEOUT_S, Request
from tests.faults.others import LEAST_ANSWERS, LEAST_PROCESSORS, judge_others, p99_times, untouched_ms

CALM = [10.0] * LEAST_ANSWERS
SLOW = [10.0] * (LEAST_ANSWERS - 10) + [20.0] * 10


def test_a_p99_that_doubles_is_told() -> None:
    assert list(judge_others(CALM, SLOW, LEAST_PROCESSORS)) == ["the p99 of others was 2.00 times that without a fault"]


@pytest.mark.parametrize(
    ("calm", "during", "processors"),
    [
        (CALM, CALM, LEAST_PROCESSORS),
        (CALM, [*CALM, 1000.0], LEAST_PROCESSORS),
        (CALM, SLOW, LEAST_PROCESSORS - 1),
        (CALM, SLOW[10:], LEAST_PROCESSORS),
        (CALM[10:], SLOW, LEAST_PROCESSORS),
        ([], [], LEAST_PROCESSORS),
    ],
    ids=["as ever", "one late answer", "too few processors", "too few answers", "too few before", "nothing measured"],
)
def test_no_verdict_is_given_where_nothing_is_wrong_or_little_is_known(
    calm: list[float], during: list[float], processors: int
) -> None:
    assert list(judge_others(calm, during, processors)) == []


def test_the_times_are_told_whatever_the_machine_has() -> None:
    assert p99_times([1.0, 1.0], [3.0, 3.0]) == 3.0


def request(name: str, *, is_other: bool = True, took_ms: float | None = 5.0) -> Request:
    return Request(1, (0, 1), None, is_other=is_other, ids=[name], took_ms=took_ms)


def held(name: str, holder: str | None) -> dict[str, str | None]:
    return {"id": name, "holder": holder}


def test_only_answers_of_the_worker_that_is_spared_count() -> None:
    requests = [request("p1"), request("p2"), request("p3", is_other=False)]
    moves = [held("p1", None), held("p1", "cpu-0@here"), held("p2", "cpu-0@here"), held("p2", "cpu-1001@here")]

    assert list(untouched_ms(requests, moves)) == [5.0]


def test_an_answer_that_never_came_counts_as_the_longest_wait() -> None:
    assert list(untouched_ms([request("p1", took_ms=None)], [])) == [REQUEST_TIMEOUT_S * 1000]
