"""Computes within a web process, for models whose placement is `inline`. Imports torch: loaded by name, by role."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import structlog

from ml.engine import Engine
from ml.engine import Outcome as Computed
from schemas.enums import DecodePlace, ErrorCode, Placement
from store.database import create_database, open_session
from store.ledger_rows import Answer, Claim, Submission
from store.models import ServedVersion, list_models, served
from store.objects import ObjectStore
from store.settings import Settings
from tasks.errors import ModelUnavailableError
from tasks.finishing import FinishContext, Finishers
from tasks.loader import ModelLoader

log = structlog.get_logger()

DEVICE = "cpu:0"

MS = 1000.0


class Asked(Protocol):
    """A request that waits for its answer; `payload` is its input as it was sent."""

    submission: Submission
    payload: Any

    def elapsed_ms(self) -> float:
        """Milliseconds since it came."""


class InlineRunner:
    """An engine within a web process.

    Args:
        settings: Addresses.
    """

    def __init__(self, settings: Settings) -> None:
        database = create_database(settings.database_url, application="web-inline", pool_size=2)
        objects = ObjectStore(settings.object_url)
        self._engine = Engine(DEVICE, sandboxed=settings.decode is DecodePlace.SANDBOX)
        self._loader = ModelLoader(self._engine, database, objects)
        self._finishers = Finishers(FinishContext(database=database, objects=objects))
        # Beside the requests: loading takes seconds, and those are answered by a worker meanwhile.
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="inline-load")
        self._asked_for: set[int] = set()
        with open_session(database) as session:
            champions = [served(model.champion) for model in list_models(session) if model.champion is not None]
        for version in champions:
            if version.settings.placement is Placement.INLINE:
                self._asked_for.add(version.model_version_id)
                self._load(version)

    def serves(self, version: ServedVersion) -> bool:
        """Whether the version can answer now; one that is not loaded yet begins to be."""
        if self._engine.holds(version.model, version.number):
            return True
        if version.model_version_id not in self._asked_for:
            self._asked_for.add(version.model_version_id)
            self._loading.submit(self._load, version)
        return False

    def run(self, version: ServedVersion, tickets: Sequence[Asked]) -> list[Answer]:
        """Answer tickets of one version, in order; an input that cannot be used fails alone.

        Raises:
            MLError: The engine cannot compute at all.
        """
        key = (version.model, version.number)
        started = time.perf_counter()
        decoded = self._engine.decode(key, [ticket.payload for ticket in tickets])
        decoded_at = time.perf_counter()
        outcomes = self._engine.compute(key, decoded)
        decode_ms = round((decoded_at - started) * MS, 3)
        compute_ms = round((time.perf_counter() - decoded_at) * MS, 3)
        results = self._finish(version, tickets, outcomes)
        return [
            _answer(ticket, outcome, result, decode_ms, compute_ms)
            for ticket, outcome, result in zip(tickets, outcomes, results, strict=True)
        ]

    def _finish(
        self, version: ServedVersion, tickets: Sequence[Asked], outcomes: Sequence[Computed]
    ) -> list[dict[str, Any] | None]:
        """What each is answered after its kind had its say; None for those that failed."""
        claims, raw = [], []
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if outcome.result is not None:
                claims.append(_claim(ticket.submission))
                raw.append(outcome.result)
        finished = iter(self._finishers.finish(version.kind, claims, raw))
        return [None if outcome.result is None else next(finished) for outcome in outcomes]

    def _load(self, version: ServedVersion) -> None:
        try:
            self._loader.ensure(version.model_version_id)
        except ModelUnavailableError as error:
            # Its requests go to the queue, where a worker says the same of each.
            log.error("inline_model_not_loaded", error=str(error))  # noqa: TRY400 - the reason is in the message
        except Exception:
            # A passing fault: the next request asks again.
            log.exception("inline_load_fault", model=version.model, version=version.number)
            self._asked_for.discard(version.model_version_id)


def _claim(submission: Submission) -> Claim:
    """What a finisher knows a prediction by; nobody else can hold one that is not stored yet."""
    return Claim(
        id=submission.id,
        fence=0,
        model_version_id=submission.model_version_id,
        input=submission.input,
        input_sha256=submission.input_sha256,
    )


def _answer(
    ticket: Asked, outcome: Computed, result: dict[str, Any] | None, decode_ms: float, compute_ms: float
) -> Answer:
    return Answer(
        elapsed_ms=ticket.elapsed_ms(),
        result=result,
        error_code=None if outcome.error_code is None else ErrorCode(outcome.error_code),
        error_detail=outcome.error_detail,
        device=DEVICE,
        decode_ms=decode_ms,
        compute_ms=compute_ms,
    )
