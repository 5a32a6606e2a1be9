"""A model that somebody brings: read, completed and tried, so that what is registered can answer.

Needs torch, knows no database: a command and a worker may both use it, and register what comes out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ml.architectures.torchvision_classifiers import CHANNELS, DEFAULT_SIZE, IMAGENET_MEAN, IMAGENET_STD
from ml.errors import InvalidSpecError
from ml.kinds import build_predictor, find_kind
from ml.predictor import Payload, Predictor, Result
from ml.spec import SAFETENSORS, TORCH_EXPORT, ModelSpec
from ml.trial import try_model
from ml.weights import is_archive, refuse_pickle, verify_checksum

DEFAULT_KIND = "classification"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
"""Goes into URLs, file names and queries as it is."""

_ABOUT_THE_FILE = ("name", "sha256", "metrics", "description")
"""What a folder's configuration says that belongs beside it in the registry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model that has answered.

    Attributes:
        name: What clients will call it.
        config: Complete, as ``ModelSpec.from_config`` reads it.
        weights: The bytes of its file.
        metrics: What was measured before, by whoever trained it.
        description: A sentence for people.
        notices: What is unusual about it, in sentences.
        answer: Its result for the sample, or for a blank item.
    """

    name: str
    config: dict[str, Any]
    weights: bytes
    metrics: dict[str, Any]
    description: str
    notices: tuple[str, ...]
    answer: Result

    @property
    def kind(self) -> str:
        """Name in ``ml.kinds``."""
        kind: str = self.config["kind"]
        return kind


def check_candidate(config: Mapping[str, Any], weights: bytes, sample: Payload | None = None) -> Candidate:
    """Check a configuration and a file against each other, and try the model they make.

    Args:
        config: As ``model.json``; what follows from the file or the architecture may be left out.
        weights: Safetensors, or a ``torch.export`` archive.
        sample: An input as a client would send it.

    Raises:
        InvalidSpecError: The configuration lacks something or contradicts the file.
        WeightsError: The file cannot be used.
        InvalidInputError: The sample cannot be used.
        ModelLoadError: The model cannot answer.
        MLError: Otherwise as ``ml.kinds.build_predictor``.
    """
    name = _check_name(config)
    if isinstance(config.get("sha256"), str):
        verify_checksum(weights, config["sha256"])
    complete = _complete({key: value for key, value in config.items() if key not in _ABOUT_THE_FILE})
    notices: list[str] = []
    if is_archive(weights):
        predictor = _open_archive(name, complete, weights, notices)
    else:
        predictor = _open_safetensors(name, complete, weights)
    image = predictor.spec.input.type == "image"
    if image and not {"mean", "std"} & complete["input"].keys():
        notices.append("input.mean and input.std are not given: the network gets pixels as 0..1.")
    answer = try_model(predictor, None if sample is None else predictor.decode(sample))
    return Candidate(
        name=name,
        config=complete,
        weights=weights,
        metrics=dict(config.get("metrics") or {}),
        description=str(config.get("description") or ""),
        notices=tuple(notices),
        answer=answer,
    )


def _check_name(config: Mapping[str, Any]) -> str:
    name = config.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidSpecError("name", "must be 1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit.")
    return name


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the architecture says."""
    complete = {"kind": DEFAULT_KIND, **config}
    arch, given = complete.get("arch"), complete.get("input") or {}
    if isinstance(arch, str) and arch.startswith("torchvision:") and isinstance(given, Mapping):
        complete["input"] = {
            "type": "image",
            "size": DEFAULT_SIZE,
            "channels": CHANNELS,
            "preparation": "photo",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            **given,
        }
    return complete


def _open_safetensors(name: str, complete: dict[str, Any], weights: bytes) -> Predictor:
    refuse_pickle(weights)
    if complete.get("format", SAFETENSORS) != SAFETENSORS:
        raise InvalidSpecError("format", f"is {complete['format']!r}, but the file is no torch.export archive.")
    if "arch" not in complete:
        raise InvalidSpecError(
            "arch", "is missing: safetensors hold weights only. Name one, e.g. torchvision:resnet18."
        )
    return build_predictor(ModelSpec.from_config(name, 1, complete), weights, "cpu")


def _open_archive(name: str, complete: dict[str, Any], weights: bytes, notices: list[str]) -> Predictor:
    # See ml.kinds.
    from ml.archives.exported import load_exported

    if "arch" in complete:
        raise InvalidSpecError("arch", "must be left out: a torch.export archive brings its own.")
    complete["format"] = TORCH_EXPORT
    module = load_exported(weights)
    complete["input"] = {**_input_of(module.item_shape), **dict(complete.get("input") or {})}
    spec = ModelSpec.from_config(name, 1, complete)
    if module.min_batch > 1:
        notices.append(
            f"The program computes {module.min_batch} items or more at a time, fewer are filled up with zeros. "
            "Export it with dynamic_shapes for the batch to compute as many as there are."
        )
    if module.max_batch is not None and module.max_batch < spec.max_batch:
        complete["max_batch"] = module.max_batch
        notices.append(f"The program takes {module.max_batch} items at most, so max_batch is {module.max_batch}.")
        spec = ModelSpec.from_config(name, 1, complete)
    return find_kind(spec.kind)(spec, module.eval(), torch.device("cpu"))


def _input_of(item_shape: tuple[int, ...]) -> dict[str, Any]:
    """What a program's input says about the model's: a square picture, or a vector."""
    match item_shape:
        case (channels, height, width) if height == width:
            return {"type": "image", "size": height, "channels": channels}
        case (length,):
            return {"type": "vector", "size": length}
    return {}
