"""`store.answers`: what an answer says, and how right it is."""

import pytest

from store.answers import answer_of, differ, score_of


def test_the_answer_of_a_classification_is_its_label() -> None:
    assert answer_of("classification", {"label": "Bag", "score": 0.9}) == "Bag"


def test_the_answer_of_a_regression_is_its_value() -> None:
    assert answer_of("regression", {"value": 7, "low": 5}) == 7.0


@pytest.mark.parametrize(("label", "score"), [("Bag", 1.0), ("Coat", 0.0)])
def test_a_label_is_right_or_wrong(label: str, score: float) -> None:
    assert score_of("classification", "Bag", label) == score


def test_a_value_is_as_right_as_it_is_near() -> None:
    assert score_of("regression", 7.0, 10) == -3.0


@pytest.mark.parametrize(("candidate", "disagrees"), [(104.0, False), (106.0, True), (94.0, True)])
def test_values_within_a_twentieth_agree(candidate: float, disagrees: bool) -> None:
    assert differ("regression", candidate, 100.0) is disagrees
