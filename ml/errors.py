"""The errors of this room. None knows about HTTP; the callers map them."""


class MLError(Exception):
    """Base of every error raised on purpose in ``ml``."""


class InvalidInputError(MLError):
    """One item of a request cannot be used: undecodable, of the wrong shape, too small, too large or not finite.

    Args:
        field: Name of the part of the request that is at fault, such as ``input``.
        detail: A plain sentence for the person who sent it.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field, detail)
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}"


class InvalidSpecError(MLError):
    """The configuration of a model is missing a field, or a field has a wrong type or value.

    Args:
        field: Dotted name of the field, such as ``input.size``.
        detail: What it must be.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field, detail)
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}"


class NonFiniteOutputError(MLError):
    """The network answered NaN or infinity for an item, so there is no result to give."""


class WeightsError(MLError):
    """Weights are not safetensors, fail their checksum, or do not fit the architecture."""


class UnknownArchitectureError(MLError):
    """A model names an architecture that no builder is registered for."""


class UnknownKindError(MLError):
    """A model names a kind that no predictor is registered for."""


class DatasetError(MLError):
    """A data set is not there or not readable."""


class TrainingError(MLError):
    """A training cannot start or went wrong, for example because its loss stopped being finite."""


class DeviceError(MLError):
    """A device name is malformed, or this process cannot use the device."""


class DeviceLostError(DeviceError):
    """The GPU context is broken for good; only a new process can use the device again."""


class DecodeFailedError(MLError):
    """Our own code failed while decoding one item; its cause is in the log."""


class ModelLoadError(MLError):
    """A model was read but cannot compute, not even on a blank input."""


class NotLoadedError(MLError):
    """A model is asked for that the engine does not hold."""


class VariantError(MLError):
    """A network cannot be run in a faster way that was tried; the original runs as before."""


class TuningInterruptedError(MLError):
    """A measurement was broken off because there is work to do; nothing was chosen."""
