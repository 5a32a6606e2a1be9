"""Models: list, promote, reindex."""

import time
from pathlib import Path

import click
from rich.progress import Progress
from sqlalchemy import Engine as Database

from stack.commands.options import json_option, open_database, var_option
from stack.console import console, one_line_errors, print_json, print_table
from stack.errors import RequestRefusedError
from store.database import open_session
from store.embeddings import count_missing, count_open_refreshes
from store.models import ServedVersion, list_models, list_versions, promote, resolve
from tasks.reindexing import GROUP, SIMILARITY, refresh_version

POLL_S = 0.5


@click.group()
def models() -> None:
    """Manage models and their versions."""


@models.command("list")
@var_option
@json_option
@one_line_errors
def list_(var_dir: Path, as_json: bool) -> None:
    """List models and versions; a star marks the version that answers."""
    with open_session(open_database(var_dir)) as session:
        rows = [
            (model.name, model.kind, version.number, version.id == model.champion_id, version.source, version.metrics)
            for model in list_models(session)
            for version in list_versions(session, model.name)
        ]
    if as_json:
        columns = ["model", "kind", "version", "champion", "source", "metrics"]
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(
        ["model", "kind", "version", "source", "accuracy"],
        [
            (name, kind, f"{number}{' *' if champion else ''}", source, metrics.get("test_accuracy"))
            for name, kind, number, champion, source, metrics in rows
        ],
    )


@models.command("promote")
@var_option
@click.argument("model")
@click.argument("version", type=int)
@one_line_errors
def promote_(var_dir: Path, model: str, version: int) -> None:
    """Let a version answer when a request names none."""
    with open_session(open_database(var_dir)) as session:
        promote(session, name=model, number=version)
    console.print(f"{model} version {version} answers now")


@models.command()
@var_option
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--no-wait", is_flag=True, help="Return when all are asked for; the workers go on.")
@one_line_errors
def reindex(var_dir: Path, model: str, version: int | None, no_wait: bool) -> None:
    """Let a version of a similarity model see the stored photo of every item that its index lacks.

    Before `models promote`, so that searches are complete from the first moment; after it the same happens in the
    background. Without VERSION the champion's index is completed, and photos that it failed on are tried again.
    """
    database = open_database(var_dir)
    with open_session(database) as session:
        chosen = resolve(session, model, version)
    if chosen.kind != SIMILARITY:
        raise RequestRefusedError(f"model {model!r} keeps no items: its kind is {chosen.kind}")
    missing = _count_missing(database, chosen)
    asked = 0
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("asking", total=missing)
        while group := refresh_version(database, chosen, limit=GROUP):
            asked += group
            bar.update(task, completed=asked)
    # Bounded by what was missing at first: a photo that fails at once would be asked for again and again.
    asked += refresh_version(database, chosen, limit=missing - asked, retry_failed=True)
    if not no_wait:
        _wait_until_indexed(database, chosen, missing)
    left = _count_missing(database, chosen)
    console.print(f"{model} version {chosen.number}: asked for {asked}, {missing - left} indexed, {left} left")


def _wait_until_indexed(database: Database, version: ServedVersion, missing: int) -> None:
    """Show how it goes, until nothing is on its way any more."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("indexing", total=missing)
        while open_requests := _count_open(database, version):
            bar.update(task, completed=missing - open_requests)
            time.sleep(POLL_S)


def _count_open(database: Database, version: ServedVersion) -> int:
    with database.connect() as connection:
        return count_open_refreshes(connection, model_version_id=version.model_version_id)


def _count_missing(database: Database, version: ServedVersion) -> int:
    with database.connect() as connection:
        return count_missing(connection, model_id=version.model_id, model_version_id=version.model_version_id)
