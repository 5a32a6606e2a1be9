"""The Celery application, made by a function so that importing this file connects to nothing."""

from celery import Celery

from store.settings import Settings


def create_celery(settings: Settings) -> Celery:
    """Make the application that workers, beat and Flower run. Each registers its own tasks on it."""
    app = Celery("torchqueue", broker=settings.redis_url)
    app.config_from_object("celeryconfig")
    return app
