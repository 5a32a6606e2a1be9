"""`torchqueue dead`: what ended because its workers failed, and asking it again."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
from sqlalchemy import Engine as Database

from schemas.dead_letters import DEFAULT_REDRIVES, REDRIVE_LIMIT
from stack.commands.options import json_option, open_database, var_option
from stack.console import console, one_line_errors, print_json, print_table, say
from store.database import open_session
from store.dead_letters import DeadLetter, list_dead_letters, redrive, redrive_all
from store.errors import PredictionStateError
from store.predictions import get_prediction

LIST_LIMIT = 50

model_option = click.option("--model", help="Only those of this model.")


@click.group()
def dead() -> None:
    """See what ended because its workers failed, and ask it again."""


@dead.command("list")
@var_option
@model_option
@click.option("--limit", type=click.IntRange(1, 500), default=LIST_LIMIT, show_default=True, help="At most so many.")
@click.option("--before", type=click.UUID, help="Only older ones than this id.")
@json_option
@one_line_errors
def list_(var_dir: Path, model: str | None, limit: int, before: UUID | None, as_json: bool) -> None:
    """List dead letters, newest first."""
    with open_database(var_dir).connect() as connection:
        found = list_dead_letters(connection, api_key_id=None, model=model, before=before, limit=limit)
    if as_json:
        print_json([asdict(letter) for letter in found])
        return
    # No wider than a terminal, so that ids can be copied whole; --json tells the rest.
    print_table(
        ["id", "model", "reason", "redriven"],
        [(letter.id, _model(letter), letter.reason, "yes" if letter.redriven_as else None) for letter in found],
    )


@dead.command("redrive")
@var_option
@click.argument("ids", type=click.UUID, nargs=-1)
@model_option
@click.option("--since", type=click.DateTime(), help="Only those accepted at this time (UTC) or later.")
@click.option("--until", type=click.DateTime(), help="Only those accepted before this time (UTC).")
@click.option(
    "--limit",
    type=click.IntRange(1, REDRIVE_LIMIT),
    default=DEFAULT_REDRIVES,
    show_default=True,
    help="At most so many, the oldest first.",
)
@json_option
@one_line_errors
def redrive_(
    var_dir: Path,
    ids: tuple[UUID, ...],
    model: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Ask dead letters again: those named by IDS, or else the oldest that the options select.

    Each becomes a new prediction of the same input under the key that asked first. Doing it twice makes no second one.
    """
    if ids and (model or since or until):
        raise click.UsageError("name IDS, or select with --model, --since and --until, but not both")
    database = open_database(var_dir)
    if ids:
        made = {each: _redrive_one(database, each) for each in ids}
    else:
        with open_session(database) as session:
            made = redrive_all(
                session.connection(), api_key_id=None, model=model, since=_utc(since), until=_utc(until), limit=limit
            )
    if as_json:
        print_json([{"id": str(old), "redriven_as": str(new)} for old, new in made.items()])
        return
    for old, new in made.items():
        console.print(f"{old} is asked again as {new}")
    say(f"{len(made)} asked again; the workers find them within a second")


def _model(letter: DeadLetter) -> str:
    return f"{letter.model}/{letter.version}" if letter.kind == "prediction" else f"{letter.model} (training)"


def _redrive_one(database: Database, prediction_id: UUID) -> UUID:
    with open_session(database) as session:
        row = get_prediction(session, prediction_id, api_key_id=None)
        again = redrive(session.connection(), prediction_id, api_key_id=None)
    if again is None:
        raise PredictionStateError(
            f"prediction {prediction_id} is {row.status}: `torchqueue dead list` has dead letters"
        )
    return again


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
