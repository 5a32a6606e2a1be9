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


class ArchiveError(WeightsError):
    """A ``torch.export`` archive is damaged, holds what is not allowed, or cannot be read by this PyTorch."""


class DownloadError(MLError):
    """Weights that torchvision publishes could not be fetched, or are not what their name promises."""


class PluginError(MLError):
    """A module that ``TORCHQUEUE_PLUGINS`` names cannot be used."""


class UnknownArchitectureError(MLError):
    """A model names an architecture that no builder is registered for."""


class UnknownKindError(MLError):
    """A model names a kind that no predictor is registered for."""


class DatasetError(MLError):
    """A data set is not there or not readable."""


class TrainingError(MLError):
    """A training cannot start or went wrong, for example because its loss stopped being finite."""


class DivergedError(TrainingError):
    """The loss of a training stopped being finite."""


class NoDataError(TrainingError):
    """There is too little to train on: no items, or items of one class alone."""


class InvalidTargetError(MLError):
    """An example's right answer is none that the model could give."""


class EvaluationError(MLError):
    """An evaluation cannot be made with the options that were given."""


class DeviceError(MLError):
    """A device name is malformed, or this process cannot use the device."""


class DeviceLostError(DeviceError):
    """The GPU context is broken for good; only a new process can use the device again."""


class DecodeFailedError(MLError):
    """Our own code failed while decoding one item; its cause is in the log."""


class NotReachedError(MLError):
    """The turn of an item did not come before its batch had taken too long; nothing is known of it."""


class ModelLoadError(MLError):
    """A model was read but cannot compute, not even on a blank input."""


class NotLoadedError(MLError):
    """A model is asked for that the engine does not hold."""


class ModelTooLargeError(ModelLoadError):
    """A model would not fit the device's budget of memory, even alone.

    Args:
        name: What does not fit.
        size_bytes: What it takes.
        budget_bytes: What all models together may take.
    """

    def __init__(self, name: str, size_bytes: int, budget_bytes: int) -> None:
        super().__init__(name, size_bytes, budget_bytes)
        self.name = name
        self.size_bytes = size_bytes
        self.budget_bytes = budget_bytes

    def __str__(self) -> str:
        size, budget = (count / 2**20 for count in (self.size_bytes, self.budget_bytes))
        return (
            f"{self.name} takes {size:.0f} MiB and this device's budget for models is {budget:.0f} MiB. "
            "Raise TORCHQUEUE_DEVICE_MEMORY_MB or serve a smaller model."
        )


class NoRoomError(MLError):
    """Other models would have to leave the device, and may not."""


class VariantError(MLError):
    """A network cannot be run in a faster way that was tried; the original runs as before."""


class TuningInterruptedError(MLError):
    """A measurement was broken off because there is work to do; nothing was chosen."""


class LayoutError(MLError):
    """A process that is measured beside others does not load its model; the message is its last word."""
