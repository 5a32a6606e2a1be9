"""`store.statistics.special`, against values of closed form and of scipy 1.17."""

import math

import pytest

from store.statistics.special import beta_cdf, log_beta, normal_cdf


def test_the_beta_function_of_whole_numbers_is_of_factorials() -> None:
    assert math.exp(log_beta(3, 4)) == pytest.approx(math.factorial(2) * math.factorial(3) / math.factorial(6))


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [
        (0.25, 1, 1, 0.25),
        (0.3, 2, 5, 0.579825),
        (0.1, 0.5, 0.5, 0.20483276469913345),
        (0.9, 900, 100, 0.48878396952018771),
        (0.99, 1e6, 1e4, 0.1574553938250943),
        (1e-9, 1, 1e6, 0.0009995001671245088),
        (-1.0, 2, 2, 0.0),
        (2.0, 2, 2, 1.0),
    ],
)
def test_the_beta_distribution(x: float, a: float, b: float, expected: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("x", "expected"), [(0.0, 0.5), (1.96, 0.9750021048517795), (-8.0, 6.220960574271785e-16)])
def test_the_normal_distribution(x: float, expected: float) -> None:
    assert normal_cdf(x) == pytest.approx(expected, rel=1e-9)
