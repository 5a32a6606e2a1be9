"""The audit log on the command line."""

from pathlib import Path

import click

from schemas.enums import AuditAction
from stack.commands.options import json_option, open_database, var_option
from stack.console import one_line_errors, print_json, print_table
from store.audit import list_actions
from store.database import open_session

COLUMNS = ("when", "action", "actor", "key", "subject", "from", "request", "before", "after")

#: What fits on a screen; the rest is in the JSON.
SHOWN = 6


@click.command()
@var_option
@click.option("--action", type=click.Choice([str(action) for action in AuditAction]), help="Only those of this kind.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most to show.")
@json_option
@one_line_errors
def audit(var_dir: Path, action: str | None, limit: int, as_json: bool) -> None:
    """Show who did what, newest first."""
    with open_session(open_database(var_dir)) as session:
        rows = [
            (
                entry.created_at,
                entry.action,
                entry.actor,
                public_id,
                entry.subject,
                entry.remote_address,
                entry.request_id,
                entry.before,
                entry.after,
            )
            for entry, public_id in list_actions(session, limit=limit, action=action)
        ]
    if as_json:
        print_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
        return
    print_table(COLUMNS[:SHOWN], [row[:SHOWN] for row in rows])
