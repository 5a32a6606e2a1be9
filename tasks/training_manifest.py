"""A training's manifest: what it learns from, chosen once and kept in the object store row by row."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine as Database

from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.database import open_session
from store.errors import NoTrainingDataError, StaleClaimError
from store.objects import ObjectStore
from store.tables.model_version import ModelVersion
from store.training_data import ChosenRow, choose_rows, hold_feedback
from store.training_ledger import TrainingClaim
from store.trainings import MIN_EXAMPLES

log = structlog.get_logger()

FORMAT = 1

CLASSIFICATION = "classification"

#: Numbers as labels are too many to be counted one by one.
MAX_COUNTED = 1_000

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A training before its process starts, and what it is prepared with.

    Attributes:
        claim: By which it is held.
        options: How it is trained.
        parent: The version that it begins with.
        database: Where feedback and inputs are.
        objects: Where manifests, files and weights are.
        check: Called every few steps; raises when there is nothing to prepare any more.
    """

    claim: TrainingClaim
    options: TrainingOptions
    parent: ModelVersion
    database: Database
    objects: ObjectStore
    check: Callable[[], None]


def read_manifest(preparation: Preparation) -> list[Row] | None:
    """Read the rows that an earlier attempt froze; None where there was none."""
    if preparation.claim.manifest_sha256 is None:
        return None
    lines = preparation.objects.get(preparation.claim.manifest_sha256).decode().splitlines()
    return [json.loads(line) for line in lines[1:]]


def freeze(preparation: Preparation) -> list[Row]:
    """Fix what is learned from. What was forgotten since it was chosen is not: then all is chosen anew.

    Raises:
        NoTrainingDataError: Nothing can be learned from what was selected.
        StaleClaimError: The claim moved on meanwhile.
    """
    claim, is_fixed = preparation.claim, False
    while not is_fixed:
        rows = _choose(preparation)
        digest = _store(preparation, rows)
        examples = [(UUID(row["prediction_id"]), row["revision"]) for row in rows]
        with open_session(preparation.database) as session:
            is_fixed = hold_feedback(session, [prediction_id for prediction_id, _ in examples])
            if is_fixed and not ledger.freeze(session.connection(), claim, manifest_sha256=digest, examples=examples):
                raise StaleClaimError(f"training {claim.id} is no longer ours")
    log.info("training_frozen", training_id=str(claim.id), manifest=digest, examples=len(rows))
    return rows


def leave_out(preparation: Preparation, rows: Sequence[Row], missing: Collection[UUID]) -> None:
    """Take rows whose input is gone out of the manifest and of what the training is told to have learned from.

    What is in a checkpoint was learned from, whether or not it is still there.

    Raises:
        NoTrainingDataError: Nothing can be learned from what is left.
        StaleClaimError: The claim moved on meanwhile.
    """
    claim = preparation.claim
    log.warning("training_inputs_missing", training_id=str(claim.id), count=len(missing))
    if claim.checkpoint_sha256 is not None:
        return
    kept = [row for row in rows if UUID(row["prediction_id"]) not in missing]
    digest = _store(preparation, kept)
    with preparation.database.begin() as connection:
        if not ledger.leave_out(connection, claim, manifest_sha256=digest, prediction_ids=list(missing)):
            raise StaleClaimError(f"training {claim.id} is no longer ours")
    _check_rows(preparation, kept)


def _choose(preparation: Preparation) -> list[Row]:
    rows: list[Row] = []
    with open_session(preparation.database) as session:
        for row in choose_rows(session, preparation.claim.model_id, preparation.options):
            preparation.check()
            rows.append(_manifest_row(row))
    rows.reverse()
    _check_rows(preparation, rows)
    return rows


def _store(preparation: Preparation, rows: Sequence[Row]) -> str:
    """Store the manifest of these rows; returns its digest."""
    lines = (_manifest_header(preparation, rows), *rows)
    return preparation.objects.put("".join(f"{json.dumps(line, sort_keys=True)}\n" for line in lines).encode())


def _manifest_header(preparation: Preparation, rows: Sequence[Row]) -> dict[str, Any]:
    """The first line: whatever else decides what comes of it. Equal manifests give equal weights."""
    claim, options, parent = preparation.claim, preparation.options, preparation.parent
    counts: dict[str, dict[str, int]] = {"sources": {}, "labels": {}}
    for row in rows:
        for name, value in (("sources", row["source"]), ("labels", json.dumps(row["label"]))):
            counts[name][value] = counts[name].get(value, 0) + 1
    if len(counts["labels"]) > MAX_COUNTED:
        del counts["labels"]
    return {
        "format": FORMAT,
        "model": claim.model,
        "options": options.dump(),
        "posted_sha256": claim.data_sha256,
        "parent": {"version": parent.number, "weights_sha256": parent.weights_sha256},
        "recipe": parent.config.get("recipe") if options.use_base else None,
        "rows": len(rows),
        "counts": counts,
    }


def _manifest_row(row: ChosenRow) -> dict[str, Any]:
    stored = row.input_sha256 is not None
    told = row.input_sha256 or sha256(json.dumps(row.input, sort_keys=True).encode()).hexdigest()
    return {
        "prediction_id": str(row.prediction_id),
        "revision": row.revision,
        "label": row.label,
        "source": row.source,
        "weight": row.weight,
        "input_sha256": told,
        "is_file": stored,
    }


def _check_rows(preparation: Preparation, rows: Sequence[Row]) -> None:
    if preparation.claim.data_sha256 is not None or preparation.options.use_base:
        return
    if len(rows) < MIN_EXAMPLES:
        raise NoTrainingDataError(
            f"{len(rows)} row(s) of feedback are left that can be learned from; it takes {MIN_EXAMPLES} or more"
        )
    if preparation.parent.config["kind"] == CLASSIFICATION and len({row["label"] for row in rows}) < 2:
        raise NoTrainingDataError("all feedback that was selected has the same label; there is nothing to tell apart")
