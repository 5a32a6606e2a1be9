from typing import Any

import pytest
import torch

from ml.errors import InvalidSpecError, NonFiniteOutputError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec


@pytest.fixture
def binary(vector_spec: ModelSpec) -> Predictor:
    return build_untrained(vector_spec, "cpu")


@pytest.fixture
def of_seven(vector_config: dict[str, Any]) -> Predictor:
    config = {**vector_config, "labels": list("abcdefg")}
    return build_untrained(ModelSpec.from_config("m", 1, config), "cpu")


@pytest.fixture
def images(image_spec: ModelSpec) -> Predictor:
    predictor = build_untrained(image_spec, "cpu")
    predictor.module.eval()
    return predictor


def test_the_strongest_label_and_its_score_come_first(of_seven: Predictor) -> None:
    result = of_seven.encode(torch.tensor([0.0, 5.0, 1.0, 2.0, 0.0, 0.0, 3.0]))
    assert result["label"] == "b"
    assert result["top"][0] == ["b", result["score"]]
    assert [label for label, _ in result["top"][:4]] == ["b", "g", "d", "c"]


def test_at_most_five_labels_are_listed(of_seven: Predictor) -> None:
    assert len(of_seven.encode(torch.zeros(7))["top"]) == 5


def test_scores_are_softmax_probabilities(of_seven: Predictor) -> None:
    logits = torch.randn(7)
    top = of_seven.encode(logits)["top"]
    expected = logits.softmax(0).sort(descending=True).values[:5]
    assert [score for _, score in top] == pytest.approx(expected.tolist(), abs=1e-6)
    assert all(round(score, 6) == score for _, score in top)


@pytest.mark.parametrize(("logit", "label"), [(3.0, "1"), (-3.0, "0")])
def test_a_single_logit_decides_between_two_labels(binary: Predictor, logit: float, label: str) -> None:
    result = binary.encode(torch.tensor([logit]))
    assert result["label"] == label
    assert result["score"] == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item(), abs=1e-6)
    assert sum(score for _, score in result["top"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_output_that_is_not_finite_is_refused(binary: Predictor, value: float) -> None:
    with pytest.raises(NonFiniteOutputError):
        binary.encode(torch.tensor([value]))


def test_an_output_that_is_not_finite_spares_the_rest_of_the_batch(of_seven: Predictor) -> None:
    outputs = torch.zeros(3, 7)
    outputs[1, 2] = float("nan")
    first, bad, last = of_seven.encode_batch(outputs)
    assert isinstance(bad, NonFiniteOutputError)
    assert first == last == of_seven.encode(torch.zeros(7))


def test_an_empty_batch_has_no_results(of_seven: Predictor) -> None:
    assert of_seven.encode_batch(torch.zeros(0, 7)) == []


def test_images_are_scaled_and_normalised_before_the_network(images: Predictor, image_spec: ModelSpec) -> None:
    seen: list[torch.Tensor] = []
    images.module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    images.forward(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8))
    assert seen[0].dtype == torch.float32
    expected = (1 - image_spec.input.mean[0]) / image_spec.input.std[0]
    assert torch.unique(seen[0]).tolist() == pytest.approx([expected], rel=1e-5)


def test_a_batch_of_images_equals_each_alone(images: Predictor) -> None:
    batch = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    together = images.forward(batch)
    alone = torch.cat([images.forward(image.unsqueeze(0)) for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_the_loss_is_smaller_for_the_right_label(of_seven: Predictor) -> None:
    outputs = torch.tensor([[4.0, 0, 0, 0, 0, 0, 0]])
    assert of_seven.loss(outputs, torch.tensor([0])) < of_seven.loss(outputs, torch.tensor([1]))


def test_the_loss_of_a_single_logit_is_that_of_two(binary: Predictor) -> None:
    outputs = torch.tensor([[2.0], [-1.0]], requires_grad=True)
    loss = binary.loss(outputs, torch.tensor([1, 0]))
    torch.autograd.backward(loss)
    assert outputs.grad is not None
    assert outputs.grad[0, 0] < 0 < outputs.grad[1, 0]


def test_the_metric_is_the_share_of_right_answers(binary: Predictor) -> None:
    assert binary.metric(torch.tensor([[2.0], [-1.0], [3.0], [1.0]]), torch.tensor([1, 0, 0, 1])) == 0.75


def test_a_model_of_one_label_is_refused(vector_config: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match="two labels or more"):
        build_untrained(ModelSpec.from_config("m", 1, {**vector_config, "labels": ["a"]}), "cpu")


def test_a_deviation_is_told_in_answers_and_in_scores(fashion: Predictor) -> None:
    reference = torch.tensor([[2.0, 0.0, *[-9.0] * 8], [0.0, 0.1, *[-9.0] * 8]])
    flipped = torch.tensor([[2.0, 0.0, *[-9.0] * 8], [0.1, 0.0, *[-9.0] * 8]])

    found = fashion.deviation(reference, flipped)

    assert found.agreement == 0.5
    assert found.max_error == pytest.approx(0.05, abs=0.001)
