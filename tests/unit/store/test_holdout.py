"""`store.holdout`: which feedback no training sees."""

import random
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from store.holdout import is_held_out


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_about_the_share_is_held_out(share: float) -> None:
    # Seeded: of ids drawn anew, one run in thousands would be unlucky.
    rng = random.Random(0)
    held = sum(is_held_out(UUID(int=rng.getrandbits(128)), share) for _ in range(4000))

    assert held / 4000 == pytest.approx(share, abs=0.03)


def test_what_is_held_out_stays_so_when_the_share_grows() -> None:
    ids = [uuid7() for _ in range(500)]

    assert all(is_held_out(each, 0.3) for each in ids if is_held_out(each, 0.1))
