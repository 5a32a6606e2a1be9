"""What tests are made of: rows of the ledger, workers, models and pictures, each in one call."""

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from PIL import Image
from sqlalchemy import Connection, Engine, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid
from uuid_utils.compat import uuid7

from schemas.enums import ErrorCode, WorkerRole
from stack.bootstrap import BUNDLED
from store import ledger
from store.feedback import Correction, record_feedback
from store.ledger_rows import Claim, Outcome, Submission
from store.models import ServedVersion, register_version, resolve
from store.promotion import promote
from store.tables.model_version import ModelVersion
from store.workers import register_worker
from tests.running import SAMPLES

TENANT = 1
OTHER_TENANT = 2

#: Host that no process of the tests runs on.
HOST = "elsewhere"

#: Names of the models that every database of the tests begins with.
BUNDLED_MODELS = sorted(folder.name for folder in BUNDLED.iterdir())

#: A diamond of the test part, as a request sends it.
DIAMOND: dict[str, Any] = json.loads((SAMPLES / "diamond.json").read_text())["input"]

ANSWER = {"label": "1", "score": 1.0}

VECTOR_CONFIG: dict[str, Any] = {
    "kind": "classification",
    "arch": "mlp",
    "arch_options": {"hidden": [8]},
    "input": {"type": "vector", "size": 2},
    "labels": ["0", "1"],
    "max_batch": 3,
}

# In an order in which no reference is left hanging.
CLEAN_ROWS = (
    "DELETE FROM webhook_deliveries",
    "DELETE FROM webhook_endpoints",
    "DELETE FROM feedback",
    "DELETE FROM indexed_items",
    "DELETE FROM backtests",
    "DELETE FROM fetches",
    "DELETE FROM predictions",
    "DELETE FROM items",
    "DELETE FROM idempotency_keys",
    "DELETE FROM finished_seconds",
    "DELETE FROM trainings",
    "DELETE FROM training_schedules",
    "DELETE FROM traffic_minutes",
    "DELETE FROM redrives",
    # Else the first reaping of a test would be lenient, since nobody reaped for a while.
    "DELETE FROM reaper_runs",
)
CLEAN_MODELS = (
    "DELETE FROM traffic",
    "DELETE FROM similarity_indexes",
    "DELETE FROM decisions WHERE reason <> 'bundled with torchqueue'",
    "UPDATE models SET challenger_id = NULL, upcoming_id = NULL",
    "UPDATE models SET champion_id = (SELECT id FROM model_versions WHERE model_id = models.id AND source = 'bundled')",
    "UPDATE model_versions SET archived_at = NULL, failed_at = NULL",
    "DELETE FROM model_versions WHERE source <> 'bundled'",
    "DELETE FROM models WHERE champion_id IS NULL",
)


def submission(version: ServedVersion, **changes: Any) -> Submission:
    """Make a submission for a version, with a vector as its input."""
    fields: dict[str, Any] = {
        "id": uuid7(),
        "api_key_id": TENANT,
        "model_id": version.model_id,
        "model_version_id": version.model_version_id,
        "reply_channel": None,
        "input": [0.0, 1.0],
    }
    return Submission(**fields | changes)


def add_model(
    session: Session,
    name: str,
    *,
    config: Mapping[str, Any] = VECTOR_CONFIG,
    weights_sha256: str = "00" * 32,
    number: int = 1,
    **changes: Any,
) -> ServedVersion:
    """Register and promote a model that takes vectors; its weights are nowhere. `changes` are of its configuration.

    A second call for the same name, with `number=2`, adds a version.
    """
    register_version(
        session,
        name=name,
        kind="classification",
        config={**config, **changes},
        weights_sha256=weights_sha256,
        weights_bytes=1,
        metrics={},
        source="imported",
    )
    return make_champion(session, name, number)


def make_champion(session: Session, name: str, number: int) -> ServedVersion:
    """Promote a version that every worker holds, whatever those that are registered say."""
    promote(session, name=name, number=number, actor="tests", reason="to answer")
    session.execute(
        text(
            "UPDATE models SET champion_id = upcoming_id, upcoming_id = NULL, upcoming_since = NULL "
            "WHERE upcoming_id IS NOT NULL AND name = :name"
        ),
        {"name": name},
    )
    session.expire_all()
    return resolve(session, name)


def add_version(
    session: Session, name: str, *, promoted: bool = False, like: ServedVersion | None = None
) -> ModelVersion:
    """Register the next version of a model that takes vectors, of another's weights where `like` names one."""
    version = register_version(
        session,
        name=name,
        kind="classification" if like is None else like.kind,
        config=VECTOR_CONFIG if like is None else like.config,
        weights_sha256="00" * 32 if like is None else like.weights_sha256,
        weights_bytes=1,
        metrics={},
        source="imported",
    )
    if promoted:
        promote(session, name=name, number=version.number, actor="tests", reason="for a test")
    return version


def success(claim: Claim, **result: Any) -> Outcome:
    """Answer a claim."""
    return Outcome(claim=claim, result=result or ANSWER, decode_ms=1.0, compute_ms=2.0)


def failure(claim: Claim, code: ErrorCode = ErrorCode.INTERNAL) -> Outcome:
    """Fail a claim."""
    return Outcome(claim=claim, error_code=code, error_detail="it broke")


class Rows:
    """Rows of `predictions` as a test needs them, through one connection.

    Args:
        connection: Rolled back by its fixture, or autocommit.
        version: What they ask.
    """

    def __init__(self, connection: Connection, version: ServedVersion) -> None:
        self.connection = connection
        self.version = version
        self._worker_id: int | None = None

    def add(self, **changes: Any) -> UUID:
        """Submit one; returns its id."""
        return self.add_many(1, **changes)[0]

    def add_many(self, count: int, **changes: Any) -> list[UUID]:
        """Submit several in one group; returns their ids."""
        group = [submission(self.version, **changes) for _ in range(count)]
        ledger.submit(self.connection, group)
        return [each.id for each in group]

    def worker(self, host: str = HOST, pid: int = 1) -> int:
        """Register a worker; returns its epoch."""
        return register_worker(
            self.connection,
            name=f"cpu-0@{host}",
            role=WorkerRole.INFERENCE,
            device="cpu:0",
            queue="inference-cpu-0",
            host=host,
            pid=pid,
        )

    @property
    def worker_id(self) -> int:
        """The worker that claims when a test names none."""
        if self._worker_id is None:
            self._worker_id = self.worker()
        return self._worker_id

    def claim(self, limit: int = 100, worker_id: int | None = None, **bounds: Any) -> list[Claim]:
        """Claim a batch."""
        return ledger.claim(
            self.connection, worker_id=worker_id or self.worker_id, device="cpu:0", limit=limit, **bounds
        )

    def claim_all(self) -> list[Claim]:
        """Claim whatever waits, a batch at a time."""
        claims: list[Claim] = []
        while found := self.claim():
            claims += found
        return claims

    def claim_one(self, **changes: Any) -> Claim:
        """Submit one row and claim it."""
        prediction_id = self.add(**changes)
        [claim] = [claim for claim in self.claim() if claim.id == prediction_id]
        return claim

    def get(self, prediction_id: UUID) -> Row[Any]:
        """Read a row."""
        return self.connection.execute(text("SELECT * FROM predictions WHERE id = :id"), {"id": prediction_id}).one()

    def status(self, prediction_id: UUID) -> str:
        """Read a row's status."""
        return str(self.get(prediction_id).status)

    def statuses(self, ids: Iterable[UUID]) -> list[str]:
        """Read the status of several rows, in their order."""
        found = text("SELECT id, status FROM predictions WHERE id = ANY(:ids)").bindparams(
            bindparam("ids", type_=ARRAY(Uuid))
        )
        ids = list(ids)
        by_id = {row.id: row.status for row in self.connection.execute(found, {"ids": ids})}
        return [by_id[each] for each in ids]

    def shift(self, prediction_id: UUID, column: str, seconds: float) -> None:
        """Set a time of a row to so many seconds from now."""
        self.connection.execute(
            text(f"UPDATE predictions SET {column} = now() + :seconds * interval '1 second' WHERE id = :id"),
            {"id": prediction_id, "seconds": seconds},
        )

    def shift_lease(self, worker_id: int, seconds: float) -> None:
        """Set the end of a worker's lease to so many seconds from now."""
        self.connection.execute(
            text("UPDATE workers SET lease_expires_at = now() + :seconds * interval '1 second' WHERE id = :id"),
            {"id": worker_id, "seconds": seconds},
        )


def give_feedback(connection: Connection, labels: Mapping[UUID, Any], *, weight: float = 1.0) -> None:
    """Say what the right answers to predictions were."""
    group = [Correction(prediction_id=each, label=label, weight=weight) for each, label in labels.items()]
    outcomes = record_feedback(connection, group, api_key_id=None, recorded_by=TENANT)
    assert not [each for each in outcomes if isinstance(each, Exception)], outcomes


@contextmanager
def autocommit(database: Engine) -> Iterator[Connection]:
    """Yield a connection on which every statement commits."""
    with database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection


def clean_rows(database: Engine) -> None:
    """Remove the predictions that tests committed, and what came with them."""
    _execute(database, *CLEAN_ROWS)


def clean_models(database: Engine) -> None:
    """Remove the models and versions that tests committed, and the predictions, but no worker."""
    _execute(database, *CLEAN_ROWS, *CLEAN_MODELS)


def clean(database: Engine) -> None:
    """Remove all that tests committed, except keys and the bundled models."""
    _execute(database, *CLEAN_ROWS, "DELETE FROM workers", *CLEAN_MODELS)


def break_store(folder: Path) -> None:
    """Make every access to an object store's folder fail, as a disk that is gone does."""
    shutil.rmtree(folder)
    folder.write_text("no folder any more")


def picture(kind: str = "PNG", mode: str = "L", size: tuple[int, int] = (28, 28), **options: Any) -> bytes:
    """Encode a picture of noise, so that its file is no shorter than its pixels."""
    raw = os.urandom(size[0] * size[1] * len(Image.new(mode, (1, 1)).tobytes()))
    buffer = io.BytesIO()
    Image.frombytes(mode, size, raw).save(buffer, kind, **options)
    return buffer.getvalue()


def _execute(database: Engine, *statements: str) -> None:
    with autocommit(database) as connection:
        for statement in statements:
            connection.execute(text(statement))
