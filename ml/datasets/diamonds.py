"""The diamonds of ggplot2: 53,940 round cut diamonds with their attributes and prices in US dollars.

Source: ``diamonds`` of ggplot2 (https://ggplot2.tidyverse.org/reference/diamonds.html), MIT licence, copyright
ggplot2 core developer team, as the Python package plotnine 0.15.9 carries it (MIT licence); only the quotation marks
were taken out and the file compressed. It lies beside this file, see ``data/README.md``.

Attributes are refused by the same rule as in a request: rows whose values are outside of ``FIELDS`` are left out. That
are the 20 with a side of 0 mm, which means that it was not measured, and the 3 with sides of 31.8 and 58.9 mm, longer
than any diamond of their weight could be.
"""

import bz2
import csv
import io
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ml.errors import DatasetError
from schemas.records import InvalidRecordError, encode_record, read_fields

DEFAULT_DIRECTORY = Path(__file__).parent / "data"
FILE_NAME = "diamonds.csv.bz2"
SHA256 = "5d97bc18c5e91dc6b4af27ee4da4333f257f92b254f20150701068ace44dccbd"

FIELDS: tuple[dict[str, Any], ...] = (
    {"name": "carat", "type": "number", "min": 0.1, "max": 6, "unit": "ct"},
    {"name": "cut", "type": "choice", "choices": ["Fair", "Good", "Very Good", "Premium", "Ideal"]},
    {"name": "color", "type": "choice", "choices": ["D", "E", "F", "G", "H", "I", "J"]},
    {
        "name": "clarity",
        "type": "choice",
        "choices": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
    },
    {"name": "depth", "type": "number", "min": 40, "max": 80, "unit": "%"},
    {"name": "table", "type": "number", "min": 40, "max": 100, "unit": "%"},
    {"name": "x", "type": "number", "min": 2, "max": 12, "unit": "mm"},
    {"name": "y", "type": "number", "min": 2, "max": 12, "unit": "mm"},
    {"name": "z", "type": "number", "min": 1, "max": 9, "unit": "mm"},
)
"""As ``input.fields`` of a model declares them: carat is the weight, x, y and z the sides, depth is z over the mean of
x and y, table the width of the top over the widest point."""

TARGET = "price"

Split = Literal["train", "calibration", "test"]

SHARES: dict[Split, float] = {"train": 0.70, "calibration": 0.15, "test": 0.15}
"""Of the distinct diamonds; the calibration widens the interval, so neither training nor test may use it."""

SPLIT_SEED = 0


@dataclass(frozen=True, slots=True)
class PricedDiamonds:
    """Diamonds with their prices.

    Args:
        records: As a request would send them.
        items: ``[N, 9]`` float32, the same as a network sees them, see ``schemas.records.encode_record``.
        prices: ``[N]`` float32, US dollars.
    """

    records: list[dict[str, Any]]
    items: Tensor
    prices: Tensor

    def __len__(self) -> int:
        return len(self.prices)

    def part(self, start: int, stop: int | None = None) -> "PricedDiamonds":
        """The diamonds from ``start`` up to, not including, ``stop``."""
        return PricedDiamonds(self.records[start:stop], self.items[start:stop], self.prices[start:stop])


def load_splits(directory: Path = DEFAULT_DIRECTORY) -> dict[Split, PricedDiamonds]:
    """Read the three parts, always the same and in the same random order.

    Diamonds with equal attributes are in one part: 345 rows are the same stone listed again, and a model that saw its
    price in training would be tested on what it remembers.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    usable = _keep_usable(_read_rows(directory / FILE_NAME))
    return {
        split: PricedDiamonds([usable.records[row] for row in rows.tolist()], usable.items[rows], usable.prices[rows])
        for split, rows in _draw(usable.items).items()
    }


def _draw(items: Tensor) -> dict[Split, Tensor]:
    """Indices of the rows of each part, in random order, with equal rows in one part."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    distinct, group_of_row = torch.unique(items, dim=0, return_inverse=True)
    place_of_group = torch.randperm(len(distinct), generator=generator)
    counts = torch.tensor([round(share * len(distinct)) for share in SHARES.values()])
    # The part whose end is the first beyond the group's place.
    part_of_group = torch.bucketize(place_of_group, counts.cumsum(0)[:-1], right=True)
    order = torch.randperm(len(items), generator=generator)
    return {split: order[part_of_group[group_of_row[order]] == number] for number, split in enumerate(SHARES)}


def _keep_usable(rows: list[dict[str, Any]]) -> PricedDiamonds:
    fields = read_fields(FIELDS)
    records, items, prices = [], [], []
    for row in rows:
        price = row.pop(TARGET)
        try:
            items.append(encode_record(fields, row))
        except InvalidRecordError:
            continue
        records.append(row)
        prices.append(price)
    return PricedDiamonds(records, torch.tensor(items), torch.tensor(prices))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows, numbers as numbers."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
    if sha256(data).hexdigest() != SHA256:
        raise DatasetError(f"{path} was changed: it is not the file of this repository. Restore it.")
    words = {field["name"] for field in FIELDS if field["type"] == "choice"}
    table = csv.DictReader(io.StringIO(bz2.decompress(data).decode()))
    return [{name: cell if name in words else float(cell) for name, cell in row.items()} for row in table]
