"""Everything that `tasks` raises on purpose."""


class TaskError(Exception):
    """Base of all errors of this package."""


class ModelUnavailableError(TaskError):
    """Raised when a version cannot be loaded on this device; the message says why."""


class TrainingFailedError(TaskError):
    """Raised when a training's process ended with an error; the message is its last line."""


class TrainingTimeLimitError(TaskError):
    """Raised when the time limit of a training is over while it is prepared or runs."""


class TrainingStoppedError(TaskError):
    """Raised when a worker is to end while it prepares or runs a training."""
