"""What a kind does with its network's outputs beyond the network: look neighbours up, store a mask.

It runs on the worker, between the forward and the commit, in the thread that commits, so that the device goes on
with the next batch meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine as Database

from ml.predictor import Result
from store.ledger_rows import Claim
from store.objects import ObjectStore
from tasks.masks import MaskFinisher
from tasks.neighbours import NeighbourFinisher


class Finisher(Protocol):
    """Turns the results of a batch of one model version into what its clients read."""

    def finish(self, claims: Sequence[Claim], results: Sequence[Result]) -> list[Result]:
        """Finish results, in the order of their claims.

        Raises:
            DBAPIError: Postgres is away or refuses; tried again while it is away.
            ObjectsUnavailableError: The object store is away; tried again.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishContext:
    """What a finisher works with.

    Attributes:
        database: Durable; may be used from one thread at a time.
        objects: For files that a result points at.
    """

    database: Database
    objects: ObjectStore


#: By kind; a kind that is not here answers with what its network said.
FINISHERS: Mapping[str, Callable[[FinishContext], Finisher]] = {
    "similarity": lambda context: NeighbourFinisher(context.database),
    "segmentation": lambda context: MaskFinisher(context.objects),
}


class Finishers:
    """The finishers of one process, made when first needed. Used by one thread at a time.

    Args:
        context: What they work with.
    """

    def __init__(self, context: FinishContext) -> None:
        self._context = context
        self._made: dict[str, Finisher] = {}

    @staticmethod
    def has_finisher(kind: str) -> bool:
        """Whether a kind does anything with its results."""
        return kind in FINISHERS

    def finish(self, kind: str, claims: Sequence[Claim], results: Sequence[Result]) -> list[Result]:
        """Finish the results of a batch; errors as in `Finisher.finish`."""
        make = FINISHERS.get(kind)
        if make is None or not results:
            return list(results)
        if kind not in self._made:
            self._made[kind] = make(self._context)
        return self._made[kind].finish(claims, results)
