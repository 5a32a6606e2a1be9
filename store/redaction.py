"""Keeping secrets out of logs: whatever is about to be written loses what must not be read.

Nothing of ours logs a secret on purpose. This is for the message of an exception that quotes an address with its
password, and for whatever libraries say of requests.
"""

import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

REDACTED = "[redacted]"

#: What a secret looks like, and what is left of it: enough to tell which one it was.
SECRETS = (
    # An API key, whole, or cut off anywhere after its secret began.
    (re.compile(r"(?<![A-Za-z0-9])(tq_[0-9A-Za-z]{10}_)[0-9A-Za-z_]{8,}"), rf"\1{REDACTED}"),
    # The secret of a webhook.
    (re.compile(r"(?<![A-Za-z0-9])(whsec_)[A-Za-z0-9+/=_-]{8,}"), rf"\1{REDACTED}"),
    # A header, as it stands in a request or as a mapping shows it.
    (
        re.compile(r"(?i)(authorization\\?[\"']?\s*[:=,]\s*\\?[\"']?(?:bearer|basic)\s+)[^\s\"'\\,})]+"),
        rf"\1{REDACTED}",
    ),
    # The password within an address, such as a database's.
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@\"'\\]*:)[^\s/\"'\\]+@"), rf"\1{REDACTED}@"),
    # The password of a connection, as Postgres' driver writes it.
    (re.compile(r"(?i)(password\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\s\"'\\,;&})]+"), rf"\1{REDACTED}"),
)


def redact(text: str) -> str:
    """Return a text without the secrets in it. JSON stays JSON."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


class RedactedRecord(logging.LogRecord):
    """A line of the standard library's logging, of ours and of every library's, without secrets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0] is not None:
            # A formatter takes this instead of writing the traceback itself.
            self.exc_text = redact("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802 - the standard library's name
        """Return the message with its arguments, redacted."""
        return redact(super().getMessage())


def redact_process() -> None:
    """Redact all that this process logs by the standard library, and the tracebacks that it dies of."""
    logging.setLogRecordFactory(RedactedRecord)
    sys.excepthook = _write_traceback
    threading.excepthook = _write_thread_traceback


def _write_traceback(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, frames)
        return
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, frames))))


def _write_thread_traceback(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        _write_traceback(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
