"""`store.statistics.thompson`: the probability that a version is the best."""

import pytest

from store.statistics.sequences import EMPTY, Mean, Proportion
from store.statistics.thompson import BetaPosterior, NormalPosterior, choice_probabilities, learn_from_errors


def test_nothing_known_is_the_same_for_all() -> None:
    assert choice_probabilities([BetaPosterior.of(EMPTY)] * 3, 0.0) == pytest.approx([1 / 3] * 3, abs=1e-4)


def test_two_of_whole_numbers_follow_by_hand() -> None:
    # P(Beta(2, 1) > Beta(1, 1)) is the mean of the first.
    found = choice_probabilities([BetaPosterior(2, 1), BetaPosterior(1, 1)], 0.0)

    assert found == pytest.approx([2 / 3, 1 / 3], abs=1e-4)


def test_three_agree_with_a_million_draws() -> None:
    # Of numpy 2.4, seed 0.
    posteriors = [BetaPosterior(901, 101), BetaPosterior(861, 141), BetaPosterior(1, 1)]

    assert choice_probabilities(posteriors, 0.0) == pytest.approx([0.896603, 0.00268, 0.100717], abs=2e-3)


def test_two_normal_ones_follow_by_hand() -> None:
    # The difference is normal with mean 1 and deviation 1.
    found = choice_probabilities([NormalPosterior(1.0, 0.6), NormalPosterior(0.0, 0.8)], 0.0)

    assert found == pytest.approx([0.841345, 0.158655], abs=1e-4)


def test_millions_of_answers_are_no_trouble() -> None:
    posteriors = [BetaPosterior.of(Proportion(900_000, 1_000_000)), BetaPosterior.of(Proportion(903_000, 1_000_000))]

    assert choice_probabilities(posteriors, 0.01) == pytest.approx([0.01, 0.99], abs=1e-6)


def test_none_falls_below_the_floor() -> None:
    found = choice_probabilities([BetaPosterior(1000, 10), BetaPosterior(10, 1000), BetaPosterior(10, 900)], 0.05)

    assert min(found) == pytest.approx(0.05)
    assert sum(found) == pytest.approx(1.0)


def test_a_smaller_error_is_the_better_one() -> None:
    small, large = Mean(100, 100.0, 200.0), Mean(100, 200.0, 500.0)

    found = choice_probabilities(learn_from_errors([small, large]), 0.0)

    assert found[0] > 0.99


def test_a_version_without_errors_yet_is_tried() -> None:
    seen = [Mean(100, 100.0, 200.0), Mean(0, 0.0, 0.0)]

    assert choice_probabilities(learn_from_errors(seen), 0.0)[1] > 0.3


def test_no_errors_at_all_tell_no_version_apart() -> None:
    assert choice_probabilities(learn_from_errors([Mean(0, 0.0, 0.0)] * 2), 0.0) == pytest.approx([0.5, 0.5])
