"""How a network may be run faster, and what a model's configuration says about it. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from ml.errors import InvalidSpecError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Our short names of number formats, and torch's."""

CHANNELS_LAST = "channels_last"
FUSED = "fused"
COMPILE = "compile"
GRAPHS = "graphs"

FORBIDDABLE = ("bf16", "fp16", CHANNELS_LAST, FUSED, COMPILE, GRAPHS)
"""What a configuration may forbid; fp32 is what all else is judged by."""

TRIABLE = (COMPILE,)
"""What is only measured where the configuration asks for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way to run a network. The default is the network as it was written.

    Attributes:
        dtype: ``fp32``, ``bf16`` or ``fp16``, of weights and activations; inputs and outputs stay float32.
        channels_last: Activations lie in memory pixel by pixel instead of channel by channel.
        fused: Batch normalisations are folded into the convolutions before them.
        compile: Through ``torch.compile``.
        graphs: Each size of batch is recorded once as a CUDA graph and replayed.
    """

    dtype: str = "fp32"
    channels_last: bool = False
    fused: bool = False
    compile: bool = False
    graphs: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of what is done, ``fp32`` included: what a configuration pins and forbids."""
        return (self.dtype, *(name for name in (CHANNELS_LAST, FUSED, COMPILE, GRAPHS) if getattr(self, name)))

    @property
    def name(self) -> str:
        """For people, e.g. ``bf16 channels-last fused``."""
        return " ".join(self.parts).replace("_", "-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the engine runs a version with.

    Attributes:
        variant: How the network is run.
        batch: Most items in one forward; None for the model's ``max_batch``.
    """

    variant: Variant = Variant()
    batch: int | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            TypeError: Other code wrote it, with members that this code does not know.
            KeyError: The same, with members missing.
        """
        return cls(variant=Variant(**stored["variant"]), batch=stored["batch"])

    def to_json(self) -> dict[str, Any]:
        """As stored and as shown by the API."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TuningRules:
    """What a model's configuration says under ``tuning``.

    Attributes:
        pin: Fields of ``Variant``, and ``batch``, that are settled; the rest is measured.
        forbid: Members of ``FORBIDDABLE`` that are never used.
        attempt: Members of ``TRIABLE`` that are measured too; ``try`` in the configuration.
    """

    pin: Mapping[str, Any] = field(default_factory=dict)
    forbid: frozenset[str] = frozenset()
    attempt: frozenset[str] = frozenset()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the ``tuning`` part of a model's configuration.

        Raises:
            InvalidSpecError: Naming the field, with its ``tuning.`` prefix.
        """
        unknown = sorted(config.keys() - {"pin", "forbid", "try"})
        if unknown:
            raise InvalidSpecError(f"tuning.{unknown[0]}", "is not known; use pin, forbid or try.")
        pin = config.get("pin", {})
        if not isinstance(pin, Mapping):
            raise InvalidSpecError("tuning.pin", "must be an object.")
        rules = cls(
            pin={name: _pinned(name, value) for name, value in pin.items()},
            forbid=_names(config, "forbid", FORBIDDABLE),
            attempt=_names(config, "try", TRIABLE),
        )
        rules.check()
        return rules

    def check(self) -> None:
        """Refuse rules that contradict each other.

        Raises:
            InvalidSpecError: Something is both wanted and forbidden.
        """
        wanted = {*replace(Variant(), **self.pinned_variant).parts, *self.attempt}
        for name in sorted(wanted & self.forbid):
            raise InvalidSpecError("tuning.forbid", f"must not hold {name!r}, which pin or try asks for.")

    @property
    def pinned_variant(self) -> dict[str, Any]:
        """The pinned fields of ``Variant``."""
        return {name: value for name, value in self.pin.items() if name != "batch"}

    def narrow(self, candidates: Sequence[Variant]) -> list[Variant]:
        """What is left of candidates once the pinned fields are settled and the forbidden ones are gone, in order."""
        settled = dict.fromkeys(replace(candidate, **self.pinned_variant) for candidate in candidates)
        return [variant for variant in settled if self.forbid.isdisjoint(variant.parts)]

    def allow(self, choice: Choice) -> bool:
        """Whether a choice that was stored earlier keeps these rules."""
        batch = self.pin.get("batch", choice.batch)
        return self.narrow([choice.variant]) == [choice.variant] and batch == choice.batch


def _pinned(name: str, value: object) -> object:
    place = f"tuning.pin.{name}"
    if name == "dtype":
        if value not in DTYPES:
            raise InvalidSpecError(place, f"must be one of: {', '.join(DTYPES)}.")
    elif name == "batch":
        if type(value) is not int or value < 1:
            raise InvalidSpecError(place, "must be a whole number, 1 or more.")
    elif name in {each.name for each in fields(Variant)}:
        if not isinstance(value, bool):
            raise InvalidSpecError(place, "must be true or false.")
    else:
        known = ", ".join(["batch", *(each.name for each in fields(Variant))])
        raise InvalidSpecError(place, f"is not known; use one of: {known}.")
    return value


def _names(config: Mapping[str, Any], key: str, allowed: Sequence[str]) -> frozenset[str]:
    names = config.get(key, [])
    if not isinstance(names, list) or not all(name in allowed for name in names):
        raise InvalidSpecError(f"tuning.{key}", f"must be a list of some of: {', '.join(allowed)}.")
    return frozenset(names)
