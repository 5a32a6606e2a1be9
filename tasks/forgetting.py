"""The files of forgotten items, as far as the requests that forgot them did not remove them."""

import structlog
from celery import Celery
from sqlalchemy import Engine as Database

from schemas.names import TaskName
from store.forgetting import remove_objects
from store.objects import ObjectStore

log = structlog.get_logger()


class Forgetting:
    """The job that beat asks for.

    Args:
        database: Where it is kept what is to be removed.
        objects: Where the files are.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    def remove_forgotten(self) -> None:
        """Remove what a request could not: it died, the object store was away, or the search took too long."""
        done = remove_objects(self._database, self._objects)
        if done.removed or done.kept:
            log.info("forgotten_objects_removed", removed=done.removed, kept=done.kept)


def register(app: Celery, forgetting: Forgetting) -> None:
    """Register the job under its name."""
    app.task(name=TaskName.REMOVE_FORGOTTEN, shared=False)(forgetting.remove_forgotten)
