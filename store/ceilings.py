"""Batch ceilings: what one worker found out about its device's memory, kept for the next."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.tables.batch_ceiling import BatchCeiling


@dataclass(frozen=True, slots=True)
class KnownCeiling:
    """Most items in one forward, and how often memory ran short before that was known."""

    items: int
    failures: int


def known_ceilings(session: Session, model_version_id: int, device_kind: str) -> Mapping[str, KnownCeiling]:
    """Read what is known of a version on a kind of device, by the shape of an item."""
    found = session.scalars(
        select(BatchCeiling).where(
            BatchCeiling.model_version_id == model_version_id, BatchCeiling.device_kind == device_kind
        )
    )
    return {row.shape: KnownCeiling(row.items, row.failures) for row in found}


def remember_ceiling(
    session: Session, *, model_version_id: int, device_kind: str, shape: str, items: int, failures: int
) -> None:
    """Write down what was found out, in place of what was known.

    Of two workers on such devices the last one is believed: memory that another process held is no lasting truth.
    """
    key = {"model_version_id": model_version_id, "device_kind": device_kind, "shape": shape}
    learned = {"items": items, "failures": failures, "updated_at": func.now()}
    statement = insert(BatchCeiling).values(**key, **learned)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=learned))
