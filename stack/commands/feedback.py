"""Feedback from a file."""

from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from stack.client import ApiClient
from stack.commands.options import json_option, var_option
from stack.console import console, one_line_errors, print_json, print_table
from stack.feedback_files import Part, content_type_of, read_parts

COUNTS = ("rows", "created", "revised", "repeated", "refused")

#: Refused lines that are shown.
ERRORS_SHOWN = 100


@click.command()
@var_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="Whose predictions they are about.")
@json_option
@one_line_errors
def feedback(var_dir: Path, file: Path, model: str, as_json: bool) -> None:
    """Send the right answers of FILE: NDJSON (.ndjson, .jsonl) or a table (.csv).

    A line names a prediction, or catalog and external_id for the latest answer about an item, and the label; source
    and weight may follow. Good lines are stored whatever the others say, and sending a file again changes nothing.
    """
    content_type = content_type_of(file)
    counts: Counter[str] = Counter()
    errors: list[dict[str, Any]] = []
    with ApiClient(var_dir) as client, _progress(as_json) as bar:
        task = bar.add_task("sending", total=_count_lines(file))
        for part in read_parts(file):
            answer = client.send_feedback(model, part.body, content_type)
            counts.update({name: answer[name] for name in COUNTS})
            errors += [_in_file(error, part) for error in answer["errors"]]
            bar.advance(task, part.lines)
    report = {**{name: counts[name] for name in COUNTS}, "errors": errors[:ERRORS_SHOWN]}
    if as_json:
        print_json(report)
    else:
        _print(report)
    if counts["refused"]:
        raise click.exceptions.Exit(1)


def _progress(as_json: bool) -> Progress:
    # Without a terminal it would still end with an empty line.
    return Progress(console=console, transient=True, disable=as_json or not console.is_terminal)


def _in_file(error: dict[str, Any], part: Part) -> dict[str, Any]:
    """Name a refused line by its number in the whole file."""
    return {**error, "line": part.numbers[error["line"] - 1]}


def _count_lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _print(report: dict[str, Any]) -> None:
    console.print(
        f"{report['rows']} lines: {report['created']} new, {report['revised']} revised, "
        f"{report['repeated']} known already, {report['refused']} refused"
    )
    if report["errors"]:
        print_table(["line", "problem"], [(error["line"], error["detail"]) for error in report["errors"]])
