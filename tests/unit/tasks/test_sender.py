"""`tasks.sender`: one signed request, and an outcome whatever happens."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from schemas.enums import DeliveryState
from store.delivery_ledger import DeliveryClaim
from store.errors import HostUnavailableError
from store.outward import Header, Reply
from store.secret_box import SecretBox
from tasks.sender import Sender, sign
from tests.sinks import WEBHOOK_KEY

NEW = "whsec_" + "bmV3IHNlY3JldCwgYXQgbGVhc3QgMjQgYnl0ZXM="
OLD = "whsec_" + "b2xkIHNlY3JldCwgYXQgbGVhc3QgMjQgYnl0ZXM="
BODY = '{"type": "prediction.succeeded"}'

BOX = SecretBox(WEBHOOK_KEY)


class Host:
    """Stands for the host behind a URL: answers, or raises, what it was given."""

    def __init__(self, outcome: Reply | Exception) -> None:
        self._outcome = outcome
        self.headers: dict[str, str] = {}
        self.options: dict[str, Any] = {}

    def send(self, method: str, url: str, *, headers: Sequence[Header] = (), **options: Any) -> Reply:
        self.headers = dict(headers)
        self.options = {"method": method, "url": url, **options}
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def reply(status: int = 200, body: bytes = b"") -> Reply:
    return Reply(status=status, headers={}, body=body, cut=False, url="https://shop.example.com/")


def claim(previous: str | None = None, box: SecretBox = BOX) -> DeliveryClaim:
    endpoint_id = uuid4()
    return DeliveryClaim(
        id=uuid4(),
        endpoint_id=endpoint_id,
        fence=1,
        url="https://shop.example.com/",
        body=BODY,
        failures=0,
        is_failing=False,
        secret=box.seal(NEW, endpoint_id),
        previous_secret=None if previous is None else box.seal(previous, endpoint_id),
        claimed_at=datetime.now(UTC),
    )


def test_what_is_sent_is_verified_by_the_reference_library() -> None:
    host = Host(reply())
    taken = claim()

    Sender(host, BOX).send(taken)

    assert Webhook(NEW).verify(host.options["body"], host.headers) == {"type": "prediction.succeeded"}
    assert host.headers["webhook-id"] == str(taken.id)


def test_another_secret_verifies_nothing() -> None:
    host = Host(reply())

    Sender(host, BOX).send(claim())

    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(host.options["body"], host.headers)


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_during_a_rotation_either_secret_verifies(secret: str) -> None:
    host = Host(reply())

    Sender(host, BOX).send(claim(previous=OLD))

    assert Webhook(secret).verify(host.options["body"], host.headers)


def test_a_body_that_was_changed_on_the_way_is_refused() -> None:
    host = Host(reply())

    Sender(host, BOX).send(claim())

    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(host.options["body"] + b" ", host.headers)


def test_the_signature_is_that_of_the_specification() -> None:
    at = datetime.fromtimestamp(1_614_265_330, UTC)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    headers = dict(sign(uuid4(), at, BODY, [secret]))

    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"].startswith("v1,")


def test_no_more_than_a_kibibyte_of_an_answer_is_read() -> None:
    host = Host(reply())

    Sender(host, BOX).send(claim())

    assert (host.options["max_bytes"], host.options["cut"], host.options["timeout_s"]) == (1024, True, 15.0)


def test_a_host_that_does_not_answer_is_an_outcome() -> None:
    outcome = Sender(Host(HostUnavailableError("did not answer in time")), BOX).send(claim())

    assert (outcome.state, outcome.status_code, outcome.error) == (
        DeliveryState.PENDING,
        None,
        "did not answer in time",
    )


def test_a_fault_of_ours_is_an_outcome_and_tells_nobody_what_it_was() -> None:
    outcome = Sender(Host(ZeroDivisionError("inner workings")), BOX).send(claim())

    assert (outcome.state, outcome.error) == (DeliveryState.PENDING, "a fault of ours; it was logged")


def test_a_secret_that_does_not_open_is_an_outcome() -> None:
    other = SecretBox("a2V5IG9mIGFub3RoZXIgaW5zdGFsbGF0aW9uIG9mIDE=")

    outcome = Sender(Host(reply()), BOX).send(claim(box=other))

    assert outcome.state is DeliveryState.PENDING
    assert "TORCHQUEUE_WEBHOOK_KEY is another" in str(outcome.error)


def test_an_answer_is_kept_in_a_form_that_postgres_takes() -> None:
    outcome = Sender(Host(reply(500, b"no\0t \xff")), BOX).send(claim())

    assert outcome.response == "no\N{REPLACEMENT CHARACTER}t \N{REPLACEMENT CHARACTER}"
