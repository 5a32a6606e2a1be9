"""Completing the index of a similarity model."""

import time
from pathlib import Path

import click
from rich.progress import Progress
from sqlalchemy import Engine as Database

from stack.commands.options import open_database, var_option
from stack.console import console, one_line_errors
from stack.errors import RequestRefusedError
from store.database import open_session
from store.embeddings import count_missing, count_open_refreshes
from store.models import ServedVersion, resolve
from tasks.reindexing import GROUP, SIMILARITY, refresh_version

POLL_S = 0.5


@click.command()
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
