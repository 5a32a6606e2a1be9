"""Items: add many to a similarity index, remove one from it, or forget one altogether."""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import track

from stack.client import CONTENT_TYPES, ApiClient
from stack.commands.options import json_option, var_option
from stack.console import console, one_line_errors, print_json, print_table
from stack.errors import InvalidSourceError, RequestRefusedError

#: Requests in flight at once: enough for whole batches, few enough that other callers find a thread.
CONNECTIONS = 32

CSV_COLUMNS = ("external_id", "file")


@dataclass(frozen=True, slots=True)
class Photo:
    """A file, and the id of the item that it shows."""

    external_id: str
    path: Path


@click.group()
def items() -> None:
    """Manage the items of your catalogs and of similarity indexes."""


@items.command()
@var_option
@click.argument("model")
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--catalog", default="default", show_default=True, help="Catalog of the items.")
@json_option
@one_line_errors
def add(var_dir: Path, model: str, sources: tuple[Path, ...], catalog: str, as_json: bool) -> None:
    """Put photos into the index of MODEL: pictures, folders of them, or CSV files.

    An item's id is its file's name without the ending. A CSV file has the columns `external_id` and `file`; a relative
    file is looked for beside it. Items that are there already get the new photo. Runs at bulk priority.
    """
    photos = list(_read_sources(sources))
    with ApiClient(var_dir) as client, ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = pool.map(lambda photo: _put(client, model, catalog, photo), photos)
        shown = track(
            answers, description="adding", total=len(photos), console=console, transient=True, disable=as_json
        )
        problems = [(photo, problem) for photo, problem in zip(photos, shown, strict=True) if problem is not None]
    if as_json:
        failed = [
            {"external_id": photo.external_id, "file": str(photo.path), "problem": why} for photo, why in problems
        ]
        print_json({"added": len(photos) - len(problems), "failed": failed})
    else:
        console.print(f"{len(photos) - len(problems)} of {len(photos)} items are in the index of {model}")
        if problems:
            print_table(["file", "problem"], [(photo.path, why) for photo, why in problems])
    if problems:
        raise click.exceptions.Exit(1)


@items.command()
@var_option
@click.argument("model")
@click.argument("catalog")
@click.argument("external_id")
@one_line_errors
def remove(var_dir: Path, model: str, catalog: str, external_id: str) -> None:
    """Remove an item from the index of MODEL."""
    with ApiClient(var_dir) as client:
        client.remove_item(model, catalog, external_id)
    console.print(f"{catalog}/{external_id} is found no more")


@items.command()
@var_option
@click.argument("catalog")
@click.argument("external_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@one_line_errors
def forget(var_dir: Path, catalog: str, external_id: str, yes: bool, as_json: bool) -> None:
    """Remove all that is stored of an item, under every key, and name the versions that have learned from it.

    Its predictions with their inputs and feedback, and its places in indexes. Trainings under way that learn from it
    are cancelled. There is no way back.
    """
    if not yes:
        click.confirm(f"Forget all that is stored of {catalog}/{external_id}?", abort=True)
    with ApiClient(var_dir) as client:
        gone = client.forget_item(catalog, external_id)
    if as_json:
        print_json(gone)
        return
    files = gone["objects"]
    console.print(
        f"{catalog}/{external_id} is forgotten: {gone['predictions']} predictions, {gone['feedback']} with feedback, "
        f"{gone['index_entries']} index entries; files: {files['removed']} removed, {files['kept']} in other use, "
        f"{files['pending']} to be removed within minutes"
    )
    if gone["versions"]:
        print_table(["learned from it", "version"], [(each["model"], each["version"]) for each in gone["versions"]])
    if gone["trainings"]:
        print_table(["was learning from it", "canceled training"], [(t["model"], t["id"]) for t in gone["trainings"]])


def _put(client: ApiClient, model: str, catalog: str, photo: Photo) -> str | None:
    """Put one photo and wait for it; returns what was wrong, if anything."""
    try:
        prediction: dict[str, Any] = client.put_item(model, catalog, photo.external_id, photo.path)
    except (RequestRefusedError, OSError) as error:
        return str(error)
    if prediction["status"] == "succeeded":
        return None
    # Still queued after a minute: it is stored and will be there later.
    return None if prediction["error"] is None else str(prediction["error"]["detail"])


def _read_sources(sources: Sequence[Path]) -> Iterator[Photo]:
    for source in sources:
        if source.is_dir():
            found = sorted(path for path in source.iterdir() if path.suffix.lower() in CONTENT_TYPES)
            if not found:
                raise InvalidSourceError(f"{source} holds no picture: {', '.join(CONTENT_TYPES)}")
            yield from (Photo(path.stem, path) for path in found)
        elif source.suffix.lower() == ".csv":
            yield from _read_csv(source)
        else:
            yield Photo(source.stem, source)


def _read_csv(source: Path) -> Iterator[Photo]:
    with source.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        missing = sorted(set(CSV_COLUMNS) - set(rows.fieldnames or ()))
        if missing:
            raise InvalidSourceError(f"{source} lacks the column {missing[0]!r}; it takes {' and '.join(CSV_COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            if not row["external_id"] or not row["file"]:
                raise InvalidSourceError(f"{source}, line {number}: external_id and file must not be empty")
            yield Photo(row["external_id"], source.parent / row["file"])
