"""Bulk feedback: a file of NDJSON or CSV, line by line into corrections.

Each line is checked by hand rather than by a schema, which would take most of the time of the whole import.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from schemas.client_names import NAME_LENGTH
from schemas.feedback import HEAVIEST
from store.errors import StoreError
from store.feedback import DEFAULT_SOURCE, DEFAULT_WEIGHT, Correction
from store.labels import read_cell
from store.models import ServedVersion
from webapp.errors import BadLineError, MalformedBodyError, UnsupportedMediaError, WebError

NDJSON = "application/x-ndjson"
CSV = "text/csv"

COLUMNS = ("prediction", "catalog", "external_id", "label", "source", "weight")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: a correction, or why it is none."""

    number: int
    correction: Correction | None = None
    error: StoreError | WebError | None = None


def read_lines(content_type: str, body: bytes, version: ServedVersion) -> Iterator[Line]:
    """Read a file of feedback; empty lines are skipped.

    Args:
        content_type: Without parameters.
        body: The file.
        version: Of the model that the labels are for; tells how a cell of text is read.

    Raises:
        UnsupportedMediaError: It is in another format.
        MalformedBodyError: It is no text in UTF-8, or its first line does not name the columns.
    """
    if content_type == NDJSON:
        return _read_ndjson(body)
    if content_type == CSV:
        return _read_csv(body, version)
    raise UnsupportedMediaError(f"send feedback as {NDJSON} or {CSV}")


def _read_ndjson(body: bytes) -> Iterator[Line]:
    for number, text in enumerate(body.split(b"\n"), start=1):
        if text.strip():
            yield _line(number, partial(_parse, text))


def _parse(text: bytes) -> Correction:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadLineError(f"is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadLineError("must be a JSON object")
    unknown = sorted(content.keys() - set(COLUMNS))
    if unknown:
        raise BadLineError(f"has an unknown member {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    return _correction(content)


def _read_csv(body: bytes, version: ServedVersion) -> Iterator[Line]:
    try:
        rows = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise MalformedBodyError("the file is no text in UTF-8") from error
    header = next(rows, [])
    _check_header(header)
    return _csv_lines(rows, header, version)


def _csv_lines(rows: Any, header: list[str], version: ServedVersion) -> Iterator[Line]:
    while True:
        # A quoted cell may hold line breaks; the line that is named is the first of its row.
        number = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield Line(number, error=BadLineError(f"cannot be read: {error}"))
            continue
        if cells is None:
            return
        if cells:
            yield _line(number, partial(_from_cells, cells, header, version))


def _from_cells(cells: list[str], header: list[str], version: ServedVersion) -> Correction:
    if len(cells) != len(header):
        raise BadLineError(f"has {len(cells)} cells; the first line names {len(header)} columns")
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    # An empty cell says nothing, but for the label: a picture may hold none.
    given = {name: cell for name, cell in row.items() if cell or name == "label"}
    given["label"] = read_cell(version.kind, version.config, given["label"])
    if "weight" in given:
        given["weight"] = _read_number(given["weight"])
    return _correction(given)


def _check_header(header: list[str]) -> None:
    wanted = "it names prediction, or catalog and external_id, and label"
    unknown = sorted(set(header) - set(COLUMNS))
    if unknown:
        raise MalformedBodyError(f"the first line names an unknown column {unknown[0]!r}; {wanted}")
    if len(set(header)) != len(header):
        raise MalformedBodyError("the first line names a column twice")
    missing = {"label"} - set(header)
    if "prediction" not in header:
        missing |= {"catalog", "external_id"} - set(header)
    if missing:
        raise MalformedBodyError(f"the first line lacks the column {min(missing)!r}; {wanted}")


def _line(number: int, read: Any) -> Line:
    try:
        return Line(number, read())
    except (StoreError, WebError) as error:
        return Line(number, error=error)


def _correction(content: Mapping[str, Any]) -> Correction:
    """Check the members of one line.

    Raises:
        BadLineError: One is missing or wrong; the message names it.
    """
    if content.get("label") is None:
        raise BadLineError("lacks `label`")
    prediction_id = _read_id(content.get("prediction"))
    catalog, external_id = (_read_name(content, name) for name in ("catalog", "external_id"))
    if (prediction_id is None) == (catalog is None) or (catalog is None) != (external_id is None):
        raise BadLineError("must name either `prediction`, or `catalog` and `external_id`")
    return Correction(
        label=content["label"],
        prediction_id=prediction_id,
        catalog=catalog,
        external_id=external_id,
        source=_read_name(content, "source") or DEFAULT_SOURCE,
        weight=_read_weight(content.get("weight", DEFAULT_WEIGHT)),
    )


def _read_id(value: Any) -> UUID | None:
    if value is None:
        return None
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadLineError(f"`prediction` is no id: {str(value)[:60]!r}") from error


def _read_name(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_LENGTH or "\0" in value:
        raise BadLineError(f"`{name}` must be a text of 1 to {NAME_LENGTH} characters")
    return value


def _read_number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise BadLineError(f"`weight` is no number: {cell[:60]!r}") from error


def _read_weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadLineError("`weight` must be a number")
    if not 0 < value <= HEAVIEST:
        raise BadLineError(f"`weight` must be above 0 and at most {HEAVIEST:g}")
    return float(value)
