"""What a model is, apart from its weights: read from ``model.json`` and from the model registry's ``config``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from ml.choices import TuningRules
from ml.errors import InvalidSpecError
from schemas.records import Field, InvalidFieldsError, read_fields

InputType = Literal["image", "vector", "record"]

DEFAULT_MAX_BATCH = 64
"""Items in one forward, where the configuration does not say."""

SAFETENSORS = "safetensors"
TORCH_EXPORT = "torch-export"
FORMATS = (SAFETENSORS, TORCH_EXPORT)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the network sees.

    Args:
        type: ``image``, ``vector`` or ``record`` (named values, which the network sees as a vector).
        size: Side in pixels of the square that the network sees; for a vector its length; for a record counted here.
        channels: 1 (gray) or 3 (RGB, in this order); means nothing for a vector.
        preparation: For an image, the name in ``ml.preparation`` of the way from photo to square.
        mean: Per channel, subtracted after scaling to 0..1; for a vector unused.
        std: Per channel, divided by after subtracting the mean; for a vector unused.
        fields: For a record, its named values in the order in which the network sees them.
    """

    type: InputType
    size: int
    channels: int = 3
    preparation: str = "photo"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fields: tuple[Field, ...] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "InputSpec":
        """Read the ``input`` part of a model's configuration.

        Raises:
            InvalidSpecError: Naming the field, with its ``input.`` prefix.
        """
        kind = _take(config, "type", str, "input.")
        if kind not in ("image", "vector", "record"):
            raise InvalidSpecError("input.type", "must be 'image', 'vector' or 'record'.")
        if kind == "record":
            fields = _record_fields(config)
            return cls(type="record", size=len(fields), fields=fields)
        channels = _positive(config, "channels", "input.", default=3)
        if channels not in (1, 3):
            raise InvalidSpecError("input.channels", "must be 1 or 3.")
        return cls(
            type=cast("InputType", kind),
            size=_positive(config, "size", "input."),
            channels=channels,
            preparation=_take(config, "preparation", str, "input.", default="photo"),
            mean=_channel_values(config, "mean", channels, default=0.0),
            std=_channel_values(config, "std", channels, default=1.0),
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One version of one model.

    Args:
        name: The model's name in the registry.
        version: Its version, from 1.
        kind: Name in ``ml.kinds``.
        arch: Name in ``ml.architectures.registry``.
        arch_options: What that architecture's builder takes.
        input: What the network sees.
        labels: Class names in the order of the network's outputs.
        kind_options: What that kind's predictor takes.
        max_batch: Most items in one forward.
        format: What the weights' file is: ``safetensors``, or ``torch-export``, which brings its own architecture.
        max_batch_cost: Most bytes of files in one claim, so that a batch of the largest photos neither fills the memory
            nor keeps the device waiting for its decoding; one item is always taken. None: the worker's own bound.
        samples: Real inputs as they are sent, such as lists of numbers; tuning judges by them while none are stored.
        tuning: What the configuration pins and forbids when the engine tunes itself.
    """

    name: str
    version: int
    kind: str
    arch: str
    input: InputSpec
    labels: tuple[str, ...] = ()
    arch_options: dict[str, Any] = field(default_factory=dict)
    kind_options: dict[str, Any] = field(default_factory=dict)
    max_batch: int = DEFAULT_MAX_BATCH
    format: str = SAFETENSORS
    max_batch_cost: int | None = None
    samples: tuple[Any, ...] = ()
    tuning: TuningRules = field(default_factory=TuningRules)

    @classmethod
    def from_config(cls, name: str, version: int, config: Mapping[str, Any]) -> "ModelSpec":
        """Read the JSON dictionary of ``model.json``; keys that it does not know are left alone.

        Raises:
            InvalidSpecError: A field is missing or wrong; the error names it.
        """
        file_format = _take(config, "format", str, default=SAFETENSORS)
        if file_format not in FORMATS:
            raise InvalidSpecError("format", f"must be one of: {', '.join(FORMATS)}.")
        return cls(
            name=name,
            version=version,
            kind=_take(config, "kind", str),
            arch=_take(config, "arch", str, default="" if file_format == TORCH_EXPORT else None),
            arch_options=dict(_take(config, "arch_options", Mapping, default={})),
            input=InputSpec.from_config(_take(config, "input", Mapping)),
            labels=_labels(config),
            kind_options=dict(_take(config, "kind_options", Mapping, default={})),
            max_batch=_positive(config, "max_batch", default=DEFAULT_MAX_BATCH),
            format=file_format,
            max_batch_cost=_positive(config, "max_batch_cost") if "max_batch_cost" in config else None,
            samples=tuple(_take(config, "samples", list, default=[])),
            tuning=TuningRules.from_config(_take(config, "tuning", Mapping, default={})),
        )


_TYPE_NAMES = {str: "a string", int: "a whole number", Mapping: "an object", list: "a list"}


def _take(config: Mapping[str, Any], key: str, kind: Any, prefix: str = "", *, default: Any = None) -> Any:
    value = config.get(key, default)
    if value is None:
        raise InvalidSpecError(prefix + key, "is missing.")
    # bool is a kind of int in Python, but never what a configuration means by a number.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidSpecError(prefix + key, f"must be {_TYPE_NAMES[kind]}.")
    return value


def _positive(config: Mapping[str, Any], key: str, prefix: str = "", *, default: int | None = None) -> int:
    value = cast("int", _take(config, key, int, prefix, default=default))
    if value < 1:
        raise InvalidSpecError(prefix + key, "must be 1 or more.")
    return value


def _channel_values(config: Mapping[str, Any], key: str, channels: int, *, default: float) -> tuple[float, ...]:
    values = config.get(key, [default] * channels)
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not numbers or len(values) != channels:
        raise InvalidSpecError(f"input.{key}", f"must be a list of {channels} number(s), one a channel.")
    if key == "std" and min(values) <= 0:
        raise InvalidSpecError("input.std", "must be above 0.")
    return tuple(float(value) for value in values)


def _record_fields(config: Mapping[str, Any]) -> tuple[Field, ...]:
    try:
        return read_fields(config.get("fields"))
    except InvalidFieldsError as error:
        raise InvalidSpecError(f"input.{error.field}", error.detail) from error


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    labels = _take(config, "labels", list, default=[])
    if not all(isinstance(label, str) for label in labels):
        raise InvalidSpecError("labels", "must be a list of strings.")
    if len(set(labels)) != len(labels):
        raise InvalidSpecError("labels", "must not repeat a label.")
    return tuple(labels)
