"""`tests.faults.told`: what the checker says of webhooks."""

import pytest

from tests.faults.told import Told, find_untold

ROW = {"id": "d1", "subject_id": "p1", "event": "prediction.succeeded", "state": "delivered"}


def test_one_delivery_that_arrived_however_often_is_well() -> None:
    assert list(find_untold({"p1"}, [Told("d1", "p1"), Told("d1", "p1")], [ROW])) == []


def test_a_delivery_that_was_given_up_and_kept_is_well() -> None:
    assert list(find_untold({"p1"}, [], [{**ROW, "state": "dead"}])) == []


@pytest.mark.parametrize(
    ("told", "deliveries", "said"),
    [
        ([], [], "p1 has 0 deliveries"),
        ([Told("d1", "p1")], [ROW, {**ROW, "id": "d2"}], "p1 has 2 deliveries"),
        ([], [ROW], "d1 is delivered and never arrived"),
        ([], [{**ROW, "state": "pending"}], "d1 is still pending"),
        ([Told("d1", "p1"), Told("d9", "p1")], [ROW], "d9 told of p1, and is no delivery of that"),
        ([Told("d1", "p1"), Told("d1", "p2")], [ROW], "d1 told of p2, and is no delivery of that"),
    ],
)
def test_what_is_wrong_is_said(told: list[Told], deliveries: list[dict[str, str]], said: str) -> None:
    assert list(find_untold({"p1"}, told, deliveries)) == [said]
