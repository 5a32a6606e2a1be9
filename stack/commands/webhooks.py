"""Webhooks: endpoints of API keys, and what was sent to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.enums import DeliveryState, WebhookEvent
from stack.commands.options import json_option, open_database, read_settings, var_option
from stack.console import console, one_line_errors, print_json, print_table
from stack.state import ADMIN_KEY_FILE
from store.database import open_session
from store.deliveries import get_delivery, list_attempts, list_deliveries, redeliver
from store.errors import UnknownKeyError
from store.secret_box import SecretBox
from store.tables.api_key import ApiKey
from store.tables.webhook import WebhookEndpoint
from store.webhooks import (
    check_webhook_url,
    create_endpoint,
    get_endpoint,
    list_endpoints,
    pause_endpoint,
    resume_endpoint,
)

ROWS = 100


@click.group()
def webhooks() -> None:
    """Manage webhook endpoints, and look after what is sent to them."""


@webhooks.command("list")
@var_option
@json_option
@one_line_errors
def list_(var_dir: Path, as_json: bool) -> None:
    """List the endpoints of all keys, newest first."""
    with open_session(open_database(var_dir)) as session:
        names = {row.id: row.public_id for row in session.execute(select(ApiKey.id, ApiKey.public_id))}
        found = [_describe(row, names) for row in list_endpoints(session, api_key_id=None, limit=ROWS)]
    if as_json:
        print_json(found)
        return
    columns = ["id", "key", "url", "events", "state", "delivered", "failed_attempts", "dead"]
    print_table(columns, [tuple(each[column] for column in columns) for each in found])


@webhooks.command()
@var_option
@click.argument("url")
@click.option("--key", "key_id", help="Id of the API key whose predictions it is told of; the admin key by default.")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([str(event) for event in WebhookEvent]),
    help="What it is told of; repeat for more. Without any: the predictions that name it.",
)
@click.option("--description", default="", help="For people.")
@json_option
@one_line_errors
def create(
    var_dir: Path, url: str, key_id: str | None, events: tuple[str, ...], description: str, as_json: bool
) -> None:
    """Make an endpoint that is sent events at URL. Its secret is shown this once."""
    settings = read_settings(var_dir)
    box = SecretBox.open_with(settings.webhook_key)
    checked = check_webhook_url(url, settings.outward)
    with open_session(open_database(var_dir)) as session:
        row, secret = create_endpoint(
            session,
            box,
            api_key_id=_find_key(session, key_id or _admin_key_id(var_dir)),
            url=checked,
            description=description,
            events=[WebhookEvent(event) for event in events],
        )
    if as_json:
        print_json({"id": row.id, "url": row.url, "events": row.events, "secret": secret})
        return
    console.print(f"webhook {row.id} for {row.url}; its secret is shown this once:\n\n{secret}")


@webhooks.command()
@var_option
@click.argument("webhook_id", type=click.UUID)
@click.option("--reason", default="paused on the command line", show_default=True, help="For people.")
@one_line_errors
def pause(var_dir: Path, webhook_id: UUID, reason: str) -> None:
    """Send nothing to an endpoint until it is resumed; what happens is kept for it."""
    _change(var_dir, webhook_id, lambda session, row: pause_endpoint(session, row, reason))
    console.print(f"webhook {webhook_id} is paused")


@webhooks.command()
@var_option
@click.argument("webhook_id", type=click.UUID)
@one_line_errors
def resume(var_dir: Path, webhook_id: UUID) -> None:
    """Send to an endpoint again, first of all what waits."""
    _change(var_dir, webhook_id, resume_endpoint)
    console.print(f"webhook {webhook_id} is enabled")


@webhooks.command()
@var_option
@click.argument("webhook_id", type=click.UUID)
@click.option("--state", type=click.Choice([str(state) for state in DeliveryState]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@json_option
@one_line_errors
def deliveries(var_dir: Path, webhook_id: UUID, state: str | None, limit: int, as_json: bool) -> None:
    """List what was sent to an endpoint, newest first, with how the last attempt ended."""
    with open_session(open_database(var_dir)) as session:
        endpoint = get_endpoint(session, webhook_id, api_key_id=None)
        rows = list_deliveries(session, endpoint, state=None if state is None else DeliveryState(state), limit=limit)
        found = [
            {
                "id": row.id,
                "created": row.created_at,
                "event": row.event,
                "subject": row.subject_id,
                "state": row.state,
                "attempts": row.attempts,
                "last": _last(session, row.id),
            }
            for row in rows
        ]
    if as_json:
        print_json(found)
        return
    columns = ["id", "created", "event", "subject", "state", "attempts", "last"]
    print_table(columns, [tuple(each[column] for column in columns) for each in found])


@webhooks.command("redeliver")
@var_option
@click.argument("delivery_id", type=click.UUID)
@one_line_errors
def redeliver_(var_dir: Path, delivery_id: UUID) -> None:
    """Send a delivery again, now and under the id that it always had."""
    with open_session(open_database(var_dir)) as session:
        redeliver(session, get_delivery(session, delivery_id, api_key_id=None))
    console.print(f"delivery {delivery_id} is sent again")


def _change(var_dir: Path, webhook_id: UUID, change: Callable[[Session, WebhookEndpoint], None]) -> None:
    with open_session(open_database(var_dir)) as session:
        change(session, get_endpoint(session, webhook_id, api_key_id=None, lock=True))


def _last(session: Session, delivery_id: UUID) -> str | None:
    """Say how the last attempt ended; None before the first."""
    attempts = list_attempts(session, get_delivery(session, delivery_id, api_key_id=None))
    return None if not attempts else attempts[-1].error or str(attempts[-1].status_code)


def _describe(row: WebhookEndpoint, keys: dict[int, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": keys[row.api_key_id],
        "url": row.url,
        "events": ", ".join(row.events),
        "state": row.state if row.pause_reason is None else f"{row.state}: {row.pause_reason}",
        "delivered": row.delivered_count,
        "failed_attempts": row.failed_count,
        "dead": row.dead_count,
    }


def _admin_key_id(var_dir: Path) -> str:
    """Read the id of the key that `up` made; it is a part of the key."""
    try:
        return (var_dir / ADMIN_KEY_FILE).read_text().split("_")[1]
    except FileNotFoundError as error:
        raise UnknownKeyError("no stack has made an admin key here; name a key with --key") from error


def _find_key(session: Session, public_id: str) -> int:
    found = session.scalar(select(ApiKey.id).where(ApiKey.public_id == public_id, ApiKey.revoked_at.is_(None)))
    if found is None:
        raise UnknownKeyError(f"there is no API key with the id {public_id!r}; `torchqueue keys list` shows them")
    return found
