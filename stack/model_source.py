"""What `torchqueue models import` was given, as one configuration and one file. Needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.errors import ModelSourceError

CONFIG_NAME = "model.json"
WEIGHTS_NAMES = ("weights.safetensors", "model.pt2")

JSON_SUFFIX = ".json"

INPUT_KEYS = ("type", "size", "channels", "preparation", "mean", "std")
"""Options that belong into the configuration's `input`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a model comes from: what of it was given.

    Attributes:
        path: A file of weights or a folder; None when the weights are published by torchvision.
        config: A `model.json` to start from.
        labels: A file with a label a line, or a JSON list.
        changes: What the options say; None leaves what the configuration has.
        options: Of the architecture, each `name=value` with JSON as the value.
    """

    path: Path | None
    config: Path | None = None
    labels: Path | None = None
    changes: Mapping[str, Any]
    options: tuple[str, ...] = ()

    def read_config(self) -> dict[str, Any]:
        """Read and complete the configuration.

        Raises:
            ModelSourceError: A file cannot be read, or an option is malformed.
        """
        config = _read_object(self._config_path) if self._config_path is not None else {}
        given = {name: value for name, value in self.changes.items() if value is not None}
        config |= {name: value for name, value in given.items() if name not in INPUT_KEYS}
        inputs = {name: given[name] for name in INPUT_KEYS if name in given}
        if inputs:
            config["input"] = {**(config.get("input") or {}), **inputs}
        if self.options:
            config["arch_options"] = {**(config.get("arch_options") or {}), **dict(map(_read_option, self.options))}
        if self.labels is not None:
            config["labels"] = read_labels(self.labels)
        return config

    def read_weights(self) -> bytes:
        """Read the file, or the one in the folder.

        Raises:
            ModelSourceError: It is not there.
        """
        assert self.path is not None
        path = self.path
        if path.is_dir():
            found = [path / name for name in WEIGHTS_NAMES if (path / name).exists()]
            if len(found) != 1:
                raise ModelSourceError(f"{path} must hold one of {' and '.join(WEIGHTS_NAMES)}; it holds {len(found)}")
            path = found[0]
        return _read(path)

    @property
    def _config_path(self) -> Path | None:
        if self.config is None and self.path is not None and self.path.is_dir():
            return self.path / CONFIG_NAME
        return self.config


def read_labels(path: Path) -> list[str]:
    """Read a JSON list, or a label a line; the order is that of the network's outputs.

    Raises:
        ModelSourceError: It cannot be read, or is empty.
    """
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelSourceError(f"{path} is no text in UTF-8") from error
    if text.lstrip()[:1] in ("[", "{"):
        labels = _parse(text, path)
    else:
        labels = [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ModelSourceError(f"{path} must hold a label a line, or a JSON list of strings")
    return labels


def read_sample(path: Path) -> Any:
    """Read an input as a client would send it: what JSON holds (under `input` or bare), or the bytes of a picture.

    Raises:
        ModelSourceError: It cannot be read.
    """
    data = _read(path)
    if path.suffix.lower() != JSON_SUFFIX:
        return data
    content = _parse(data, path)
    return content["input"] if isinstance(content, dict) and "input" in content else content


def _read_object(path: Path) -> dict[str, Any]:
    content = _parse(_read(path), path)
    if not isinstance(content, dict):
        raise ModelSourceError(f"{path} must hold a JSON object")
    return content


def _read_option(option: str) -> tuple[str, Any]:
    name, equals, value = option.partition("=")
    if not equals or not name:
        raise ModelSourceError(f"--arch-option must be name=value, not {option!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        # A word without quotes is what people type.
        return name, value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelSourceError(f"{path} cannot be read: {error.strerror}") from error


def _parse(text: str | bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelSourceError(f"{path} is no JSON: {error}") from error
