"""A model as a folder: ``model.json``, ``weights.safetensors``, ``metrics.json`` and ``MODEL_CARD.md``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.errors import InvalidSpecError, WeightsError
from ml.kinds import build_predictor
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.weights import dump_weights, sha256_hex, verify_checksum

BUNDLED_DIRECTORY = Path(__file__).parent / "bundled"
"""The models that come with this repository, one folder each."""

CONFIG_NAME = "model.json"
WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "MODEL_CARD.md"
METRICS_NAME = "metrics.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that was read from a folder: its configuration and its weights, which match their checksum."""

    config: dict[str, Any]
    weights: bytes

    def build(self, device: str = "cpu", *, version: int = 1) -> Predictor:
        """The model ready to answer; errors as in ``ml.kinds.build_predictor``."""
        spec = ModelSpec.from_config(self.config["name"], version, self.config)
        return build_predictor(spec, self.weights, device)


def list_bundled() -> list[str]:
    """Names of the models that come with this repository."""
    return sorted(path.parent.name for path in BUNDLED_DIRECTORY.glob(f"*/{CONFIG_NAME}"))


def read_bundle(directory: Path) -> Bundle:
    """Read a model's folder and check its weights against ``sha256`` in its configuration.

    Raises:
        InvalidSpecError: The configuration is missing or no JSON object, or has no name or checksum.
        WeightsError: The weights are missing or were changed.
    """
    config = _read_config(directory / CONFIG_NAME)
    for key in ("name", "sha256"):
        if not isinstance(config.get(key), str):
            raise InvalidSpecError(key, f"is missing in {directory / CONFIG_NAME}.")
    try:
        weights = (directory / WEIGHTS_NAME).read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights at {directory / WEIGHTS_NAME} cannot be read: {error.strerror}.") from error
    verify_checksum(weights, config["sha256"])
    return Bundle(config, weights)


def write_bundle(
    directory: Path, predictor: Predictor, config: Mapping[str, Any], metrics: Mapping[str, Any], card: str
) -> None:
    """Write a trained model's folder; ``config`` gets the checksum and the metrics."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = dump_weights(predictor.module)
    (directory / WEIGHTS_NAME).write_bytes(weights)
    complete = {**config, "sha256": sha256_hex(weights), "metrics": dict(metrics)}
    _write_json(directory / CONFIG_NAME, complete)
    _write_json(directory / METRICS_NAME, metrics)
    (directory / CARD_NAME).write_text(card, encoding="utf-8")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpecError(CONFIG_NAME, f"cannot be read at {path}: {error}") from error
    if not isinstance(config, dict):
        raise InvalidSpecError(CONFIG_NAME, f"at {path} must hold an object.")
    return config


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
