"""`benchmarks.traffic_simulation`: the policies in small, seeded, so that nothing is left to chance."""

from math import comb, fsum
from statistics import fmean

import pytest

from benchmarks.traffic_simulation import EQUAL, UNEQUAL, Experiment, World, run_experiment, run_world

SEEDS = range(12)

#: At most so many experiments without a difference may ever say that there is one, by what is promised.
FALSE_ALARMS = 0.05

EXPERIMENTS = 200

#: How sure the test is of what it says.
CONFIDENCE = 0.99


@pytest.mark.parametrize("is_learned", [False, True])
def test_equal_versions_are_seldom_said_to_differ(is_learned: bool) -> None:
    """So seldom that chance would show as few alarms in less than 1 % of the cases if they came in 5 % or more.

    With 200 experiments that is at most 3 of them; 10 would be 5 %, and nothing would be proven by them.
    """
    experiment = Experiment(shares=EQUAL, requests=400, is_learned=is_learned)

    alarms = sum(run_experiment(experiment, seed).verdict for seed in range(EXPERIMENTS))

    assert _chance_of_at_most(alarms) <= 1 - CONFIDENCE


def test_an_ordinary_test_cries_wolf_when_it_is_looked_at_all_the_time() -> None:
    experiment = Experiment(shares=EQUAL, requests=1_500)

    assert sum(run_experiment(experiment, seed).ordinary for seed in range(30)) >= 5


@pytest.mark.parametrize("fixed", [EQUAL, UNEQUAL])
def test_learning_loses_less_than_a_fixed_split_when_the_challenger_is_better(fixed: tuple[float, float]) -> None:
    world = World(accuracies=(0.8, 0.9), requests=3_000)

    assert _lost(world, None) < 0.8 * _lost(world, fixed)


def test_learning_loses_less_than_equal_shares_when_the_challenger_is_worse() -> None:
    world = World(accuracies=(0.8, 0.7), requests=3_000)

    assert _lost(world, None) < 0.8 * _lost(world, EQUAL)


def test_a_run_is_repeated_exactly() -> None:
    experiment = Experiment(shares=UNEQUAL, requests=200)

    assert run_experiment(experiment, 1) == run_experiment(experiment, 1)
    assert run_world(World(accuracies=(0.8, 0.9), requests=500), None, 1) == run_world(
        World(accuracies=(0.8, 0.9), requests=500), None, 1
    )


def _chance_of_at_most(alarms: int) -> float:
    """How likely so few alarms or fewer are where each experiment gives one as often as is just allowed."""
    return fsum(
        comb(EXPERIMENTS, count) * FALSE_ALARMS**count * (1 - FALSE_ALARMS) ** (EXPERIMENTS - count)
        for count in range(alarms + 1)
    )


def _lost(world: World, shares: tuple[float, float] | None) -> float:
    return fmean(run_world(world, shares, seed) for seed in SEEDS)
