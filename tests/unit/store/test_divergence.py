"""`store.divergence`: effect sizes that do not grow with the samples, and tests that are as often wrong as they say."""

import random
from collections import Counter
from math import sqrt

import pytest
from scipy import stats

from store.divergence import (
    Moments,
    chi2_chance,
    decile_edges,
    js_divergence,
    mean_rise,
    share_drop,
    stability_index,
)

ALPHA = 0.001

EVEN = dict.fromkeys("abcdefghij", 100)


def draw(count: int, seed: int, shares: dict[str, float]) -> Counter[str]:
    return Counter(random.Random(seed).choices([*shares], [*shares.values()], k=count))


def test_equal_shares_are_no_distance() -> None:
    found = js_divergence({"a": 10, "b": 30}, {"a": 100, "b": 300}, alpha=ALPHA)

    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.is_significant is False


def test_shares_without_anything_in_common_are_the_greatest_distance() -> None:
    found = js_divergence({"a": 500}, {"b": 500}, alpha=ALPHA)

    assert found.value == pytest.approx(1)
    assert found.is_significant is True


def test_the_distance_is_jensens_and_shannons() -> None:
    # Half of both divergences from the middle, in bits: (0.5, 0.5) against (0.9, 0.1).
    found = js_divergence({"a": 500, "b": 500}, {"a": 900, "b": 100}, alpha=ALPHA)

    assert found.value == pytest.approx(sqrt(0.146793), abs=1e-4)


def test_the_distance_does_not_grow_with_the_samples() -> None:
    small, large = (js_divergence({"a": n, "b": n}, {"a": 12 * n // 10, "b": n}, alpha=ALPHA) for n in (100, 100_000))

    assert small.value == pytest.approx(large.value, abs=1e-3)
    assert (small.is_significant, large.is_significant) == (False, True)


def test_the_index_of_equal_counts_is_nothing() -> None:
    found = stability_index([100] * 10, [50] * 10, alpha=ALPHA)

    assert found.value == pytest.approx(0, abs=1e-4)
    assert found.is_significant is False


def test_the_index_is_the_custom_one() -> None:
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)
    assert stability_index([60_000, 40_000], [50_000, 50_000], alpha=ALPHA).value == pytest.approx(0.040547, abs=1e-4)


def test_an_empty_bin_has_an_index() -> None:
    assert 1 < stability_index([1000, 0], [500, 500], alpha=ALPHA).value < 10


def test_a_share_that_fell_is_told() -> None:
    found = share_drop((930, 1000), (430, 500), alpha=ALPHA)

    assert found.value == pytest.approx(0.07)
    assert found.is_significant is True


@pytest.mark.parametrize("window", [(95, 100), (90, 100)])
def test_a_share_that_rose_or_fell_by_chance_is_not_significant(window: tuple[int, int]) -> None:
    assert not share_drop((930, 1000), window, alpha=ALPHA).is_significant


def test_a_share_that_never_changes_is_not_significant() -> None:
    assert not share_drop((100, 100), (50, 50), alpha=ALPHA).is_significant


def test_a_mean_that_rose_is_told_as_a_share() -> None:
    before, now = Moments(count=500, mean=10.0, variance=25.0), Moments(count=200, mean=15.0, variance=36.0)

    found = mean_rise(before, now, alpha=ALPHA)

    assert found.value == pytest.approx(0.5)
    assert found.is_significant is True


@pytest.mark.parametrize("mean", [9.0, 10.5])
def test_a_mean_that_fell_or_rose_by_chance_is_not_significant(mean: float) -> None:
    before, now = Moments(count=500, mean=10.0, variance=25.0), Moments(count=50, mean=mean, variance=25.0)

    assert not mean_rise(before, now, alpha=ALPHA).is_significant


def test_deciles_divide_into_ten() -> None:
    values = [float(number) for number in range(1000)]

    edges = decile_edges(values)

    assert edges == [float(edge) for edge in range(100, 1000, 100)]


def test_deciles_of_many_equal_numbers_are_fewer() -> None:
    assert decile_edges([0.5] * 30 + [1.0] * 70) == [0.5]
    assert decile_edges([1.0] * 100) == []


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 50, 501, 3000])
@pytest.mark.parametrize("chance", [0.999, 0.5, 0.001, 1e-9])
def test_the_chance_is_that_of_the_distribution(degrees: int, chance: float) -> None:
    statistic = stats.chi2.isf(chance, degrees)

    assert chi2_chance(statistic, degrees) == pytest.approx(chance, rel=1e-6)


def test_no_difference_at_all_is_certain_to_be_exceeded() -> None:
    assert chi2_chance(0.0, 5) == 1.0


@pytest.mark.parametrize("categories", [2, 10, 200])
def test_samples_of_one_source_differ_as_seldom_as_stated(categories: int) -> None:
    # Skewed, so that some categories are rare.
    shares = {str(number): 1 / (number + 1) for number in range(categories)}
    alpha, runs = 0.05, 600

    found = sum(
        js_divergence(draw(1000, 2 * run, shares), draw(500, 2 * run + 1, shares), alpha=alpha).is_significant
        for run in range(runs)
    )

    # Twice the standard deviation of a share of 5 % among 600.
    assert found / runs == pytest.approx(alpha, abs=2 * sqrt(alpha * (1 - alpha) / runs))
