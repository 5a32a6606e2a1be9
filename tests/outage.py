"""Postgres away for one process's engine: its connections end, and no new one is let in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, event, text

ENDED = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = :application")


@contextmanager
def cut_off(database: Engine, others: Connection, application: str) -> Iterator[None]:
    """Keep an engine from Postgres while the block runs.

    Args:
        database: Whose connections are named `application`.
        others: A connection of another engine, to end them with.
        application: As `create_database` was given it.
    """

    def refuse(*_: Any) -> None:
        raise psycopg2.OperationalError("the test keeps Postgres away")

    event.listen(database, "do_connect", refuse)
    others.execute(ENDED, {"application": application})
    try:
        yield
    finally:
        event.remove(database, "do_connect", refuse)
