"""Inline placement: a small model answers within the web process, without a queue, a worker or a message.

Same API and same rows. Requests that come together are one batch, as on a worker; their rows are one commit, before
the answers or, where the model's settings say `relaxed`, right after. What cannot be answered here goes to the queue.
"""

import importlib
from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import structlog

from schemas.enums import Durability, Placement
from store.ledger import Answer
from store.models import ServedVersion
from store.settings import Settings
from webapp.combiner import Combiner
from webapp.dispatch import Dispatcher
from webapp.tickets import Ticket

log = structlog.get_logger()

#: Most requests of one batch; the model's own `max_batch` splits it further.
GROUP_LIMIT = 256

#: Loaded by name, and only in processes of the inline role: it brings torch with it.
RUNNER_MODULE = "tasks.inline"


class Runner(Protocol):
    """Computes in this process. Used by one thread at a time, but for `serves`."""

    def serves(self, version: ServedVersion) -> bool:
        """Whether the version can answer now; one that is not loaded yet begins to be."""

    def run(self, version: ServedVersion, tickets: Sequence[Ticket]) -> list[Answer]:
        """Answer tickets of one version, in order."""


def load_runner(settings: Settings) -> Runner:
    """Make the runner of this process, with every inline champion loaded."""
    runner: Runner = importlib.import_module(RUNNER_MODULE).InlineRunner(settings)
    return runner


class InlinePlace:
    """Answers what is to be answered in this process.

    Args:
        runner: Computes.
        dispatcher: Stores what was answered, and queues what was not.
    """

    def __init__(self, runner: Runner, dispatcher: Dispatcher) -> None:
        self._runner = runner
        self._dispatcher = dispatcher
        # The next batch computes while the rows of this one are committed.
        self._combiner = Combiner[Ticket]("inline", self._answer, then=self._dispatcher.submit, limit=GROUP_LIMIT)

    def start(self) -> None:
        """Begin to answer."""
        self._combiner.start()

    def serves(self, version: ServedVersion) -> bool:
        """Whether a version is to be answered here, and can be."""
        return version.settings.placement is Placement.INLINE and self._runner.serves(version)

    def is_ready(self, version: ServedVersion) -> bool:
        """Whether a version that was promoted answers where it is meant to; one that does not yet begins to load."""
        return version.settings.placement is not Placement.INLINE or self._runner.serves(version)

    def submit(self, ticket: Ticket) -> None:
        """Hand over a ticket; it is settled when its row is committed or refused, or before when `relaxed`."""
        self._combiner.submit([ticket])

    def _answer(self, group: Sequence[Ticket]) -> None:
        ordered = sorted(group, key=lambda ticket: ticket.version.model_version_id)
        for _, same in groupby(ordered, key=lambda ticket: ticket.version.model_version_id):
            tickets = list(same)
            version = tickets[0].version
            try:
                answers = self._runner.run(version, tickets)
            except Exception:
                # Whatever it was, the rows are not lost by it: without an answer they are queued for a worker.
                log.exception("inline_fault", model=version.model, version=version.number, count=len(tickets))
                continue
            for ticket, answer in zip(tickets, answers, strict=True):
                ticket.answer = answer
                if version.settings.durability is Durability.RELAXED:
                    ticket.finish_early(answer)
