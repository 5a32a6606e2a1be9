"""API keys: create, list, show, update, rotate, revoke."""

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from schemas.enums import AuditAction, Scope
from stack.commands.options import json_option, open_database, read_settings, var_option
from stack.console import console, one_line_errors, print_json, print_table
from store.audit import COMMAND, record_action
from store.database import open_session
from store.keys import KeyLimits, create_key, get_key, list_keys, revoke_key, rotate_key, update_key
from store.replies import connect_redis, publish_keys
from store.tables.api_key import ApiKey

LIMITS = tuple(field.name for field in fields(KeyLimits))

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

#: What takes a limit or an end away.
NONE = "none"


class Duration(click.ParamType[timedelta]):
    """A span of time, such as `90s`, `30m`, `24h` or `7d`."""

    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read what was typed."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d+)([smhd])", value)
        if match is None:
            self.fail(f"{value!r} is no span of time; write 90s, 30m, 24h or 7d, and 0s for none", param, ctx)
        return timedelta(seconds=int(match[1]) * UNITS[match[2]])


class Limit(click.ParamType["int | str"]):
    """A number, or `none` for no limit."""

    name = "number|none"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read what was typed."""
        if value == NONE:
            return NONE
        if not str(value).isdigit() or not 1 <= int(value) < 2**31:
            self.fail(f"{value!r} is no limit; use {NONE} or 1, 2, 3, ...", param, ctx)
        return int(value)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each limit."""
    for name in reversed(LIMITS):
        command = click.option(f"--{name.replace('_', '-')}", name, type=Limit(), help=HELP[name])(command)
    return command


HELP = {
    "rate_per_minute": "Requests in a minute, in the mean.",
    "burst": "Requests at once before that mean counts.",
    "max_concurrent": "Requests under way at once.",
    "max_queued": "Predictions that wait at once.",
}

scope_choice = click.Choice([str(scope) for scope in Scope])


@click.group()
def keys() -> None:
    """Manage API keys."""


@keys.command()
@var_option
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=[str(Scope.PREDICT), str(Scope.READ)],
    show_default=True,
    type=scope_choice,
    help="What the key may do; repeat for more.",
)
@click.option("--expires-in-days", type=click.FloatRange(min=0, min_open=True), help="Default: never.")
@limit_options
@json_option
@one_line_errors
def create(
    var_dir: Path,
    name: str,
    scopes: tuple[str, ...],
    expires_in_days: float | None,
    as_json: bool,
    **limits: int | str | None,
) -> None:
    """Make a key. It is shown this once."""
    expires_in = None if expires_in_days is None else timedelta(days=expires_in_days)
    given: dict[str, Any] = {limit: None if value == NONE else value for limit, value in limits.items()}
    with open_session(open_database(var_dir)) as session:
        row, key = create_key(
            session,
            name=name,
            scopes=[Scope(scope) for scope in scopes],
            expires_in=expires_in,
            limits=KeyLimits(**given),
        )
        public_id = row.public_id
        after = {"name": name, "scopes": list(scopes)}
        record_action(session, AuditAction.CREATE_KEY, f"keys/{public_id}", COMMAND, after=after)
    if as_json:
        print_json({"id": public_id, "name": name, "scopes": scopes, "key": key})
        return
    console.print(f"key {public_id} for {name} ({', '.join(scopes)}); it is shown this once:\n\n{key}")


@keys.command("list")
@var_option
@json_option
@one_line_errors
def list_(var_dir: Path, as_json: bool) -> None:
    """List keys, without their secrets."""
    with open_session(open_database(var_dir)) as session:
        columns = ["id", "name", "scopes", "created", "expires", "revoked", "last used"]
        rows = [
            (k.public_id, k.name, ", ".join(k.scopes), k.created_at, k.expires_at, k.revoked_at, k.last_used_at)
            for k in list_keys(session)
        ]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)


@keys.command()
@var_option
@click.argument("key_id")
@json_option
@one_line_errors
def show(var_dir: Path, key_id: str, as_json: bool) -> None:
    """Show a key and its limits, without its secret."""
    with open_session(open_database(var_dir)) as session:
        shown = _document(get_key(session, key_id))
    if as_json:
        print_json(shown)
        return
    print_table(["", "value"], shown.items())


@keys.command()
@var_option
@click.argument("key_id")
@click.option("--name", help="What you call it.")
@click.option("--scope", "scopes", multiple=True, type=scope_choice, help="Replaces all; repeat for more.")
@click.option("--expires-in", type=Duration(), help="From now, such as 30d.")
@click.option("--never-expires", is_flag=True, help="Take its end away.")
@limit_options
@one_line_errors
def update(
    var_dir: Path,
    key_id: str,
    name: str | None,
    scopes: tuple[str, ...],
    expires_in: timedelta | None,
    never_expires: bool,
    **limits: int | str | None,
) -> None:
    """Change a key: what is not said stays. `none` takes a limit away."""
    changes: dict[str, Any] = {limit: None if value == NONE else value for limit, value in limits.items() if value}
    changes |= {"name": name} if name else {}
    changes |= {"scopes": list(scopes)} if scopes else {}
    changes |= {"expires_at": datetime.now(UTC) + expires_in} if expires_in else {}
    changes |= {"expires_at": None} if never_expires else {}
    if not changes:
        raise click.UsageError("say what shall change; `torchqueue keys update --help` lists it")
    with open_session(open_database(var_dir)) as session:
        row = get_key(session, key_id, lock=True)
        before = {column: getattr(row, column) for column in changes}
        update_key(session, key_id, changes)
        record_action(
            session, AuditAction.UPDATE_KEY, f"keys/{key_id}", COMMAND, before=_plain(before), after=_plain(changes)
        )
    _tell(var_dir, key_id)
    console.print(f"key {key_id} is changed")


@keys.command()
@var_option
@click.argument("key_id")
@click.option(
    "--grace",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How long the secret of until now works beside the new one; 0s ends it at once.",
)
@json_option
@one_line_errors
def rotate(var_dir: Path, key_id: str, grace: timedelta, as_json: bool) -> None:
    """Give a key another secret, shown this once. Its data stay, and for the grace its old secret works too."""
    grace_s = int(grace.total_seconds())
    with open_session(open_database(var_dir)) as session:
        _, key = rotate_key(session, key_id, grace=grace)
        record_action(session, AuditAction.ROTATE_KEY, f"keys/{key_id}", COMMAND, after={"grace_s": grace_s})
    _tell(var_dir, key_id)
    if as_json:
        print_json({"id": key_id, "grace_s": grace_s, "key": key})
        return
    console.print(f"key {key_id}; its new secret is shown this once, the old one works for {grace}:\n\n{key}")


@keys.command()
@var_option
@click.argument("key_id")
@one_line_errors
def revoke(var_dir: Path, key_id: str) -> None:
    """Revoke a key by its id, with all its secrets; every process refuses it at once."""
    with open_session(open_database(var_dir)) as session:
        revoke_key(session, key_id)
        record_action(session, AuditAction.REVOKE_KEY, f"keys/{key_id}", COMMAND)
    _tell(var_dir, key_id)
    console.print(f"key {key_id} is revoked")


def _tell(var_dir: Path, key_id: str) -> None:
    """Let every web process ask anew; without Valkey they do within seconds."""
    publish_keys(connect_redis(read_settings(var_dir).redis_url), [key_id])


def _document(row: ApiKey) -> dict[str, Any]:
    columns = ("name", "created_at", "expires_at", "revoked_at", "rotated_at", "last_used_at", *LIMITS)
    shown = {column: getattr(row, column) for column in columns}
    return {"id": row.public_id, "scopes": ", ".join(row.scopes), **shown}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
