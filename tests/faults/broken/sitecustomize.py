"""Seeds a bug into every process of a stack, to see whether the suite finds it.

This folder is on `PYTHONPATH` in one test and nowhere else; `FAULTS_BREAK` names the bug. A module's text is changed as
it is imported, and a text that is no longer there ends the process: a seeded bug that seeds nothing must not pass.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

#: Long enough that another worker is seen to hold a row.
SLOW_DEVICE = (
    '            hit("worker.on_device")\n',
    '            hit("worker.on_device")\n            time.sleep(2.5)\n',
)

BEFORE_INSERT = '                hit("web.before_insert")\n'

EARLY_ACK = """
                from datetime import UTC, datetime
                for ticket in group:
                    ticket.accept(datetime.now(UTC))
                time.sleep(0.3)
                hit("web.before_insert")
"""

RING_FIRST = """
                for ticket in group:
                    version = (ticket.version.model, ticket.version.number)
                    self._backlog.add(str(ticket.submission.id), version, time.monotonic())
                self._ring()
                hit("web.before_insert")
"""

TAKE_BACK = """
    return _requeued(sql.TAKE_BACK.run(connection, max_attempts=MAX_ATTEMPTS, max_crashes=MAX_CRASHES, lenient=lenient))
"""

# A reaper that also takes back what it saw lost when it looked before.
STALE_TAKE_BACK = """
    from sqlalchemy import text
    seen = globals().setdefault("_seen", [])
    lost = connection.execute(text(
        "SELECT p.id FROM predictions p LEFT JOIN workers w ON w.id = p.worker_id"
        " WHERE p.status = 'processing' AND (w.id IS NULL OR w.stopped_at IS NOT NULL)"
    )).scalars().all()
    connection.execute(text(
        "UPDATE predictions SET status = 'queued', crash_count = crash_count + 1"
        " WHERE id = ANY(:ids) AND status = 'processing'"
    ), {"ids": [*lost, *seen]})
    seen[:] = lost
    return Requeued(queued=len(lost), finished=[])
"""

#: By name of the bug, for each module the texts that are replaced.
BUGS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "no-fence": {
        "store.ledger_sql": [("AND p.fence = o.fence AND p.status = 'processing'", "AND p.status = 'processing'")],
        "tasks.drainer": [SLOW_DEVICE],
    },
    "early-ack": {"webapp.dispatch": [(BEFORE_INSERT, EARLY_ACK)]},
    "ring-first": {"webapp.dispatch": [(BEFORE_INSERT, RING_FIRST)]},
    "no-recheck": {"store.ledger": [(TAKE_BACK, STALE_TAKE_BACK)], "tasks.drainer": [SLOW_DEVICE]},
}


class BrokenLoader(importlib.machinery.SourceFileLoader):
    """Compiles a module from a text with a bug in it, past the cache of bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the changed text."""
        path = self.get_filename(fullname)
        text = self.get_data(path).decode()
        for old, new in BUGS[os.environ["FAULTS_BREAK"]][fullname]:
            if text.count(old) != 1:
                raise ImportError(f"{fullname} does not hold the text that the bug replaces: {old!r}")
            text = text.replace(old, new)
        return self.source_to_code(text.encode(), path)


class BrokenFinder(importlib.abc.MetaPathFinder):
    """Finds the modules that the bug is in."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the usual spec with our loader; None for any other module."""
        if fullname not in BUGS.get(os.environ.get("FAULTS_BREAK", ""), {}):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = BrokenLoader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, BrokenFinder())
