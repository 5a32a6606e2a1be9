from pathlib import Path
from typing import Literal

import pytest
import torch

from ml.datasets.photographs import DIRECTORY, TEST, TRAIN, load_photographs
from ml.errors import DatasetError


@pytest.mark.parametrize("split", ["train", "test"])
def test_photographs_are_rgb_bytes(split: Literal["train", "test"]) -> None:
    for photograph in load_photographs(split):
        assert (photograph.shape[0], photograph.dtype) == (3, torch.uint8)
        assert min(photograph.shape[1:]) >= 300


def test_no_photograph_is_in_both_parts_and_every_file_is_in_one() -> None:
    assert not set(TRAIN) & set(TEST)
    assert {path.stem for path in DIRECTORY.glob("*.jpg")} == {*TRAIN, *TEST}


def test_every_photograph_has_its_licence() -> None:
    readme = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.jpg`" in readme for name in (*TRAIN, *TEST))


def test_a_missing_photograph_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"brick\.jpg cannot be read"):
        load_photographs("train", tmp_path)


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    for name in TEST:
        (tmp_path / f"{name}.jpg").write_bytes(b"no photograph")
    with pytest.raises(DatasetError, match=rf"{TEST[0]}\.jpg cannot be read"):
        load_photographs("test", tmp_path)
