"""`benchmarks.traffic_simulation`: the policies in small, seeded, so that nothing is left to chance."""

from statistics import fmean

import pytest

from benchmarks.traffic_simulation import EQUAL, UNEQUAL, Experiment, World, run_experiment, run_world

SEEDS = range(12)


@pytest.mark.parametrize("is_learned", [False, True])
def test_equal_versions_are_seldom_said_to_differ(is_learned: bool) -> None:
    experiment = Experiment(shares=EQUAL, requests=400, is_learned=is_learned)

    assert sum(run_experiment(experiment, seed).verdict for seed in range(40)) <= 4


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


def _lost(world: World, shares: tuple[float, float] | None) -> float:
    return fmean(run_world(world, shares, seed) for seed in SEEDS)
