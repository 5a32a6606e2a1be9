"""`webapp.traffic`: which version answers, as a pure function."""

from collections import Counter
from typing import Any

import pytest

from schemas.enums import Scope, StickyKey
from store.keys import Principal
from store.models import ServedVersion
from store.traffic import Arm, Split
from webapp.traffic import choose, key_point, request_point

CALLER = Principal(7, "public", frozenset({Scope.PREDICT}), "shop")
NO_QUERY: dict[str, Any] = {"catalog": None, "external_id": None}
NO_HEADERS: dict[str, Any] = {"sticky_key": None, "idempotency_key": None}
ITEM = {"catalog": "shop", "external_id": "42"}
KEYS = 20_000


def split(sticky: StickyKey = StickyKey.NONE, model: str = "m", **shares: float) -> Split:
    """A split of versions `v1`, `v2`, …"""
    total = sum(shares.values())
    arms = tuple(Arm(version(int(name[1:])), share / total) for name, share in shares.items())
    return Split(model=model, sticky=sticky, arms=arms, shadows=())


def version(number: int) -> ServedVersion:
    return ServedVersion(
        model_id=1,
        model_version_id=number,
        model="m",
        number=number,
        kind="classification",
        config={},
        weights_sha256="",
    )


def assigned(found: Split) -> list[int]:
    """The versions of many keys, in the order of the keys."""
    return [choose(found, key_point("m", key)).version.number for key in range(KEYS)]


def test_each_version_gets_its_share() -> None:
    counts = Counter(assigned(split(v3=80, v4=15, v9=5)))

    # Four standard deviations.
    assert counts[3] / KEYS == pytest.approx(0.80, abs=0.0114)
    assert counts[4] / KEYS == pytest.approx(0.15, abs=0.0101)
    assert counts[9] / KEYS == pytest.approx(0.05, abs=0.0062)


def test_a_version_alone_gets_everything() -> None:
    assert {*assigned(split(v3=1))} == {3}


def test_keys_move_only_to_the_version_whose_share_rises() -> None:
    before, after = assigned(split(v1=50, v2=30, v3=20)), assigned(split(v1=37.5, v2=22.5, v3=40))
    moved = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]

    assert {to for _, to in moved} == {3}
    assert len(moved) / KEYS == pytest.approx(0.2, abs=0.0114)


def test_a_version_that_leaves_moves_no_other_keys() -> None:
    before, after = assigned(split(v1=50, v2=30, v3=20)), assigned(split(v1=50, v2=30))

    assert all(one == other for one, other in zip(before, after, strict=True) if one != 3)


def test_the_choice_for_a_key_is_the_same_everywhere() -> None:
    # Written down: another process, or another release, must choose the same.
    assert key_point("m", "item", "shop", "42") == 861298214462989932
    assert [choose(split(v1=50, v2=50), key_point("m", key)).version.number for key in range(8)] == [
        2,
        2,
        2,
        2,
        1,
        2,
        2,
        2,
    ]


@pytest.mark.parametrize(
    ("sticky", "query", "headers"),
    [
        (StickyKey.ITEM, ITEM, NO_HEADERS),
        (StickyKey.API_KEY, NO_QUERY, NO_HEADERS),
        (StickyKey.HEADER, NO_QUERY, {"sticky_key": "user-1", "idempotency_key": None}),
        (StickyKey.NONE, NO_QUERY, {"sticky_key": None, "idempotency_key": "order-7"}),
        (StickyKey.ITEM, NO_QUERY, {"sticky_key": None, "idempotency_key": "order-7"}),
    ],
)
def test_a_request_with_the_key_has_one_point(
    sticky: StickyKey, query: dict[str, Any], headers: dict[str, Any]
) -> None:
    points = {request_point(split(sticky, v1=1, v2=1), CALLER, query, headers) for _ in range(5)}

    assert len(points) == 1


@pytest.mark.parametrize("sticky", [StickyKey.NONE, StickyKey.ITEM, StickyKey.HEADER])
def test_a_request_without_the_key_is_drawn_for(sticky: StickyKey) -> None:
    points = {request_point(split(sticky, v1=1, v2=1), CALLER, NO_QUERY, NO_HEADERS) for _ in range(5)}

    assert len(points) == 5


def test_what_is_not_the_key_does_not_stick() -> None:
    found = split(StickyKey.NONE, v1=1, v2=1)

    assert request_point(found, CALLER, ITEM, NO_HEADERS) != request_point(found, CALLER, ITEM, NO_HEADERS)


def test_one_key_has_different_luck_in_different_models() -> None:
    points = {
        request_point(split(StickyKey.ITEM, model, v1=1), CALLER, ITEM, NO_HEADERS) for model in ("fashion", "xor")
    }

    assert len(points) == 2
