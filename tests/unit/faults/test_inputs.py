"""`tests.faults.inputs`: poison harms as it says, and lets itself be told from what is good."""

import pytest

from ml.errors import InvalidInputError
from ml.images import MAX_PIXELS, decode_picture
from schemas.pictures import check_picture
from tests.faults.history import History
from tests.faults.inputs import BATCH, POISONS, large_photo, most_forwards, poisoned


@pytest.mark.parametrize("kind", ["unreadable", "kills-decoder", "never-ends"])
def test_a_poisoned_photo_passes_the_door(kind: str) -> None:
    photo = poisoned(History(), kind).photo

    assert photo is not None
    assert check_picture(photo, MAX_PIXELS).media_type == "image/png"


def test_an_unreadable_photo_cannot_be_decoded() -> None:
    photo = poisoned(History(), "unreadable").photo

    assert photo is not None
    with pytest.raises(InvalidInputError):
        decode_picture(photo)


def test_a_large_photo_is_a_good_one() -> None:
    photo = large_photo(History()).photo

    assert photo is not None
    assert decode_picture(photo).width == 1200


@pytest.mark.parametrize("kind", POISONS)
def test_poison_must_fail_for_a_reason(kind: str) -> None:
    assert poisoned(History(), kind).declared


def test_one_bad_input_of_a_batch_may_cost_ten_forwards_more() -> None:
    assert (BATCH, most_forwards(1)) == (32, 11)
