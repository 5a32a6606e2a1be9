import numpy as np
import numpy.typing as npt
import pytest

from ml.components import erase, find_components


def labels_of(*rows: str) -> npt.NDArray[np.uint8]:
    return np.array([[0 if pixel == "." else int(pixel) for pixel in row] for row in rows], dtype=np.uint8)


def by_flooding(labels_hw: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Label and area of each part, found pixel by pixel."""
    left = {(row, column) for row, column in zip(*np.nonzero(labels_hw), strict=True)}
    found = []
    while left:
        open_, area = [left.pop()], 0
        label = int(labels_hw[open_[0]])
        while open_:
            row, column = open_.pop()
            area += 1
            around = {(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)} & left
            touching = {place for place in around if labels_hw[place] == label}
            left -= touching
            open_ += touching
        found.append((label, area))
    return sorted(found)


def test_an_empty_mask_has_no_parts() -> None:
    assert find_components(np.zeros((4, 5), dtype=np.uint8)) == []


def test_a_part_has_its_label_area_and_box() -> None:
    [part] = find_components(labels_of(".....", "..3..", ".333.", "....."))
    assert (part.label, part.area_px, part.box) == (3, 4, (1, 1, 4, 3))


def test_parts_of_one_label_that_do_not_touch_are_told_apart_the_largest_first() -> None:
    parts = find_components(labels_of("1..11", "...11", "....."))
    assert [(part.area_px, part.box) for part in parts] == [(4, (3, 0, 5, 2)), (1, (0, 0, 1, 1))]


def test_touching_parts_of_two_labels_are_two() -> None:
    assert [part.label for part in find_components(labels_of("1122", "1122", "1.22"))] == [2, 1]


def test_corners_touch() -> None:
    assert len(find_components(labels_of("1..", ".1.", "..1"))) == 1


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next() -> None:
    assert len(find_components(labels_of("...1", "1...", "1..."))) == 2


def test_arms_that_meet_below_are_one_part() -> None:
    [part] = find_components(labels_of("1.1.1", "1.1.1", "11111"))
    assert (part.area_px, part.box) == (11, (0, 0, 5, 3))


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_those_that_flooding_finds(seed: int) -> None:
    labels_hw = np.random.default_rng(seed).integers(0, 3, (17, 23)).astype(np.uint8)
    assert sorted((part.label, part.area_px) for part in find_components(labels_hw)) == by_flooding(labels_hw)


def test_an_erased_part_leaves_the_others() -> None:
    labels_hw = labels_of("1.2", "1.2", "..2")
    erase(labels_hw, find_components(labels_hw)[1])
    assert (labels_hw == labels_of("..2", "..2", "..2")).all()
