"""Rows that a dead worker holds."""

import threading
import time
from contextlib import closing
from typing import Any

import psycopg2

#: A row may be held by a dead worker for so long, counted while Postgres answers.
ORPHANED_S = 5.0

ORPHANS = """
    SELECT CAST(p.id AS text) AS id FROM predictions p LEFT JOIN workers w ON w.id = p.worker_id
    WHERE p.status = 'processing' AND (w.id IS NULL OR w.stopped_at IS NOT NULL OR w.lease_expires_at < now())
"""


class OrphanWatch:
    """I8, looked at all the time: no row is held by a dead worker for longer than `ORPHANED_S`.

    The seconds in which Postgres did not answer do not count, since nobody could have taken the row back.
    """

    def __init__(self, connect: Any) -> None:
        self._connect = connect
        self._since: dict[str, float] = {}
        self._found: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)
        self._thread.start()

    def take(self) -> list[str]:
        """Return what was found since the last call."""
        found, self._found = self._found, set()
        return [f"{name} was held by a dead worker for more than {ORPHANED_S:.0f} s" for name in sorted(found)]

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                with closing(self._connect()) as connection, connection.cursor() as cursor:
                    cursor.execute("SET statement_timeout = '2s'")
                    cursor.execute(ORPHANS)
                    self._note({row["id"] for row in cursor.fetchall()})
            except psycopg2.Error:
                self._since.clear()

    def _note(self, held: set[str]) -> None:
        now = time.monotonic()
        self._since = {name: self._since.get(name, now) for name in held}
        self._found |= {name for name, since in self._since.items() if now - since > ORPHANED_S}
