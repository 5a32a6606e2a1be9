"""Entry point of beat: `python -m tasks.beat`. Its schedule is in `celeryconfig`; any number may run."""

from typing import Any

from celery.signals import after_task_publish, before_task_publish

from store.failpoints import hit
from store.logs import configure_logging
from store.settings import Settings
from tasks.app import create_celery


def main() -> None:
    """Send the scheduled jobs until told to stop."""
    settings = Settings.from_env()
    configure_logging(settings.log_level, "beat")
    before_task_publish.connect(_before_send, weak=False)
    after_task_publish.connect(_after_send, weak=False)
    create_celery(settings).start(["beat", "--loglevel=WARNING", "--pidfile="])


def _before_send(**_: Any) -> None:
    hit("beat.before_send")


def _after_send(**_: Any) -> None:
    hit("beat.after_send")


if __name__ == "__main__":
    main()
