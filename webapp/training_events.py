"""A training told as it goes: server-sent events, read from its row about once a second.

Where the training was asked to promote what comes of it, the last event waits until that answers: who hears it and asks
the model gets the new version.
"""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Engine as Database

from schemas.trainings import TrainingSchema
from store.database import open_session
from store.trainings import get_training
from webapp.errors import NotReadyError
from webapp.services import MODEL_CACHE_S
from webapp.training_presenter import from_training

#: As often as the row changes.
LOOK_EVERY_S = 1.0

#: Proxies close a connection that says nothing for long.
SILENCE_S = 15.0

#: A client reconnects by itself; meanwhile the thread serves others.
LONGEST_S = 600.0

#: Each stream takes a thread of this process.
MAX_STREAMS = 8

_streams = threading.BoundedSemaphore(MAX_STREAMS)


def stream(database: Database, training_id: UUID) -> Iterator[str]:
    """Tell a training's progress until it is finished; the last event is named by how it ended.

    Raises:
        NotReadyError: Too many listen already.
    """
    if not _streams.acquire(blocking=False):
        raise NotReadyError(f"{MAX_STREAMS} streams are open; read GET /v1/trainings/{training_id} instead")
    return _events(database, training_id)


def _events(database: Database, training_id: UUID) -> Iterator[str]:
    try:
        until = time.monotonic() + LONGEST_S
        told: dict[str, Any] | None = None
        told_at = 0.0
        while time.monotonic() < until:
            training = _read(database, training_id)
            is_over = training["finished_at"] is not None and not _is_promoting(database, training_id)
            if is_over and training["options"]["promote"]:
                # Other web processes hear of it within so long.
                time.sleep(MODEL_CACHE_S)
            if training != told or is_over:
                yield _format(training["status"] if is_over else "progress", training)
                told, told_at = training, time.monotonic()
            elif time.monotonic() - told_at > SILENCE_S:
                yield ": still here\n\n"
                told_at = time.monotonic()
            if is_over:
                return
            time.sleep(LOOK_EVERY_S)
    finally:
        _streams.release()


def _read(database: Database, training_id: UUID) -> dict[str, Any]:
    with open_session(database) as session:
        found: dict[str, Any] = TrainingSchema().dump(from_training(get_training(session, training_id)))
    return found


def _is_promoting(database: Database, training_id: UUID) -> bool:
    """Whether workers still load what this training has made, before it answers."""
    with open_session(database) as session:
        training = get_training(session, training_id)
        made = training.model_version_id
        return made is not None and training.model.upcoming_id == made


def _format(event: str, data: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps(data, default=str)}\n\n"
