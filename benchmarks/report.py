"""Figures and the one table that is made of them. Each section keeps its figures as JSON, so that it can run alone."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

RESULTS = Path("var/bench")


class Unit(StrEnum):
    """What a number counts, as the table shows it."""

    PER_SECOND = "/s"
    MS = "ms"
    S = "s"
    PERCENT = "%"
    RATIO = "×"  # noqa: RUF001 - the sign for times
    MIB = "MiB"
    COUNT = ""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What is wanted of a figure."""

    sense: Literal["at least", "at most"]
    value: float

    def holds(self, value: float) -> bool:
        """Whether a value is within it."""
        return value >= self.value if self.sense == "at least" else value <= self.value


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table.

    Attributes:
        name: What was measured.
        value: None where it could not be measured; the note says why.
        unit: What the value counts.
        wanted: None for a row that only informs.
        note: What a reader needs beside it.
    """

    name: str
    value: float | None
    unit: Unit
    wanted: Bound | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is within its bound; None where nothing was wanted."""
        if self.wanted is None:
            return None
        return self.value is not None and self.wanted.holds(self.value)


def at_least(value: float) -> Bound:
    """Want this or more."""
    return Bound(sense="at least", value=value)


def at_most(value: float) -> Bound:
    """Want this or less."""
    return Bound(sense="at most", value=value)


def write_section(section: str, figures: Sequence[Figure], *, results: Path = RESULTS) -> None:
    """Keep the figures of a section, in place of its earlier ones, and print them."""
    results.mkdir(parents=True, exist_ok=True)
    document = {"measured_at": datetime.now(UTC).isoformat(), "figures": [asdict(figure) for figure in figures]}
    (results / f"{section}.json").write_text(json.dumps(document, indent=2) + "\n")
    print_table(figures)


def read_section(section: str, *, results: Path = RESULTS) -> list[Figure]:
    """Read what a section measured last; nothing where it never ran."""
    path = results / f"{section}.json"
    if not path.exists():
        return []
    return [_figure(fields) for fields in json.loads(path.read_text())["figures"]]


def print_table(figures: Iterable[Figure], console: Console | None = None) -> None:
    """Print the figures, each with what was wanted and whether it was met."""
    table = Table("figure", "measured", "wanted", "met", "note", box=None, pad_edge=False, header_style="bold")
    for figure in figures:
        met = {None: "", True: "yes", False: "[bold red]no[/]"}[figure.met]
        wanted = "" if figure.wanted is None else f"{_sign(figure.wanted)} {_show(figure.wanted.value, figure.unit)}"
        measured = "not measured" if figure.value is None else _show(figure.value, figure.unit)
        table.add_row(figure.name, measured, wanted, met, figure.note)
    (console or Console()).print(table)


def to_json(sections: dict[str, list[Figure]]) -> str:
    """Print for programs, by section."""
    found = {
        section: [asdict(figure) | {"met": figure.met} for figure in figures] for section, figures in sections.items()
    }
    return json.dumps(found, indent=2)


def _figure(fields: dict[str, Any]) -> Figure:
    wanted = fields["wanted"]
    return Figure(**fields | {"unit": Unit(fields["unit"]), "wanted": None if wanted is None else Bound(**wanted)})


def _sign(bound: Bound) -> str:
    return "≥" if bound.sense == "at least" else "≤"


def _show(value: float, unit: Unit) -> str:
    digits = 0 if value >= 100 or unit is Unit.COUNT else 2 if value < 10 else 1
    return f"{value:,.{digits}f} {unit}".strip()
