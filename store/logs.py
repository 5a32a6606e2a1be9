"""One JSON object a line on standard error: a static event name and fields, ids bound once."""

import logging
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from store.redaction import redact, redact_process


def configure_logging(level: str, process: str) -> None:
    """Set up structlog for this process, and keep secrets out of all that it logs.

    Args:
        level: Name of the least level that is written, e.g. `INFO`.
        process: Bound to every line as `process`, e.g. `web` or `cpu-0`.
    """
    redact_process()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            _redact_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _UnfailingFile(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


class _UnfailingFile:
    """A file that drops what its disk has no room for: a line that cannot be written must end no thread.

    Args:
        file: Where lines go.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write, if there is room."""
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Flush, if there is room."""
        with suppress(OSError):
            self._file.flush()


def _redact_line(_logger: Any, _method: str, line: Any) -> str:
    """Last, so that no field of any event is left out; what comes is text by then."""
    return redact(line)
