"""`torchqueue webhooks`: endpoints and deliveries from the command line."""

import json
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine as Database

from tests.factories import autocommit, clean_rows
from tests.integration.stack.conftest import Torchqueue, assert_refused
from tests.sinks import WEBHOOK_KEY
from tests.webhooks import Hooks

URL = "https://shop.example.com/hooks"

ENV = {"TORCHQUEUE_WEBHOOK_KEY": WEBHOOK_KEY}


@pytest.fixture(autouse=True)
def _clean(database: Database) -> Iterator[None]:
    yield
    clean_rows(database)


@pytest.fixture
def key_id(torchqueue: Torchqueue) -> str:
    """The id of a new key."""
    return str(json.loads(torchqueue("keys", "create", "shop", "--json").output)["id"])


@pytest.fixture
def webhook(torchqueue: Torchqueue, key_id: str) -> str:
    """The id of an endpoint of that key."""
    return str(json.loads(create(torchqueue, key_id, "--json"))["id"])


def create(torchqueue: Torchqueue, key_id: str, *options: str) -> str:
    made = torchqueue("webhooks", "create", URL, f"--key={key_id}", *options, env=ENV)
    assert made.exit_code == 0, made.output
    return made.output


def listed(torchqueue: Torchqueue, *options: str) -> str:
    found = torchqueue("webhooks", "list", *options)
    assert found.exit_code == 0, (found.output, found.exception)
    return found.output


def written(database: Database, webhook: str) -> UUID:
    """Write a delivery to an endpoint; returns its id."""
    with autocommit(database) as connection:
        return Hooks(connection).write(UUID(webhook), "a")[0]


def test_an_endpoint_is_made_and_its_secret_shown_once(torchqueue: Torchqueue, key_id: str) -> None:
    output = create(torchqueue, key_id, "--event=prediction.failed")

    secret = output.split()[-1]
    assert secret.startswith("whsec_")
    assert secret not in listed(torchqueue, "--json")


def test_endpoints_are_listed_with_their_keys(torchqueue: Torchqueue, key_id: str, webhook: str) -> None:
    found = json.loads(listed(torchqueue, "--json"))

    assert [(each["id"], each["key"], each["url"]) for each in found] == [(webhook, key_id, URL)]
    assert webhook in listed(torchqueue)


def test_a_url_that_leads_inside_is_refused(torchqueue: Torchqueue, key_id: str) -> None:
    refused = torchqueue("webhooks", "create", "http://127.0.0.1/", f"--key={key_id}", env=ENV)

    assert_refused(refused, ".*no address of the public internet.*")


def test_without_a_key_for_secrets_no_endpoint_is_made(torchqueue: Torchqueue, key_id: str) -> None:
    refused = torchqueue("webhooks", "create", URL, f"--key={key_id}", env={"TORCHQUEUE_WEBHOOK_KEY": None})

    assert_refused(refused, ".*openssl rand -base64 32.*")


def test_an_unknown_key_has_no_endpoint(torchqueue: Torchqueue) -> None:
    assert_refused(
        torchqueue("webhooks", "create", URL, "--key=nobody", env=ENV), ".*no API key with the id 'nobody'.*"
    )


def test_where_no_stack_made_an_admin_key_one_must_be_named(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("webhooks", "create", URL, env=ENV), ".*name a key with --key.*")


def test_an_endpoint_is_paused_and_resumed(torchqueue: Torchqueue, webhook: str) -> None:
    torchqueue("webhooks", "pause", webhook, "--reason=the shop moves")
    paused = listed(torchqueue)
    torchqueue("webhooks", "resume", webhook)

    assert "paused: the shop moves" in paused
    assert "paused" not in listed(torchqueue)


def test_deliveries_are_listed_and_sent_again(torchqueue: Torchqueue, webhook: str, database: Database) -> None:
    delivery = str(written(database, webhook))
    with autocommit(database) as connection:
        connection.exec_driver_sql("UPDATE webhook_deliveries SET state = 'dead', finished_at = now()")

    dead = json.loads(torchqueue("webhooks", "deliveries", webhook, "--state=dead", "--json").output)
    again = torchqueue("webhooks", "redeliver", delivery)

    assert [each["id"] for each in dead] == [delivery]
    assert again.output == f"delivery {delivery} is sent again\n"
    assert "pending" in torchqueue("webhooks", "deliveries", webhook).output


def test_an_unknown_endpoint_or_delivery_is_told(torchqueue: Torchqueue) -> None:
    unknown = "0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9"

    assert_refused(torchqueue("webhooks", "pause", unknown), ".*there is no webhook endpoint.*")
    assert_refused(torchqueue("webhooks", "redeliver", unknown), ".*there is no webhook delivery.*")
