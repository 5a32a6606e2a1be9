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
from store.ledger_rows import Answer
from store.models import ServedVersion
from store.settings import Settings
from webapp.tickets import Ticket

log = structlog.get_logger()

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
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def serves(self, version: ServedVersion) -> bool:
        """Whether a version is to be answered here, and can be."""
        return version.settings.placement is Placement.INLINE and self._runner.serves(version)

    def is_ready(self, version: ServedVersion) -> bool:
        """Whether a version that was promoted answers where it is meant to; one that does not yet begins to load."""
        return version.settings.placement is not Placement.INLINE or self._runner.serves(version)

    def answer(self, group: Sequence[Ticket]) -> None:
        """Give tickets their answers, or none where it cannot be computed here. Called by one thread at a time."""
        ordered = sorted(group, key=_version_id)
        for _, same in groupby(ordered, key=_version_id):
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


def _version_id(ticket: Ticket) -> int:
    return ticket.version.model_version_id
