"""Which version of a model answers: see them, promote one, go back, and read who decided what."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine as Database
from sqlalchemy.orm import Session

from schemas.enums import Alias
from stack.commands.options import json_option, open_database, var_option
from stack.console import console, one_line_errors, print_json, print_table
from store.database import open_session
from store.decisions import COMMAND_ACTOR, list_decisions
from store.errors import VersionStateError
from store.headlines import HELD_OUT, find_headline
from store.models import get_model, get_version, list_versions
from store.promotion import promote, rollback, set_challenger
from store.tables.decision import Decision
from store.tables.model_version import ModelVersion

LOOK_EVERY_S = 0.1

reason_option = click.option(
    "--reason", default="no reason was given", show_default=True, help="Why; kept in the log of decisions."
)
wait_option = click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds, for workers to load."
)


@click.command("versions")
@var_option
@click.argument("model")
@json_option
@one_line_errors
def versions_(var_dir: Path, model: str, as_json: bool) -> None:
    """List the versions of a model, the newest first."""
    with open_session(open_database(var_dir)) as session:
        rows = [_describe(version) for version in list_versions(session, model)]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["version", "state", "source", "parent", "metric", "why not"],
        [
            (
                row["version"],
                row["state"],
                row["source"],
                "" if row["parent"] is None else row["parent"],
                _headline(row),
                row["failure"] or row["archive_reason"] or "",
            )
            for row in rows
        ],
    )


@click.command("promote")
@var_option
@click.argument("model")
@click.argument("version", type=int)
@click.option("--alias", type=click.Choice([str(each) for each in Alias]), default=Alias.CHAMPION.value)
@reason_option
@wait_option
@json_option
@one_line_errors
def promote_(var_dir: Path, model: str, version: int, alias: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Let a version answer when a request names none, or let it challenge the one that does.

    Workers load it beside the one that answers, which goes on until they hold it.
    """
    database = open_database(var_dir)
    decided: dict[str, Any] = {"actor": COMMAND_ACTOR, "reason": reason}
    if alias == Alias.CHAMPION:
        _change(
            database, model, wait_s, lambda session: promote(session, name=model, number=version, **decided), as_json
        )
        return
    with open_session(database) as session:
        set_challenger(session, name=model, number=version, **decided)
    _tell(model, {"challenger": version}, f"{model} version {version} is the challenger now", as_json=as_json)


@click.command("rollback")
@var_option
@click.argument("model")
@reason_option
@wait_option
@json_option
@one_line_errors
def rollback_(var_dir: Path, model: str, reason: str, wait_s: float, as_json: bool) -> None:
    """Go back to the champion before this one; while a promotion is under way, call that off."""
    decided: dict[str, Any] = {"actor": COMMAND_ACTOR, "reason": reason}
    _change(open_database(var_dir), model, wait_s, lambda session: rollback(session, name=model, **decided), as_json)


@click.command("decisions")
@var_option
@click.argument("model")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@json_option
@one_line_errors
def decisions_(var_dir: Path, model: str, limit: int, as_json: bool) -> None:
    """List who decided what about a model, and why, the latest first."""
    with open_session(open_database(var_dir)) as session:
        found = list_decisions(session, model_id=get_model(session, model).id, limit=limit)
        rows = [_describe_decision(decision) for decision in found]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["when", "action", "version", "actor", "reason"],
        [
            (
                datetime.fromisoformat(row["created_at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                row["action"],
                "" if row["version"] is None else row["version"],
                row["actor"],
                row["reason"],
            )
            for row in rows
        ],
    )


def _change(
    database: Database, model: str, wait_s: float, change: Callable[[Session], ModelVersion], as_json: bool
) -> None:
    """Commit a change of the champion, wait until the workers hold it, and tell how it ended."""
    with open_session(database) as session:
        number = change(session).number
    until = time.monotonic() + wait_s
    while (state := _read_state(database, model, number)) == "upcoming" and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    outcome = "answers once the workers have loaded it" if state == "upcoming" else "answers now"
    _tell(model, {"version": number, "state": state}, f"{model} version {number} {outcome}", as_json=as_json)


def _read_state(database: Database, model: str, number: int) -> str:
    with open_session(database) as session:
        version = get_version(session, model, number)
        if version.failure is not None:
            raise VersionStateError(f"the workers cannot load version {number} of {model!r}: {version.failure}")
        return _state(version)


def _tell(model: str, found: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, **found})
    else:
        console.print(sentence)


def _state(version: ModelVersion) -> str:
    model = version.model
    held = {"champion": model.champion_id, "upcoming": model.upcoming_id, "challenger": model.challenger_id}
    aliases = [alias for alias, version_id in held.items() if version_id == version.id]
    if aliases:
        return ", ".join(aliases)
    if version.failed_at is not None:
        return "failed"
    return "ready" if version.archived_at is None else "archived"


def _describe(version: ModelVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "state": _state(version),
        "source": version.source,
        "parent": None if version.parent is None else version.parent.number,
        "kind": version.model.kind,
        "metrics": version.metrics,
        "failure": version.failure,
        "archive_reason": version.archive_reason,
        "created_at": version.created_at.isoformat(),
    }


def _describe_decision(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "action": decision.action,
        "version": None if decision.version is None else decision.version.number,
        "actor": decision.actor,
        "reason": decision.reason,
        "figures": decision.figures,
        "created_at": decision.created_at.isoformat(),
    }


def _headline(row: Mapping[str, Any]) -> str | None:
    found = find_headline(row["kind"], row["metrics"])
    return None if found is None else f"{found[0].removeprefix(HELD_OUT)} {found[1]:.4g}"
