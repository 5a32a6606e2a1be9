"""The gate: a trained version must prove itself against the champion before it takes traffic."""

from uuid import UUID

import structlog
from sqlalchemy import Engine as Database

from schemas.enums import GateOutcome
from store.objects import ObjectStore

log = structlog.get_logger()


def judge(
    *, database: Database, objects: ObjectStore, model: str, version: int, training_id: UUID | None = None
) -> GateOutcome:
    """Compare a version with its model's champion, store the verdict, and do what the model's policy says.

    Blocks for as long as the comparison takes, which runs in a process of its own; the caller loads no torch. Never
    raises for what is wrong with the candidate: that is a verdict. A version that was judged already keeps its verdict.

    Args:
        database: Where versions, feedback and verdicts are.
        objects: Where weights and inputs are.
        model: Name of the model.
        version: Number of the candidate, registered and neither champion nor archived.
        training_id: The training that made it, whose examples are no evidence.

    Returns:
        What became of the candidate.

    Raises:
        UnknownModelError: There is no such model.
        UnknownVersionError: The model has no such version.
    """
    raise NotImplementedError
