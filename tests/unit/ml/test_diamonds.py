import bz2
from pathlib import Path

import pytest
import torch

from ml.datasets import diamonds
from ml.datasets.diamonds import DEFAULT_DIRECTORY, FILE_NAME, PricedDiamonds, Split, load_splits
from ml.errors import DatasetError

USABLE = 53_940 - 20 - 3


@pytest.fixture(scope="module")
def parts() -> dict[Split, PricedDiamonds]:
    return load_splits()


def _distinct(part: PricedDiamonds) -> set[tuple[float, ...]]:
    return set(map(tuple, part.items.tolist()))


def test_all_diamonds_but_the_impossible_are_in_one_part(parts: dict[Split, PricedDiamonds]) -> None:
    assert sum(len(part) for part in parts.values()) == USABLE


@pytest.mark.parametrize(("split", "share"), [("train", 0.7), ("calibration", 0.15), ("test", 0.15)])
def test_the_parts_have_their_shares(parts: dict[Split, PricedDiamonds], split: Split, share: float) -> None:
    assert len(parts[split]) / USABLE == pytest.approx(share, abs=0.005)


def test_equal_diamonds_are_in_one_part(parts: dict[Split, PricedDiamonds]) -> None:
    train, calibration, test = map(_distinct, parts.values())
    assert not train & calibration
    assert not train & test
    assert not calibration & test
    # There are some to be kept together.
    assert len(train) < len(parts["train"])


def test_a_diamond_is_a_record_and_the_same_as_numbers(parts: dict[Split, PricedDiamonds]) -> None:
    part = parts["test"]
    assert (part.items.shape, part.items.dtype) == ((len(part), 9), torch.float32)
    assert (part.prices.dtype, len(part.records)) == (torch.float32, len(part))
    record, item = part.records[0], part.items[0].tolist()
    assert (record["carat"], record["z"]) == (pytest.approx(item[0]), pytest.approx(item[8]))
    assert diamonds.FIELDS[1]["choices"][int(item[1])] == record["cut"]


def test_prices_are_in_no_record_and_in_their_range(parts: dict[Split, PricedDiamonds]) -> None:
    assert "price" not in parts["test"].records[0]
    assert 326 <= float(parts["test"].prices.min()) < float(parts["test"].prices.max()) <= 18_823


def test_parts_are_mixed(parts: dict[Split, PricedDiamonds]) -> None:
    # The file is in the order of the prices, so the first of an unmixed part would all cost about the same.
    assert float(parts["train"].prices[:100].std()) > 2_000


def test_a_part_is_cut_from_all_three(parts: dict[Split, PricedDiamonds]) -> None:
    some = parts["test"].part(5, 8)
    assert (len(some), len(some.records), len(some.items)) == (3, 3, 3)
    assert some.records[0] == parts["test"].records[5]


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"diamonds\.csv\.bz2 cannot be read"):
        load_splits(tmp_path)


def test_changed_data_is_refused(tmp_path: Path) -> None:
    rows = bz2.decompress((DEFAULT_DIRECTORY / FILE_NAME).read_bytes()).replace(b"326", b"327", 1)
    (tmp_path / FILE_NAME).write_bytes(bz2.compress(rows))
    with pytest.raises(DatasetError, match="was changed"):
        load_splits(tmp_path)
