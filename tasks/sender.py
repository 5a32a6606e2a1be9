"""One webhook request: signed by the Standard Webhooks specification, sent through the one way out."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog
from standardwebhooks import Webhook

from store.delivery_ledger import DeliveryClaim, DeliveryOutcome
from store.errors import OutwardError, WebhookKeyError
from store.failpoints import hit
from store.outward import Header, Reply
from store.secret_box import SecretBox
from tasks.delivery_rules import Heard, Schedule, judge

log = structlog.get_logger()

#: From the first byte of a name's resolution to the last of the answer.
TIMEOUT_S = 15.0

#: What is kept of an answer, for whoever looks why a delivery failed. More is not read.
RESPONSE_BYTES = 1_024

MS = 1000.0


class Outward(Protocol):
    """Sends requests to URLs of strangers, as `store.outward.OutwardClient` does."""

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[Header] = (),
        body: bytes = b"",
        max_bytes: int,
        cut: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Send one request and follow no redirect.

        Raises:
            OutwardError: It may not be sent, or there was no answer.
        """


def sign(delivery_id: UUID, at: datetime, body: str, secrets: Sequence[str]) -> list[Header]:
    """Make the headers of a delivery; two secrets sign while one takes the other's place."""
    signatures = [Webhook(secret).sign(str(delivery_id), at, body) for secret in secrets]
    return [
        ("webhook-id", str(delivery_id)),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("webhook-signature", " ".join(signatures)),
    ]


class Sender:
    """Attempts deliveries. Thread safe.

    Args:
        outward: The way out.
        box: Opens the endpoints' secrets.
        schedule: When to try again.
        timeout_s: For one attempt.
    """

    def __init__(
        self, outward: Outward, box: SecretBox, schedule: Schedule | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._outward = outward
        self._box = box
        self._schedule = schedule or Schedule()
        self._timeout_s = timeout_s

    def send(self, claim: DeliveryClaim) -> DeliveryOutcome:
        """Attempt one delivery; whatever happens is an outcome."""
        started = time.perf_counter()
        try:
            hit("pump.sending")
            outcome = judge(claim, self._ask(claim, started), self._schedule)
            hit("pump.sent")
        # A fault of ours must neither end the thread that sends for everybody nor lose the delivery: it is tried again.
        except Exception:
            log.exception("delivery_fault", delivery=str(claim.id))
            fault = Heard(duration_ms=_since(started), headers={}, error="a fault of ours; it was logged")
            return judge(claim, fault, self._schedule)
        return outcome

    def _ask(self, claim: DeliveryClaim, started: float) -> Heard:
        try:
            reply = self._outward.send(
                "POST",
                claim.url,
                headers=self._headers(claim),
                body=claim.body.encode(),
                max_bytes=RESPONSE_BYTES,
                cut=True,
                timeout_s=self._timeout_s,
            )
        except (OutwardError, WebhookKeyError) as error:
            return Heard(duration_ms=_since(started), headers={}, error=str(error))
        return Heard(
            duration_ms=_since(started),
            status_code=reply.status,
            headers=reply.headers,
            # Postgres' text cannot hold a NUL character.
            response=reply.body.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
        )

    def _headers(self, claim: DeliveryClaim) -> list[Header]:
        sealed = [claim.secret] if claim.previous_secret is None else [claim.secret, claim.previous_secret]
        secrets = [self._box.open(secret, claim.endpoint_id) for secret in sealed]
        # Postgres' clock, as everywhere: a receiver refuses what is some minutes off.
        at = claim.claimed_at.astimezone(UTC)
        return [("Content-Type", "application/json"), *sign(claim.id, at, claim.body, secrets)]


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * MS, 3)
