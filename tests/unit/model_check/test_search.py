"""`tests.model_check`: the protocol keeps its promises, and each rule that is left out is found out."""

from dataclasses import replace

import pytest

from tests.model_check.protocol import BROKEN, Rules
from tests.model_check.search import search

#: Small enough for every commit; `make model-check` looks at three jobs and three faults.
SMALL = Rules(jobs=2, faults=2)


def test_no_order_of_steps_and_faults_breaks_a_promise() -> None:
    found = search(SMALL)

    assert (found.broken, found.trace) == (None, [])
    assert found.states > 10_000


@pytest.mark.parametrize("name", BROKEN)
def test_a_rule_that_is_left_out_is_found_out(name: str) -> None:
    found = search(replace(SMALL, **BROKEN[name]))

    assert found.broken is not None
    assert found.trace


def test_a_completion_without_a_fence_is_found_with_the_zombie_that_made_it() -> None:
    found = search(replace(SMALL, checks_fence=False))

    assert found.broken is not None
    assert found.broken.startswith("I5")
    assert any("comes back after its lease" in step for step in found.trace)


def test_an_answer_before_the_row_is_found_when_the_process_dies_between_them() -> None:
    found = search(replace(SMALL, acks_after_commit=False))

    assert found.trace[-1] == "web dies with job 0, which the client takes for accepted"
