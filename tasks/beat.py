"""Entry point of beat: `python -m tasks.beat`. Its schedule is in `celeryconfig`; any number may run."""

from store.logs import configure_logging
from store.settings import Settings
from tasks.app import create_celery


def main() -> None:
    """Send the scheduled jobs until told to stop."""
    settings = Settings.from_env()
    configure_logging(settings.log_level, "beat")
    create_celery(settings).start(["beat", "--loglevel=WARNING", "--pidfile="])


if __name__ == "__main__":
    main()
