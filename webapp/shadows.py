"""Shadow versions compute what another version answers: their rows are stored beside its own and answer nobody."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from queue import Empty, Full, Queue

from prometheus_client import Counter
from uuid_utils.compat import uuid7

from schemas.enums import Priority
from store.ledger_rows import Submission
from store.models import ServedVersion
from webapp.dispatch import GROUP_LIMIT, Dispatcher
from webapp.tickets import Ticket

#: Copies that wait to be stored; beyond, they are dropped, since no answer may ever wait for one.
WAITING_LIMIT = 10_000

#: A copy that no worker had time for by then is of no use any more: ten minutes.
DEADLINE_MS = 600_000

DROPPED = Counter(
    "torchqueue_shadows_dropped_total", "Copies of requests for shadow versions that were not stored.", ["model"]
)


class Shadows:
    """Makes copies of answered requests for shadow versions, in a thread of its own.

    Args:
        dispatcher: Stores them.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._waiting: Queue[Ticket] = Queue(WAITING_LIMIT)
        self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)

    def start(self) -> None:
        """Begin to store copies."""
        self._thread.start()

    def cast(self, ticket: Ticket, versions: Sequence[ServedVersion]) -> None:
        """Let versions compute what was asked. Returns at once.

        Repeats were shadowed with their first request, and what is answered from memory when it was computed.
        """
        is_stored = ticket.accepted_at is not None or ticket.finished is not None
        if not is_stored or ticket.repeated or (ticket.answer is not None and ticket.answer.cached):
            return
        for version in versions:
            try:
                self._waiting.put_nowait(Ticket(shadow_of(ticket.submission, version), version, wait_s=0))
            except Full:
                DROPPED.labels(version.model).inc()

    def _run(self) -> None:
        while True:
            group = [self._waiting.get()]
            try:
                while len(group) < GROUP_LIMIT:
                    group.append(self._waiting.get_nowait())
            except Empty:
                pass
            # Refusals are logged there; a copy is not tried again.
            self._dispatcher.submit(group)


def shadow_of(answered: Submission, version: ServedVersion) -> Submission:
    """Copy a submission for a version that answers nobody: it is about no item and nobody waits for it."""
    return replace(
        answered,
        id=uuid7(),
        model_version_id=version.model_version_id,
        shadow_of=answered.id,
        priority=Priority.BULK,
        deadline_ms=DEADLINE_MS,
        reply_channel=None,
        catalog=None,
        external_id=None,
        index_action=None,
        idempotency_key=None,
        request_sha256=None,
        assignment_probability=None,
    )
