import math

import pytest
import torch

from ml.errors import InvalidSpecError
from ml.target import Target

PRICE = Target(unit="USD", transform="log", mean=7.0, std=2.0)


def test_a_target_is_read() -> None:
    options = {"unit": "USD", "transform": "log", "mean": 7, "std": 2, "interval": 0.9, "offset": -0.01, "decimals": 0}
    expected = Target(unit="USD", transform="log", mean=7, std=2, interval=0.9, offset=-0.01, decimals=0)
    assert Target.from_config(options) == expected


def test_a_target_that_says_nothing_is_a_plain_number() -> None:
    assert Target.from_config({}) == Target(unit="", transform="identity", mean=0, std=1, interval=0.8, offset=0)


def test_a_logarithm_is_standardised() -> None:
    wanted = PRICE.to_network(torch.tensor([math.exp(7.0), math.exp(9.0)]))
    assert wanted.tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("target", [PRICE, Target(mean=3, std=0.5)], ids=["log", "identity"])
def test_the_way_back_returns_the_values(target: Target) -> None:
    values = torch.tensor([1.0, 326.0, 18823.0], dtype=torch.float64)
    torch.testing.assert_close(target.from_network(target.to_network(values)), values)


def test_a_value_without_logarithm_is_not_finite() -> None:
    assert not PRICE.to_network(torch.tensor([0.0, -1.0])).isfinite().any()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"units": "USD"}, "units"),
        ({"unit": 1}, "unit"),
        ({"transform": "sqrt"}, "transform"),
        ({"transform": None}, "transform"),
        ({"mean": "7"}, "mean"),
        ({"mean": math.inf}, "mean"),
        ({"std": 0}, "std"),
        ({"std": True}, "std"),
        ({"interval": 0}, "interval"),
        ({"interval": 1}, "interval"),
        ({"offset": math.nan}, "offset"),
        ({"decimals": -1}, "decimals"),
        ({"decimals": 2.0}, "decimals"),
        ({"decimals": 13}, "decimals"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        Target.from_config(options)
    assert caught.value.field == f"kind_options.{field}"
