"""Finishes a segmentation: its mask goes into the object store, and its result says where it is read."""

from collections.abc import Sequence

from ml.predictor import Result
from schemas.names import mask_path
from store.ledger_rows import Claim
from store.objects import ObjectStore


class MaskFinisher:
    """Stores each mask under the SHA-256 of its bytes, so that equal masks are stored once.

    Args:
        objects: Where to.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def finish(self, claims: Sequence[Claim], results: Sequence[Result]) -> list[Result]:
        """Replace each mask's file by its hash and its URL; errors as in `tasks.finishing.Finisher.finish`."""
        return [self._finish_one(claim, result) for claim, result in zip(claims, results, strict=True)]

    def _finish_one(self, claim: Claim, result: Result) -> Result:
        told = dict(result["mask"])
        digest = self._objects.put(told.pop("file").data)
        return {**result, "mask": {"sha256": digest, "url": mask_path(str(claim.id)), **told}}
