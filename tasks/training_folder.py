"""What a training's process finds in its folder: the job, weights to go on from, and the examples of its manifest."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine as Database

from schemas.enums import TrainingStart
from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.database import open_session
from store.errors import NoTrainingDataError, ObjectMissingError, StaleClaimError
from store.models import get_version_by_id
from store.objects import ObjectStore
from store.tables.model_version import ModelVersion
from store.training_data import ChosenRow, choose_rows, hold_feedback, read_inputs
from store.training_ledger import TrainingClaim
from store.trainings import MIN_EXAMPLES

log = structlog.get_logger()

FORMAT = 1

#: Inputs read by one statement.
PAGE = 1_000

#: As `ml.job` reads them, which this process must not import: it would load torch.
JOB_NAME = "job.json"
WEIGHTS_NAME = "weights.safetensors"
POSTED_NAME = "posted.safetensors"
EXAMPLES_NAME = "examples.ndjson"
INPUTS_NAME = "inputs"
CHECKPOINT_NAME = "checkpoint.pt"

CLASSIFICATION = "classification"

#: Numbers as labels are too many to be counted one by one.
MAX_COUNTED = 1_000


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and with what a training computes.

    Attributes:
        device: `cpu` or `cuda`.
        threads: CPU threads inside one operation.
        plugins: See `ml.plugins`.
    """

    device: str
    threads: int
    plugins: Sequence[str] = ()


def prepare_folder(
    folder: Path, claim: TrainingClaim, *, database: Database, objects: ObjectStore, place: Place
) -> None:
    """Lay everything out that the process needs, and freeze what it learns from when it starts for the first time.

    Raises:
        NoTrainingDataError: Nothing can be learned from what was selected.
        StaleClaimError: The claim moved on meanwhile.
        ObjectMissingError: The weights to go on from are gone.
    """
    options = TrainingOptions.load(claim.options)
    assert claim.parent_version_id is not None, "every training has a version to take its configuration from"
    with open_session(database) as session:
        parent = get_version_by_id(session, claim.parent_version_id)
    manifest = _read_manifest(claim, objects)
    if manifest is None:
        manifest = _freeze(claim, options, parent, database, objects)
    if claim.data_sha256 is not None:
        (folder / POSTED_NAME).write_bytes(objects.get(claim.data_sha256))
    elif manifest:
        _write_examples(folder, manifest, options.feedback_weight, database, objects)
    if options.start is TrainingStart.CHAMPION:
        (folder / WEIGHTS_NAME).write_bytes(objects.get(parent.weights_sha256))
    if claim.checkpoint_sha256 is not None:
        (folder / CHECKPOINT_NAME).write_bytes(objects.get(claim.checkpoint_sha256))
    (folder / JOB_NAME).write_text(json.dumps(_describe_job(claim, options, parent, place)), encoding="utf-8")


def _describe_job(claim: TrainingClaim, options: TrainingOptions, parent: ModelVersion, place: Place) -> dict[str, Any]:
    # Posted data are another problem than the recipe's own: neither its data nor its measurements fit them.
    recipe = None if claim.data_sha256 is not None else parent.config.get("recipe")
    keeps_config = recipe is None or options.start is TrainingStart.CHAMPION
    return {
        "recipe": recipe,
        "config": parent.config if keeps_config else None,
        "threads": place.threads,
        "device": place.device,
        "plugins": list(place.plugins),
        "options": {
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "learning_rate": options.learning_rate,
            "seed": options.seed,
            "limit": options.limit,
            "use_base": options.use_base,
        },
    }


def _read_manifest(claim: TrainingClaim, objects: ObjectStore) -> list[dict[str, Any]] | None:
    """Rows of the manifest that an earlier attempt froze."""
    if claim.manifest_sha256 is None:
        return None
    lines = objects.get(claim.manifest_sha256).decode().splitlines()
    return [json.loads(line) for line in lines[1:]]


def _freeze(
    claim: TrainingClaim, options: TrainingOptions, parent: ModelVersion, database: Database, objects: ObjectStore
) -> list[dict[str, Any]]:
    """Fix what is learned from. What was forgotten since it was chosen is not: then all is chosen anew."""
    is_fixed = False
    while not is_fixed:
        rows, digest = _choose(claim, options, parent, database, objects)
        examples = [(UUID(row["prediction_id"]), row["revision"]) for row in rows]
        with open_session(database) as session:
            is_fixed = hold_feedback(session, [prediction_id for prediction_id, _ in examples])
            if is_fixed and not ledger.freeze(session.connection(), claim, manifest_sha256=digest, examples=examples):
                raise StaleClaimError(f"training {claim.id} is no longer ours")
    log.info("training_frozen", training_id=str(claim.id), manifest=digest, examples=len(rows))
    return rows


def _choose(
    claim: TrainingClaim, options: TrainingOptions, parent: ModelVersion, database: Database, objects: ObjectStore
) -> tuple[list[dict[str, Any]], str]:
    """Choose rows and store their manifest; returns its digest too."""
    with open_session(database) as session:
        rows = [_manifest_row(row) for row in choose_rows(session, claim.model_id, options)]
    rows.reverse()
    if claim.data_sha256 is None and not options.use_base:
        _check_rows(rows, classes=parent.config["kind"] == CLASSIFICATION)
    header = _manifest_header(claim, options, parent, rows)
    manifest = "".join(f"{json.dumps(line, sort_keys=True)}\n" for line in (header, *rows)).encode()
    return rows, objects.put(manifest)


def _manifest_header(
    claim: TrainingClaim, options: TrainingOptions, parent: ModelVersion, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The first line: whatever else decides what comes of it. Equal manifests give equal weights."""
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


def _check_rows(rows: Sequence[Mapping[str, Any]], *, classes: bool) -> None:
    if len(rows) < MIN_EXAMPLES:
        raise NoTrainingDataError(
            f"{len(rows)} row(s) of feedback are left after the holdout; it takes {MIN_EXAMPLES} or more"
        )
    if classes and len({row["label"] for row in rows}) < 2:
        raise NoTrainingDataError("all feedback that was selected has the same label; there is nothing to tell apart")


def _write_examples(
    folder: Path,
    manifest: Sequence[Mapping[str, Any]],
    factor: float,
    database: Database,
    objects: ObjectStore,
) -> None:
    (folder / INPUTS_NAME).mkdir()
    missing = 0
    with (folder / EXAMPLES_NAME).open("w", encoding="utf-8") as lines:
        for row, found in _with_inputs(manifest, database):
            example = {"label": row["label"], "weight": row["weight"] * factor}
            if row["is_file"] and _fetch(objects, row["input_sha256"], folder / INPUTS_NAME):
                example["file"] = row["input_sha256"]
            elif found is not None:
                example["input"] = found
            else:
                missing += 1
                continue
            lines.write(json.dumps(example) + "\n")
    if missing:
        # Forgotten, or past their retention, since the manifest was made.
        log.warning("training_inputs_missing", count=missing)


def _with_inputs(manifest: Sequence[Mapping[str, Any]], database: Database) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Each row with its JSON input; None for files, and for what is gone."""
    for start in range(0, len(manifest), PAGE):
        page = manifest[start : start + PAGE]
        ids = [UUID(row["prediction_id"]) for row in page if not row["is_file"]]
        with open_session(database) as session:
            inputs = read_inputs(session, ids)
        for row in page:
            yield row, inputs.get(UUID(row["prediction_id"]))


def _fetch(objects: ObjectStore, digest: str, folder: Path) -> bool:
    try:
        (folder / digest).write_bytes(objects.get(digest))
    except ObjectMissingError:
        return False
    return True
