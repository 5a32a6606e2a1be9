"""``ml.scoring``: how right answers are."""

import pytest
import torch

from ml.errors import EvaluationError
from ml.kinds import build_untrained
from ml.scoring import Item, score, score_items
from ml.spec import ModelSpec


@pytest.mark.parametrize(("label", "expected"), [("Bag", 1.0), ("Coat", 0.0)])
def test_a_label_is_right_or_wrong(label: str, expected: float) -> None:
    assert score("classification", {"label": "Bag"}, label) == expected


def test_a_value_is_as_right_as_it_is_near() -> None:
    assert score("regression", {"value": 7.0}, 10) == -3.0


def test_masks_are_not_right_or_wrong_by_a_label() -> None:
    with pytest.raises(EvaluationError, match="segmentation"):
        score("segmentation", {}, "x")


def test_items_are_scored_in_order_and_those_without_answer_left_open(vector_spec: ModelSpec) -> None:
    predictor = build_untrained(vector_spec, "cpu")
    answer = predictor.encode(predictor.forward(torch.tensor([[0.0, 1.0]]))[0])["label"]
    items = [Item(payload=[0.0, 1.0], label=answer), Item(payload=[1.0], label="1")] * 10

    assert score_items(predictor, items) == [1.0, None] * 10


def test_a_version_whose_outputs_are_not_finite_answers_nothing(vector_spec: ModelSpec) -> None:
    predictor = build_untrained(vector_spec, "cpu")
    torch.nn.init.constant_(next(predictor.module.parameters()), float("nan"))

    assert score_items(predictor, [Item(payload=[0.0, 1.0], label="1")]) == [None]
