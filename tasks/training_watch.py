"""What is known of a running training: written into its row about once a second, which also tells when to stop."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from store import training_ledger as ledger
from store.errors import StaleClaimError
from store.training_ledger import TrainingClaim
from tasks.errors import TrainingStoppedError, TrainingTimeLimitError
from tasks.life import WorkerLife

log = structlog.get_logger()

#: How often a running training writes its row; a cancel is seen by it.
REPORT_S = 1.0


class TrainingWatch:
    """Looks after one training, from its preparation to its end.

    Args:
        claim: By which it is held; its time limit counts from now on.
        database: Where its row is.
        life: Of this worker; its lease is what the training is held by.
        stopping: Set when this worker is to end.
        line: The first of its log.

    Attributes:
        progress: The last step that its process told of.
        failure: Why it failed, as its process told it.
    """

    def __init__(
        self, claim: TrainingClaim, *, database: Database, life: WorkerLife, stopping: threading.Event, line: str
    ) -> None:
        self._claim, self._database, self._life, self._stopping = claim, database, life, stopping
        self._deadline = time.monotonic() + claim.left_s
        self._log = [line]
        self._reported_at = 0.0
        self.progress: Mapping[str, Any] | None = None
        self.failure: Mapping[str, Any] | None = None

    def note(self, line: str) -> None:
        """Its process said something."""
        self._log.append(line)

    def check(self) -> None:
        """Report when it is time to, and see whether the training may go on. Cheap enough to be called at every step.

        Raises:
            StaleClaimError: It was cancelled, is another worker's by now, or the lease of this one is over.
            TrainingTimeLimitError: Its time limit is over.
            TrainingStoppedError: This worker is to end.
        """
        if time.monotonic() - self._reported_at >= REPORT_S:
            self.report()
        if time.monotonic() > self._deadline:
            raise TrainingTimeLimitError("the time limit is over")
        if self._stopping.is_set():
            raise TrainingStoppedError("this worker is to end")
        if not self._life.is_valid():
            raise StaleClaimError("the lease of this worker is over")

    def report(self) -> None:
        """Write the row.

        Raises:
            StaleClaimError: It was cancelled, or is another worker's by now.
        """
        said = "".join(f"{line}\n" for line in self._log)
        try:
            with self._database.begin() as connection:
                is_ours = ledger.report(connection, self._claim, progress=self.progress, log=said)
        except SQLAlchemyError as error:
            # The next report tells it all; without Postgres for long the lease ends, and with it this training here.
            log.warning("training_not_reported", training_id=str(self._claim.id), error=str(error))
            return
        self._reported_at = time.monotonic()
        self._log.clear()
        if not is_ours:
            raise StaleClaimError(f"training {self._claim.id} is no longer ours")
