"""`benchmarks.training_interference`: what counts as measured beside a training."""

from typing import Any

import click
import pytest

from benchmarks.training_interference import count_steps

BEFORE: dict[str, Any] = {"status": "processing", "attempt": 1, "progress": {"step": 5}}


def test_the_steps_of_a_training_that_computed_all_the_time_are_counted() -> None:
    assert count_steps(BEFORE, {**BEFORE, "progress": {"step": 25}}) == 20


@pytest.mark.parametrize(
    "after",
    [
        {"status": "succeeded", "attempt": 1, "progress": {"step": 25}},
        {"status": "failed", "attempt": 1, "progress": {"step": 25}},
        {"status": "processing", "attempt": 2, "progress": {"step": 25}},
        {"status": "processing", "attempt": 1, "progress": {"step": 5}},
    ],
    ids=["ended", "failed", "begun anew", "stood still"],
)
def test_a_training_that_did_not_compute_all_the_time_is_an_error(after: dict[str, Any]) -> None:
    with pytest.raises(click.ClickException, match="nothing was measured beside a training"):
        count_steps(BEFORE, after)
