"""`tasks.gate_rules`: what the gate decides from what was measured."""

from dataclasses import replace
from typing import Any

import pytest

from schemas.enums import GateOutcome, GatePolicy
from schemas.gate_settings import GateSettings
from tasks.gate_rules import Evidence, decide

SETTINGS = GateSettings()


def scores(right: int, wrong: int) -> list[float]:
    return [1.0] * right + [0.0] * wrong


def evidence(
    held_out: tuple[list[float], list[float]] = (scores(180, 20), scores(150, 50)),
    recent: tuple[list[float], list[float]] | None = None,
    **changes: Any,
) -> Evidence:
    """Measurements of a candidate that is better on the held-out items, unless said otherwise."""
    sets: dict[str, Any] = {"held_out": made_of(*held_out)}
    if recent is not None:
        sets["recent_feedback"] = made_of(*recent)
    given = Evidence(
        kind="classification",
        sets=sets,
        latency_ms={"candidate": 1.0, "champion": 1.0},
        size_bytes={"candidate": 100, "champion": 100},
    )
    return replace(given, **changes)


def made_of(candidate: list[Any], champion: list[Any], groups: list[str] | None = None) -> dict[str, Any]:
    return {"source": "tests", "groups": groups, "candidate": candidate, "champion": champion}


def test_a_better_candidate_becomes_the_challenger() -> None:
    assert decide(evidence(), SETTINGS).outcome is GateOutcome.CHALLENGER


def test_a_better_candidate_becomes_champion_where_the_policy_says_so() -> None:
    assert decide(evidence(), replace(SETTINGS, policy=GatePolicy.AUTO)).outcome is GateOutcome.PROMOTED


def test_the_reason_tells_the_figures() -> None:
    assert "accuracy 0.9000 against 0.7500 on 200 items of held_out" in decide(evidence(), SETTINGS).reason


@pytest.mark.parametrize(
    ("candidate", "champion", "reason"),
    [
        (scores(150, 50), scores(150, 50), "not better than 0 beyond chance"),
        (scores(152, 48), scores(150, 50), "not better than 0 beyond chance"),
        (scores(120, 80), scores(150, 50), "worse than a loss of 0.02 allows"),
    ],
)
def test_a_candidate_that_is_not_better_is_archived(candidate: list[float], champion: list[float], reason: str) -> None:
    decision = decide(evidence((candidate, champion)), SETTINGS)

    assert decision.outcome is GateOutcome.ARCHIVED
    assert decision.reason.startswith(reason)


def test_a_gain_that_is_too_small_to_bother_is_not_enough() -> None:
    assert decide(evidence(), replace(SETTINGS, min_gain=0.12)).outcome is GateOutcome.ARCHIVED


def test_labels_that_are_wrong_are_found_out_by_the_items_that_nobody_labelled() -> None:
    corrupted = evidence(held_out=(scores(40, 160), scores(150, 50)), recent=(scores(190, 10), scores(20, 180)))

    assert decide(corrupted, SETTINGS).reason.startswith("worse than a loss of 0.02 allows")


def test_a_candidate_may_be_better_on_what_comes_in_now_alone() -> None:
    shifted = evidence(held_out=(scores(1495, 505), scores(1500, 500)), recent=(scores(160, 40), scores(60, 140)))

    assert decide(shifted, SETTINGS).outcome is GateOutcome.CHALLENGER


def test_a_set_of_few_items_decides_nothing() -> None:
    decision = decide(evidence(recent=(scores(0, 20), scores(20, 0))), SETTINGS)

    assert decision.outcome is GateOutcome.CHALLENGER
    assert [each.judged for each in decision.comparisons] == [True, False]


def test_without_enough_items_nothing_is_decided() -> None:
    decision = decide(evidence((scores(30, 0), scores(0, 30))), SETTINGS)

    assert (decision.outcome, decision.reason[:45]) == (
        GateOutcome.UNDECIDED,
        "nothing to compare on: no set has 50 items, t",
    )


def test_the_intervals_of_two_sets_are_wider_than_that_of_one() -> None:
    one = decide(evidence(), SETTINGS).comparisons[0].figures
    two = decide(evidence(recent=(scores(60, 0), scores(60, 0))), SETTINGS).comparisons[0].figures

    assert (one.confidence, two.confidence) == pytest.approx((0.95, 0.975))
    assert two.low < one.low


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"latency_ms": {"candidate": 1.6, "champion": 1.0}}, "an item takes 1.60 times as long"),
        ({"size_bytes": {"candidate": 201, "champion": 100}}, "its weights are 2.01 times as large"),
    ],
)
def test_a_guard_that_breaks_refuses_a_better_candidate(changes: dict[str, Any], detail: str) -> None:
    decision = decide(evidence(**changes), SETTINGS)

    assert decision.outcome is GateOutcome.ARCHIVED
    assert decision.reason.startswith(f"guard broken: {detail}")


def test_an_item_that_had_an_answer_must_keep_one() -> None:
    lost = {"held_out": made_of([None, *scores(180, 19)], scores(150, 50))}

    assert "gives no answer to 1 items" in decide(evidence(sets=lost), SETTINGS).reason


def test_a_label_that_becomes_much_worse_refuses_a_better_candidate() -> None:
    groups = ["Bag"] * 100 + ["Coat"] * 100
    sets = {"held_out": made_of(scores(100, 0) + scores(60, 40), scores(20, 80) + scores(90, 10), groups)}

    decision = decide(evidence(sets=sets), SETTINGS)

    assert decision.reason.startswith("guard broken: Coat on held_out: 0.600 against 0.900 on 100 items")


def test_a_label_that_breaks_the_guard_is_not_hidden_by_one_that_loses_more_surely() -> None:
    groups = ["Bag"] * 2000 + ["Coat"] * 60 + ["Shirt"] * 2000
    candidate = scores(1740, 260) + scores(45, 15) + scores(2000, 0)
    champion = scores(1920, 80) + scores(54, 6) + scores(1000, 1000)

    decision = decide(evidence(sets={"held_out": made_of(candidate, champion, groups)}), SETTINGS)

    assert decision.reason.startswith("guard broken: Coat on held_out: 0.750 against 0.900 on 60 items")


def test_a_label_of_few_items_is_not_held_against_a_candidate() -> None:
    groups = ["Bag"] * 185 + ["Coat"] * 15
    sets = {"held_out": made_of(scores(185, 0) + scores(0, 15), scores(120, 65) + scores(15, 0), groups)}

    assert decide(evidence(sets=sets), SETTINGS).outcome is GateOutcome.CHALLENGER


def test_a_regression_is_judged_by_its_errors() -> None:
    sets = {"held_out": made_of([-1.0, -2.0] * 50, [-2.0, -3.0] * 50)}

    decision = decide(evidence(kind="regression", sets=sets), SETTINGS)

    assert decision.comparisons[0].metric == "mean absolute error"
    assert decision.comparisons[0].figures.gain == pytest.approx(0.4)


def test_what_has_no_end_is_stored_as_nothing() -> None:
    decision = decide(evidence(sets={"held_out": made_of([], [])}), SETTINGS)

    assert (decision.comparisons[0].dump()["low"], decision.comparisons[0].dump()["items"]) == (None, 0)
