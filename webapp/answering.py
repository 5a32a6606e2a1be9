"""What a prediction request is answered with: the prediction once it is finished, or where to look for it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from schemas.enums import ErrorCode
from store import ledger
from store.database import open_session
from store.errors import IdempotencyConflictError
from store.ledger_rows import Submission
from store.predictions import get_prediction
from store.tables.prediction import Prediction
from webapp.errors import DatabaseUnavailableError, InvalidInputError
from webapp.presenters import from_event
from webapp.responses import prediction_response
from webapp.services import Services
from webapp.tickets import Ticket, Waiter

REPLAYED_HEADER = "Idempotent-Replayed"

Respond = Callable[[Session, Prediction], Response]


def finished_body(ticket: Ticket) -> dict[str, Any] | None:
    """Present a prediction that this process saw finished; None when there is more to find out.

    Raises:
        InvalidInputError: The worker could not read the input.
    """
    if ticket.repeated or ticket.finished is None:
        return None
    if ticket.finished.error_code == ErrorCode.INVALID_INPUT:
        detail = ticket.finished.error_detail or "cannot be read"
        raise InvalidInputError("input", detail, prediction=ticket.submission.id)
    # The members are those of `PredictionSchema`, which a test compares, and already checked.
    return from_event(ticket.submission, ticket.version, ticket.finished)


def answer(services: Services, ticket: Ticket) -> Response:
    """Answer 200 with the finished prediction, or 202. Needs a request's context.

    Raises:
        WebError, StoreError: As `webapp.errors` maps them.
    """
    body = finished_body(ticket)
    if body is not None:
        return jsonify(body)
    if ticket.repeated:
        return _replay(services, ticket.submission, ticket.wait_s)
    if ticket.accepted_at is None:
        late = DatabaseUnavailableError("the database did not answer in time; repeat it with an Idempotency-Key")
        # Where it still waits to be written, it is not written any more: nobody would know of it.
        ticket.refuse(late)
        raise late
    with open_session(services.database) as session:
        return _respond(session, get_prediction(session, ticket.submission.id, api_key_id=None))


def read_prediction(
    services: Services, prediction_id: UUID, *, api_key_id: int | None, wait_s: float, respond: Respond
) -> Response:
    """Read a prediction, and wait for its end as long as the client wants.

    Args:
        services: Collaborators.
        prediction_id: Which.
        api_key_id: The tenant that may see it; None for any.
        wait_s: How long to wait while it is not finished.
        respond: Makes the response of the row as it then is.

    Raises:
        UnknownPredictionError: There is none, or it is another tenant's.
    """
    waiter = Waiter(wait_s)
    # Registered before the row is read, so that an end in between is not missed.
    services.listener.expect(prediction_id, waiter.wake)
    try:
        while True:
            with services.reading(api_key_id) as session:
                row = get_prediction(session, prediction_id, api_key_id=api_key_id)
            if row.finished_at is not None or waiter.is_over():
                # How many go before it is counted over all tenants. For a finished row nothing is asked.
                with open_session(services.database) as session:
                    return respond(session, row)
            waiter.wait()
    finally:
        services.listener.forget(prediction_id, waiter.wake)


def _respond(session: Session, row: Prediction) -> Response:
    """Answer the request that made a row, as far as the row is."""
    if row.error_code == ErrorCode.INVALID_INPUT:
        raise InvalidInputError("input", row.error_detail or "cannot be read", prediction=row.id)
    return prediction_response(session, row)


def _replay(services: Services, submission: Submission, wait_s: float) -> Response:
    """Answer a repeat like its first request."""
    key = submission.idempotency_key
    assert key is not None, "only a request with an idempotency key can be a repeat"
    with open_session(services.database) as session:
        found = ledger.find_repeat(session.connection(), api_key_id=submission.api_key_id, key=key)
    if found is None:
        raise DatabaseUnavailableError("the first request under this idempotency key just expired; try again")
    prediction_id, fingerprint = found
    if fingerprint != submission.request_sha256:
        raise IdempotencyConflictError(
            f"the idempotency key {key!r} was used for another request; use a new key for a new request"
        )
    response = read_prediction(
        services, prediction_id, api_key_id=submission.api_key_id, wait_s=wait_s, respond=_respond
    )
    response.headers[REPLAYED_HEADER] = "true"
    return response
