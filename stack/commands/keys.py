"""API keys: create, list, revoke."""

from datetime import timedelta
from pathlib import Path

import click

from schemas.enums import Scope
from stack.commands.options import json_option, open_database, var_option
from stack.console import console, one_line_errors, print_json, print_table
from store.database import open_session
from store.keys import create_key, list_keys, revoke_key


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
    type=click.Choice([str(scope) for scope in Scope]),
    help="What the key may do; repeat for more.",
)
@click.option("--expires-in-days", type=click.FloatRange(min=0, min_open=True), help="Default: never.")
@json_option
@one_line_errors
def create(var_dir: Path, name: str, scopes: tuple[str, ...], expires_in_days: float | None, as_json: bool) -> None:
    """Make a key. It is shown this once."""
    expires_in = None if expires_in_days is None else timedelta(days=expires_in_days)
    with open_session(open_database(var_dir)) as session:
        row, key = create_key(session, name=name, scopes=[Scope(scope) for scope in scopes], expires_in=expires_in)
        public_id = row.public_id
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
        columns = ["id", "name", "scopes", "created", "expires", "revoked"]
        rows = [
            (k.public_id, k.name, ", ".join(k.scopes), k.created_at, k.expires_at, k.revoked_at)
            for k in list_keys(session)
        ]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(columns, rows)


@keys.command()
@var_option
@click.argument("key_id")
@one_line_errors
def revoke(var_dir: Path, key_id: str) -> None:
    """Revoke a key by its id; every process forgets it within seconds."""
    with open_session(open_database(var_dir)) as session:
        revoke_key(session, key_id)
    console.print(f"key {key_id} is revoked")
