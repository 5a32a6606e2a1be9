"""A model that was checked, brought into the registry."""

from sqlalchemy import Engine as Database

from ml.candidate import Candidate
from store.database import open_session
from store.decisions import COMMAND_ACTOR
from store.models import check_kind, register_version
from store.objects import ObjectStore
from store.promotion import promote

SOURCE = "imported"


def register_candidate(
    candidate: Candidate, *, database: Database, objects: ObjectStore, promoted: bool = False
) -> int:
    """Store a model's file and register it as the next version of its name.

    Args:
        candidate: What `ml.candidate.check_candidate` gave.
        database: Of the registry.
        objects: Where the file goes.
        promoted: Whether it answers from now on when a request names no version.

    Returns:
        The number of the version.

    Raises:
        KindMismatchError: The name belongs to a model of another kind; nothing was stored.
        ObjectsUnavailableError: The object store does not answer; nothing was registered.
    """
    with open_session(database) as session:
        check_kind(session, candidate.name, candidate.kind)
        version = register_version(
            session,
            name=candidate.name,
            kind=candidate.kind,
            config=candidate.config,
            # Before the row is seen by anybody: a version whose file is missing could not be loaded.
            weights_sha256=objects.put(candidate.weights),
            weights_bytes=len(candidate.weights),
            metrics=candidate.metrics,
            source=SOURCE,
            description=candidate.description,
        )
        if promoted:
            promote(
                session,
                name=candidate.name,
                number=version.number,
                actor=COMMAND_ACTOR,
                reason="promoted as it was imported",
            )
        return version.number
