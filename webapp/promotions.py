"""Waiting for what a promotion or a rollback decided: workers load the version first, then it answers."""

import time
from collections.abc import Callable

from flask import Response, make_response, url_for
from sqlalchemy.orm import Session

from schemas.models import ModelSchema
from store.database import open_session
from store.errors import VersionStateError
from store.models import get_model, get_version
from store.tables.model_version import ModelVersion
from webapp.model_documents import present_model
from webapp.services import Services

#: Time between two looks at the database while a request waits.
LOOK_EVERY_S = 0.05

RETRY_AFTER_S = 1


def decide(services: Services, name: str, wait_s: float, change: Callable[[Session], ModelVersion]) -> Response:
    """Commit a change of the champion, and wait until it answers.

    Args:
        services: Of this process.
        name: Of the model.
        wait_s: At most so long, in seconds.
        change: Decides; returns the version that shall answer.

    Returns:
        200 with the model, or 202 while its workers are still loading.

    Raises:
        VersionStateError: The version may not answer, or the workers could not load it: the one before answers.
        StoreError: As `change` raises.
    """
    until = time.monotonic() + wait_s
    with open_session(services.database) as session:
        number = change(session).number
    while not _is_settled(services, name, number) and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    return _respond(services, name, number)


def _is_settled(services: Services, name: str, number: int) -> bool:
    with open_session(services.database) as session:
        upcoming = get_model(session, name).upcoming
        return upcoming is None or upcoming.number != number


def _respond(services: Services, name: str, number: int) -> Response:
    with open_session(services.database) as session:
        model = get_model(session, name)
        failure = get_version(session, name, number).failure
        if failure is not None:
            champion = "nothing" if model.champion is None else f"version {model.champion.number}"
            raise VersionStateError(
                f"the workers cannot load version {number} of {name!r}, {champion} goes on answering: {failure}"
            )
        waiting = model.upcoming is not None and model.upcoming.number == number
        response = make_response(ModelSchema().dump(present_model(model)), 202 if waiting else 200)
    if waiting:
        response.headers["Location"] = url_for("models.ModelByNameViews", model=name)
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
