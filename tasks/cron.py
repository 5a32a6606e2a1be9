"""Cron lines as Celery reads them, in UTC."""

from datetime import UTC, datetime

from celery.schedules import ParseException, crontab

from schemas.model_settings import ModelSettings
from store.errors import ModelSettingsError

EXAMPLE = "0 3 * * mon"


def next_tick(line: str, after: datetime) -> datetime:
    """Return the first time after a time at which a cron line fires.

    Args:
        line: Minute, hour, day of month, month, day of week.
        after: With its zone.

    Raises:
        ModelSettingsError: It is no cron line, or one that never fires.
    """
    try:
        last, delta, _ = crontab.from_string(line).remaining_delta(after.astimezone(UTC), tz=UTC)
    except (ParseException, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        raise ModelSettingsError(
            f"retraining.cron {line!r} cannot be used: {reason}. It has five fields, such as {EXAMPLE!r}, in UTC"
        ) from error
    tick: datetime = last + delta
    return tick


def check_schedule(settings: ModelSettings) -> None:
    """Check the cron line of a model's settings, if there is one.

    Raises:
        ModelSettingsError: It is no cron line, or one that never fires.
    """
    if settings.retraining is not None and settings.retraining.cron is not None:
        next_tick(settings.retraining.cron, datetime.now(UTC))
