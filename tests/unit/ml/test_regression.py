import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image

from ml.conformal import coverage
from ml.errors import InvalidSpecError, NonFiniteOutputError
from ml.kinds import build_untrained
from ml.regression import RegressionPredictor
from ml.spec import ModelSpec
from ml.training import FitOptions, compute_threads, fit, forward_all
from tests.unit.ml.conftest import EncodeImage

PICTURES = 600
SIDE_PX = 10


def build(config: dict[str, Any], **changes: Any) -> RegressionPredictor:
    predictor = build_untrained(ModelSpec.from_config("m", 1, {**config, **changes}), "cpu")
    assert isinstance(predictor, RegressionPredictor)
    return predictor


@pytest.fixture
def price(record_config: dict[str, Any]) -> RegressionPredictor:
    return build(record_config)


@pytest.fixture
def plain(record_config: dict[str, Any]) -> RegressionPredictor:
    return build(record_config, kind_options={"decimals": 4})


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Networks this small take many times longer where two threads wait for each other on a busy machine."""
    with compute_threads(1):
        yield


def test_a_result_is_a_value_within_its_interval(price: RegressionPredictor) -> None:
    result = price.encode(torch.zeros(3))
    # softplus(0) = log 2, in units of the standard deviation of the logarithm.
    assert result == {
        "value": round(math.exp(7.5)),
        "low": round(math.exp(7.5 - math.log(2))),
        "high": round(math.exp(7.5 + math.log(2))),
        "unit": "USD",
        "interval": 0.8,
    }


def test_the_three_numbers_never_cross(price: RegressionPredictor) -> None:
    low, value, high = price.quantiles(torch.randn(500, 3) * 5).unbind(dim=1)
    assert bool((low <= value).all())
    assert bool((value <= high).all())


def test_an_offset_that_shrinks_more_than_there_is_leaves_the_value(record_config: dict[str, Any]) -> None:
    result = build(record_config, kind_options={"offset": -100}).encode(torch.zeros(3))
    assert (result["low"], result["value"], result["high"]) == (0, 0, 0)


def test_an_offset_moves_both_ends_outwards(record_config: dict[str, Any], plain: RegressionPredictor) -> None:
    wider = build(record_config, kind_options={"decimals": 4, "offset": 0.25}).encode(torch.zeros(3))
    result = plain.encode(torch.zeros(3))
    assert wider["value"] == result["value"]
    assert (wider["low"], wider["high"]) == pytest.approx((result["low"] - 0.25, result["high"] + 0.25))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_output_that_is_not_finite_spares_the_rest_of_the_batch(
    plain: RegressionPredictor, value: float, place: int
) -> None:
    outputs = torch.zeros(3, 3)
    outputs[1, place] = value
    first, bad, last = plain.encode_batch(outputs)
    assert isinstance(bad, NonFiniteOutputError)
    assert first == last == plain.encode(torch.zeros(3))


def test_a_price_beyond_all_numbers_is_refused(price: RegressionPredictor) -> None:
    with pytest.raises(NonFiniteOutputError):
        price.encode(torch.tensor([1e30, 0.0, 0.0]))


def test_an_empty_batch_has_no_results(price: RegressionPredictor) -> None:
    assert price.encode_batch(torch.zeros(0, 3)) == []


def test_a_batch_of_records_equals_each_alone(price: RegressionPredictor) -> None:
    items = torch.stack([price.decode({"carat": 0.2 * n, "cut": "Fair"}) for n in range(1, 9)])
    alone = torch.cat([price.forward(item.unsqueeze(0)) for item in items])
    torch.testing.assert_close(price.forward(items), alone, rtol=1e-5, atol=1e-6)


def test_the_loss_is_smallest_for_the_right_value(price: RegressionPredictor) -> None:
    right = torch.tensor([math.exp(7.5)])
    outputs = torch.tensor([[0.0, -5.0, -5.0]])
    assert price.loss(outputs, right) < price.loss(outputs + torch.tensor([0.5, 0, 0]), right)
    assert price.loss(outputs, right) < price.loss(outputs - torch.tensor([0.5, 0, 0]), right)


def test_the_loss_of_a_value_outside_of_the_interval_widens_it(plain: RegressionPredictor) -> None:
    outputs = torch.zeros(1, 3, requires_grad=True)
    torch.autograd.backward(plain.loss(outputs, torch.tensor([5.0])))
    assert outputs.grad is not None
    # A step against the gradient raises the median and moves the upper end away.
    assert outputs.grad[0, 0] < 0
    assert outputs.grad[0, 2] < 0


def test_the_metric_is_the_share_of_the_variance_that_is_explained(plain: RegressionPredictor) -> None:
    outputs = torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    assert plain.metric(outputs, torch.tensor([1.0, 2.0, 3.0])) == 1
    assert plain.metric(outputs, torch.tensor([2.0, 2.0, 5.0])) == pytest.approx(1 - 5 / 6)


def test_the_metric_of_targets_that_are_all_equal_is_all_or_nothing(plain: RegressionPredictor) -> None:
    outputs = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]])
    assert plain.metric(outputs, torch.tensor([1.0, 1.0])) == 1
    assert plain.metric(outputs, torch.tensor([2.0, 2.0])) == 0


def test_a_calibration_makes_intervals_hold_what_they_state(plain: RegressionPredictor) -> None:
    outputs, targets = torch.zeros(4000, 3), torch.randn(4000) * 3
    calibrated = plain.calibrated(outputs[:2000], targets[:2000])
    low, _, high = calibrated.quantiles(outputs[2000:]).unbind(dim=1)
    assert coverage(low, high, targets[2000:].double()) == pytest.approx(0.8, abs=0.03)
    assert calibrated.spec.kind_options["offset"] == calibrated.target.offset > 0


def test_a_regression_with_labels_is_refused(record_config: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match="labels: must be left out"):
        build(record_config, labels=["cheap", "dear"])


def test_wrong_options_are_refused(record_config: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=r"kind_options\.std: must be above 0"):
        build(record_config, kind_options={"std": 0})


def test_a_vector_can_be_regressed_by_configuration_alone(vector_config: dict[str, Any]) -> None:
    predictor = build(vector_config, kind="regression", labels=[])
    assert set(predictor.encode(predictor.forward(torch.zeros(1, 2))[0])) == {
        "value",
        "low",
        "high",
        "unit",
        "interval",
    }


@pytest.mark.usefixtures("_one_thread")
def test_pictures_are_regressed_by_configuration_alone(image_config: dict[str, Any]) -> None:
    """Brightness in percent of a noisy picture, learned by the network of garments in a few dozen steps."""
    brightness = torch.rand(PICTURES) * 90 + 5
    noise = torch.randn(PICTURES, 1, SIDE_PX, SIDE_PX) * 10
    pictures = (brightness.view(-1, 1, 1, 1) * 2.55 + noise).clamp(0, 255).to(torch.uint8)
    options = {"unit": "%", "mean": 50.0, "std": 26.0}
    shown = {**image_config["input"], "size": SIDE_PX, "preparation": "photo"}
    config = {**image_config, "arch_options": {"widths": [4, 8, 16]}, "input": shown}
    predictor = build(config, kind="regression", labels=[], kind_options=options)
    fit_options = FitOptions(epochs=12, batch_size=32, peak_learning_rate=0.02, optimizer="adamw")
    fit(predictor, pictures[:400], brightness[:400], fit_options)
    predictor = predictor.calibrated(forward_all(predictor, pictures[400:500]), brightness[400:500])
    outputs = forward_all(predictor, pictures[500:])
    assert predictor.metric(outputs, brightness[500:]) > 0.9
    low, _, high = predictor.quantiles(outputs).unbind(dim=1)
    assert coverage(low, high, brightness[500:].double()) == pytest.approx(0.8, abs=0.17)


def test_a_picture_file_is_answered_with_a_number(image_config: dict[str, Any], encode_image: EncodeImage) -> None:
    predictor = build(image_config, kind="regression", labels=[], kind_options={"unit": "%"})
    predictor.module.eval()
    item = predictor.decode(encode_image(Image.new("L", (40, 40), "white")))
    result = predictor.encode(predictor.forward(item.unsqueeze(0))[0])
    assert (result["unit"], result["low"] <= result["value"] <= result["high"]) == ("%", True)
