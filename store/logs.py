"""One JSON object a line on standard error: a static event name and fields, ids bound once."""

import logging
import sys

import structlog


def configure_logging(level: str, process: str) -> None:
    """Set up structlog for this process.

    Args:
        level: Name of the least level that is written, e.g. `INFO`.
        process: Bound to every line as `process`, e.g. `web` or `cpu-0`.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
