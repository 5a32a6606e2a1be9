"""What a training's process finds in its folder: the job, weights to go on from, and the examples of its manifest."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine as Database

from schemas.enums import TrainingStart
from schemas.training_options import TrainingOptions
from store.database import open_session
from store.errors import ObjectMissingError
from store.models import get_version_by_id
from store.objects import ObjectStore
from store.training_data import read_inputs
from store.training_ledger import TrainingClaim
from tasks.training_manifest import Preparation, Row, freeze, leave_out, read_manifest

#: Inputs read by one statement.
PAGE = 1_000

#: As `ml.job` reads them, which this process must not import: it would load torch.
JOB_NAME = "job.json"
WEIGHTS_NAME = "weights.safetensors"
POSTED_NAME = "posted.safetensors"
EXAMPLES_NAME = "examples.ndjson"
INPUTS_NAME = "inputs"
CHECKPOINT_NAME = "checkpoint.pt"


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
    folder: Path,
    claim: TrainingClaim,
    *,
    database: Database,
    objects: ObjectStore,
    place: Place,
    check: Callable[[], None],
) -> None:
    """Lay everything out that the process needs, and freeze what it learns from when it starts for the first time.

    Args:
        folder: Empty.
        claim: Of the training.
        database: Where feedback and inputs are.
        objects: Where files and weights are.
        place: What it computes with.
        check: Called before each file and every few rows: there may be very many. Raises when the training ended
            meanwhile; what it raises is passed on.

    Raises:
        NoTrainingDataError: Nothing can be learned from what was selected.
        StaleClaimError: The claim moved on meanwhile.
        ObjectMissingError: The weights to go on from are gone.
    """
    options = TrainingOptions.load(claim.options)
    assert claim.parent_version_id is not None, "every training has a version to take its configuration from"
    with open_session(database) as session:
        parent = get_version_by_id(session, claim.parent_version_id)
    preparation = Preparation(
        claim=claim, options=options, parent=parent, database=database, objects=objects, check=check
    )
    manifest = read_manifest(preparation)
    if manifest is None:
        manifest = freeze(preparation)
    if claim.data_sha256 is not None:
        (folder / POSTED_NAME).write_bytes(objects.get(claim.data_sha256))
    elif manifest:
        missing = _write_examples(folder, manifest, preparation)
        if missing:
            leave_out(preparation, manifest, missing)
    if options.start is TrainingStart.CHAMPION:
        (folder / WEIGHTS_NAME).write_bytes(objects.get(parent.weights_sha256))
    if claim.checkpoint_sha256 is not None:
        (folder / CHECKPOINT_NAME).write_bytes(objects.get(claim.checkpoint_sha256))
    (folder / JOB_NAME).write_text(json.dumps(_describe_job(preparation, place)), encoding="utf-8")


def _describe_job(preparation: Preparation, place: Place) -> dict[str, Any]:
    claim, options, parent = preparation.claim, preparation.options, preparation.parent
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


def _write_examples(folder: Path, manifest: Sequence[Row], preparation: Preparation) -> set[UUID]:
    """Write what the process learns from.

    Returns:
        Predictions of the manifest whose input is gone: forgotten, or past its retention, since they were chosen.
    """
    (folder / INPUTS_NAME).mkdir()
    missing: set[UUID] = set()
    with (folder / EXAMPLES_NAME).open("w", encoding="utf-8") as lines:
        for row, found in _with_inputs(manifest, preparation.database):
            preparation.check()
            example = {"label": row["label"], "weight": row["weight"] * preparation.options.feedback_weight}
            if row["is_file"] and _fetch(preparation.objects, row["input_sha256"], folder / INPUTS_NAME):
                example["file"] = row["input_sha256"]
            elif found is not None:
                example["input"] = found
            else:
                missing.add(UUID(row["prediction_id"]))
                continue
            lines.write(json.dumps(example) + "\n")
    return missing


def _with_inputs(manifest: Sequence[Row], database: Database) -> Iterator[tuple[Row, Any]]:
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
