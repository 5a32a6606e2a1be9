"""The way of one prediction request through this process: check, store the input, submit, wait, answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from uuid_utils.compat import uuid7

from schemas.enums import IndexAction
from store.keys import Principal
from store.ledger_rows import Submission
from store.models import ServedVersion
from webapp.bodies import Body
from webapp.errors import InvalidInputError
from webapp.forecast import RANKS, Place
from webapp.indexes import resolve_index
from webapp.inputs import Input, read_input
from webapp.loop_signal import LoopSignal, LoopWaker
from webapp.prefer import wait_seconds
from webapp.services import Route, Services
from webapp.tickets import Ticket
from webapp.traffic import choose, request_point

# A commit that takes longer than this means that Postgres hangs.
ACCEPT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was checked, and what is left to do.

    Attributes:
        ticket: To hand over.
        sha256: Hex hash of its input; None where no answer is remembered.
        shadows: Versions that compute the same afterwards and answer nobody.
    """

    ticket: Ticket
    sha256: str | None
    shadows: Sequence[ServedVersion] = ()


def prepare(
    services: Services,
    request: Body,
    caller: Principal,
    *,
    model: str,
    query: dict[str, Any],
    headers: dict[str, Any],
    admitted: bool = False,
) -> Prepared:
    """Check a prediction and store its input. Needs no context of Flask.

    Args:
        services: Collaborators.
        request: Its body is the input.
        caller: Who asks.
        model: Whom.
        query: As `PredictionQueryArgsSchema` loads it.
        headers: As `PredictionHeadersSchema` loads them.
        admitted: Whether `admit_early` has let it in already.

    Raises:
        WebError, StoreError: As `webapp.errors` maps them.
    """
    wait_s = wait_seconds(headers["prefer"])
    _check_item(query)
    services.webhooks.check(caller, query["webhook"])
    route = services.models.route(model, query["version"])
    version, probability = _choose_version(route, caller, query, headers)
    given = read_input(request, version, services.settings.max_pixels, services.settings.outward)
    remembered = _hash_to_remember(version, query, given)
    inline = given.url is None and services.inline is not None and services.inline.serves(version)
    known = remembered is not None and services.cache.may_answer(version, caller.api_key_id, remembered)
    if not (admitted or inline or known):
        _admit(services, caller, version, query)
    submission = _submission(services, caller, version, given, query, headers["idempotency_key"], probability)
    ticket = Ticket(submission, version, wait_s=wait_s)
    ticket.inline = inline
    if ticket.inline:
        # A worker reads it from where it is stored: a request that waits for one need not keep a photo in memory.
        ticket.payload = given.value if given.data is None else given.data
    # What is behind a URL is asked for once, not for shadows too.
    return Prepared(ticket, remembered, () if route.split is None or given.url is not None else route.split.shadows)


def _check_item(query: dict[str, Any]) -> None:
    if (query["catalog"] is None) != (query["external_id"] is None):
        missing = "catalog" if query["catalog"] is None else "external_id"
        raise InvalidInputError(missing, f"{missing} is missing: catalog and external_id go together")


def _choose_version(
    route: Route, caller: Principal, query: dict[str, Any], headers: dict[str, Any]
) -> tuple[ServedVersion, float | None]:
    """Return the version that answers and, where it was drawn, with which probability."""
    split = route.split
    if split is None or not split.arms:
        return route.version, None
    arm = choose(split, request_point(split, caller, query, headers))
    return arm.version, arm.probability


def _hash_to_remember(version: ServedVersion, query: dict[str, Any], given: Input) -> str | None:
    """Return the hash under which an answer is remembered; None where none is, since what a URL leads to may change."""
    if version.settings.cache is None or query["no_cache"] or given.url is not None:
        return None
    return given.sha256


def admit_early(services: Services, caller: Principal, *, model: str, query: dict[str, Any]) -> bool:
    """Let a prediction in before its body is read, so that refusing costs neither reading nor storing.

    Returns:
        False where only the body tells whether it needs room: it may be answered from memory, or in this process.

    Raises:
        RefusedError: There is no room for it, or its turn would not come in time.
        StoreError: There is no such model or version.
    """
    version = services.models.route(model, query["version"]).version
    if services.inline is not None and services.inline.serves(version):
        return False
    if version.settings.cache is not None and not query["no_cache"]:
        return False
    _admit(services, caller, version, query)
    return True


def run(services: Services, prepared: Prepared) -> None:
    """Have a ticket answered and wait in this thread as long as the client wants.

    Raises:
        WebError: It was refused.
    """
    ticket, remembered = prepared.ticket, prepared.ticket.version.settings.cache
    if prepared.sha256 is None or remembered is None:
        _submit(services, ticket)
    else:
        services.cache.run(ticket, prepared.sha256, remembered, partial(_submit, services))
    services.shadows.cast(ticket, prepared.shadows)


async def run_in_loop(services: Services, prepared: Prepared, waker: LoopWaker) -> None:
    """Have a ticket answered, whatever is remembered, and wait in the event loop as long as the client wants.

    Raises:
        WebError: It was refused.
    """
    ticket, signal = prepared.ticket, LoopSignal(waker)
    ticket.settle_by(signal)
    services.listener.expect(ticket.submission.id, ticket.finish)
    try:
        services.dispatcher.hand_in([ticket])
        await signal.wait(ticket.wait_s or ACCEPT_TIMEOUT_S)
    finally:
        services.listener.forget(ticket.submission.id, ticket.finish)
    ticket.check()
    services.shadows.cast(ticket, prepared.shadows)


def ask(
    services: Services,
    request: Body,
    caller: Principal,
    *,
    model: str,
    query: dict[str, Any],
    headers: dict[str, Any],
) -> Ticket:
    """Accept a prediction and wait for it as long as the client wants.

    Raises:
        WebError, StoreError: As `webapp.errors` maps them.
    """
    prepared = prepare(services, request, caller, model=model, query=query, headers=headers)
    run(services, prepared)
    return prepared.ticket


def put_item(
    services: Services,
    request: Body,
    caller: Principal,
    *,
    model: str,
    catalog: str,
    external_id: str,
    query: dict[str, Any],
    headers: dict[str, Any],
) -> Ticket:
    """Accept a photo for a model's index and wait for it to be indexed as long as the client wants.

    Returns:
        The ticket of the prediction that computes the embedding.

    Raises:
        WebError, StoreError: As `webapp.errors` maps them.
    """
    wait_s = wait_seconds(headers["prefer"])
    version = resolve_index(services, model)
    _admit(services, caller, version, query)
    given = read_input(request, version, services.settings.max_pixels, services.settings.outward)
    asked = {**query, "catalog": catalog, "external_id": external_id, "index_action": IndexAction.PUT}
    submission = _submission(services, caller, version, given, asked, headers["idempotency_key"])
    ticket = Ticket(replace(submission, index_action=IndexAction.PUT), version, wait_s=wait_s)
    _submit(services, ticket)
    return ticket


def _submit(services: Services, ticket: Ticket) -> None:
    """Hand a ticket over, which stores it and has it answered, and wait as long as the client wants."""
    services.listener.expect(ticket.submission.id, ticket.finish)
    try:
        services.dispatcher.submit([ticket])
        ticket.wait(ticket.wait_s or ACCEPT_TIMEOUT_S)
    finally:
        services.listener.forget(ticket.submission.id, ticket.finish)


def _admit(services: Services, caller: Principal, version: ServedVersion, query: dict[str, Any]) -> None:
    services.admission.check(caller, version, priority=query["priority"], deadline_ms=query["deadline_ms"])


def _submission(
    services: Services,
    caller: Principal,
    version: ServedVersion,
    given: Input,
    query: dict[str, Any],
    idempotency_key: str | None,
    assignment_probability: float | None = None,
) -> Submission:
    stored = None if given.data is None else services.objects.put(given.data)
    return Submission(
        id=uuid7(),
        api_key_id=caller.api_key_id,
        model_id=version.model_id,
        model_version_id=version.model_version_id,
        reply_channel=services.channel,
        priority=query["priority"],
        lag_s=services.pressure.lag_s(
            Place(caller.api_key_id, RANKS[query["priority"]], f"{version.model}/{version.number}")
        ),
        input=given.value,
        input_sha256=stored,
        input_bytes=given.size,
        catalog=query["catalog"],
        external_id=query["external_id"],
        deadline_ms=query["deadline_ms"],
        idempotency_key=idempotency_key,
        request_sha256=None if idempotency_key is None else _fingerprint(version.model, query, given),
        assignment_probability=assignment_probability,
        # A photo that is put into an index names none.
        webhook_id=query.get("webhook"),
        image_url=given.url,
    )


def _fingerprint(model: str, query: dict[str, Any], given: Input) -> str:
    """Hash what makes two requests the same one: all but the time that the client waits.

    An argument that was not given, and that requests did not have at first, must not change the hash of a repeat that
    comes after an update.
    """
    asked = {name: value for name, value in query.items() if name != "webhook" or value is not None}
    return sha256(json.dumps([model, asked, given.sha256], sort_keys=True, default=str).encode()).hexdigest()
