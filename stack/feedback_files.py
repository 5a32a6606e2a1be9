"""A file of feedback in parts that one request each takes, with where in the file each begins."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from stack.errors import InvalidSourceError

#: Lines of a part: enough that requests cost next to nothing, few enough that the bar moves.
PART_LINES = 5_000

CONTENT_TYPES = {".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson", ".csv": "text/csv"}


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines of a file.

    Attributes:
        body: What is sent; a part of a table begins with the line that names its columns.
        lines: How many lines of the file it covers.
        numbers: For each line of the body, from 1 on, the number that it has in the file.
    """

    body: bytes
    lines: int
    numbers: list[int]


def content_type_of(path: Path) -> str:
    """Tell the format of a file by its ending.

    Raises:
        InvalidSourceError: It is none that is read.
    """
    found = CONTENT_TYPES.get(path.suffix.lower())
    if found is None:
        raise InvalidSourceError(f"{path} must end in {', '.join(CONTENT_TYPES)}")
    return found


def read_parts(path: Path) -> Iterator[Part]:
    """Read a file part by part.

    Raises:
        InvalidSourceError: It is no text in UTF-8, or no table where it should be one.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from _read_table(file) if path.suffix.lower() == ".csv" else _read_lines(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidSourceError(f"{path} cannot be read: {error}") from error


def _read_lines(file: io.TextIOWrapper) -> Iterator[Part]:
    done = 0
    while lines := list(islice(file, PART_LINES)):
        numbers = list(range(done + 1, done + len(lines) + 1))
        yield Part("".join(lines).encode(), len(lines), numbers)
        done += len(lines)


def _read_table(file: io.TextIOWrapper) -> Iterator[Part]:
    rows = csv.reader(file)
    header = _write_row(next(rows, []))
    done = 0
    while group := list(islice(_numbered(rows), PART_LINES)):
        texts = [_write_row(row) for _, row in group]
        # A quoted cell may hold line breaks, in the file and in what is sent.
        numbers = [number for (number, _), text in zip(group, texts, strict=True) for _ in range(text.count("\n"))]
        yield Part((header + "".join(texts)).encode(), rows.line_num - done, [1] * header.count("\n") + numbers)
        done = rows.line_num


def _numbered(rows: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line."""
    while True:
        number = rows.line_num + 1
        row = next(rows, None)
        if row is None:
            return
        yield number, row


def _write_row(row: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
