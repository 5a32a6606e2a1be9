"""`store.labels`: which labels a version takes, and whether its answer was right."""

from typing import Any

import pytest

from store.errors import InvalidLabelError
from store.labels import Judgement, judge, read_cell

CLASSES = {"labels": ["Bag", "Coat", "Sandal"]}
PRICE = {"kind_options": {"unit": "USD", "transform": "log", "mean": 7.8, "std": 1.0}}
LENGTH = {"kind_options": {"mean": 10.0, "std": 2.0}}
MASKS = {"labels": ["background", "Bag", "Coat"]}
NEAREST = {"catalog": "shop", "external_id": "42", "distance": 0.1}

JUDGED: list[tuple[str, dict[str, Any], Any, Any, Judgement]] = [
    ("classification", CLASSES, "Coat", "Coat", Judgement("Coat", is_correct=True)),
    ("classification", CLASSES, "Coat", "Bag", Judgement("Coat", is_correct=False)),
    ("a kind of one's own", CLASSES, "Bag", "Bag", Judgement("Bag", is_correct=True)),
    ("regression", PRICE, 100, 80.0, Judgement(100.0, None, 20.0)),
    ("regression", {}, -5.5, -5.0, Judgement(-5.5, None, 0.5)),
    ("similarity", {}, "shop/42", NEAREST, Judgement("shop/42", is_correct=True)),
    ("similarity", {}, "market/42", NEAREST, Judgement("market/42", is_correct=False)),
    ("similarity", {}, "shop/42", None, Judgement("shop/42", is_correct=False)),
    ("similarity", {}, False, NEAREST, Judgement(label=False, is_correct=False)),
    (
        "segmentation",
        MASKS,
        ["Coat", "Bag"],
        [{"label": "Bag"}, {"label": "Coat"}],
        Judgement(["Bag", "Coat"], is_correct=True),
    ),
    ("segmentation", MASKS, ["Bag", "Bag"], [], Judgement(["Bag"], is_correct=False)),
    ("segmentation", MASKS, [], [], Judgement([], is_correct=True)),
]


@pytest.mark.parametrize(("kind", "config", "label", "answer", "judgement"), JUDGED)
def test_a_label_is_compared_with_the_answer(
    kind: str, config: dict[str, Any], label: Any, answer: Any, judgement: Judgement
) -> None:
    assert judge(kind, config, label, answer) == judgement


REFUSED: list[tuple[str, dict[str, Any], Any, str]] = [
    ("classification", CLASSES, "Sock", "not 'Sock': Bag, Coat, Sandal"),
    ("classification", CLASSES, 1, "not 1: Bag"),
    ("classification", CLASSES, ["Bag"], "one of the version's labels"),
    ("classification", {"labels": [str(n) for n in range(1000)]}, "x", r": 0, 1, .*, 9, …$"),
    ("classification", CLASSES, "S" * 1000, "…: Bag"),
    ("a kind of one's own", {}, "Bag", "take no feedback"),
    ("regression", PRICE, "100", "finite number, not '100'"),
    ("regression", PRICE, True, "finite number"),
    ("regression", PRICE, float("nan"), "finite number"),
    ("regression", PRICE, 10**400, "finite number"),
    ("regression", PRICE, 0, "above 0"),
    ("regression", PRICE, 1e9, r"0.1108 to 5.376e\+07 USD"),
    ("regression", LENGTH, -11, "-10 to 30$"),
    ("similarity", {}, "42", "catalog/external_id"),
    ("similarity", {}, "a/b/c", "catalog/external_id"),
    ("similarity", {}, "shop/", "catalog/external_id"),
    ("similarity", {}, "shop/\0", "catalog/external_id"),
    ("similarity", {}, 42, "catalog/external_id"),
    ("segmentation", MASKS, "Bag", "list of the labels"),
    ("segmentation", MASKS, ["background"], "not 'background': Bag, Coat"),
    ("segmentation", MASKS, [["Bag"]], "one of the version's labels"),
]


@pytest.mark.parametrize(("kind", "config", "label", "sentence"), REFUSED)
def test_a_label_that_could_be_no_answer_is_refused(
    kind: str, config: dict[str, Any], label: Any, sentence: str
) -> None:
    with pytest.raises(InvalidLabelError, match=sentence):
        judge(kind, config, label, 1.0)


CELLS: list[tuple[str, dict[str, Any], str, Any]] = [
    ("classification", CLASSES, "Bag", "Bag"),
    ("regression", PRICE, " 12.5 ", 12.5),
    ("similarity", {}, "shop/42", "shop/42"),
    ("segmentation", MASKS, "Bag | Coat", ["Bag", "Coat"]),
    ("segmentation", MASKS, "", []),
    ("segmentation", {"labels": ["none", "a|b"]}, "a|b", ["a|b"]),
]


@pytest.mark.parametrize(("kind", "config", "cell", "label"), CELLS)
def test_a_cell_is_read_in_the_form_of_the_kind(kind: str, config: dict[str, Any], cell: str, label: Any) -> None:
    assert read_cell(kind, config, cell) == label


def test_a_cell_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidLabelError, match="not 'dear'"):
        read_cell("regression", PRICE, "dear")
