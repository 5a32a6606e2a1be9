"""Training in a process of its own, so that its memory comes back and killing it harms nobody."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import structlog
from celery import Celery
from sqlalchemy import Engine as Database

from schemas.messages import TrainModel
from schemas.names import TaskName
from store.database import open_session
from store.models import register_version
from store.objects import ObjectStore
from tasks.errors import TrainingFailedError

log = structlog.get_logger()

# Inference on the same machine has the right of way.
NICENESS = 10


def train(message: TrainModel, *, database: Database, objects: ObjectStore) -> int:
    """Train a model with its recipe and register the result. It answers only after it was promoted.

    Returns:
        The number of the new version.

    Raises:
        TrainingFailedError: The training's process ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="torchqueue-training-") as folder:
        out = Path(folder)
        _run_recipe(message, out)
        config = json.loads((out / "model.json").read_text())
        metrics = json.loads((out / "metrics.json").read_text())
        weights = (out / "weights.safetensors").read_bytes()
    digest = objects.put(weights)
    with open_session(database) as session:
        version = register_version(
            session,
            name=message.model,
            kind=config["kind"],
            config=config,
            weights_sha256=digest,
            weights_bytes=len(weights),
            metrics=metrics,
            source="trained",
        )
        number = version.number
    log.info("model_trained", model=message.model, version=number)
    return number


def register(app: Celery, database: Database, objects: ObjectStore) -> None:
    """Register the training task."""

    @app.task(name=TaskName.TRAIN_MODEL, shared=False)
    def train_model(*, model: str, seed: int, epochs: int | None) -> None:
        """Train a model from nothing and register it as a new version."""
        train(TrainModel(model=model, seed=seed, epochs=epochs), database=database, objects=objects)


def _run_recipe(message: TrainModel, out: Path) -> None:
    command = ["nice", f"-n{NICENESS}", sys.executable, "-m", "ml.train", message.model]
    command += ["--out", str(out), "--seed", str(message.seed)]
    if message.epochs is not None:
        command += ["--epochs", str(message.epochs)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        last_line = finished.stderr.strip().rpartition("\n")[2]
        raise TrainingFailedError(f"training {message.model} failed: {last_line}")
