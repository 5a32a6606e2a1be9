"""The gate: a trained version must prove itself against the champion before it takes traffic."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from celery import Celery
from sqlalchemy import Engine as Database

from ml.held_out_models import HELD_OUT_MODELS
from schemas.enums import GateOutcome, GatePolicy
from schemas.gate_settings import GateSettings
from schemas.model_settings import ModelSettings
from schemas.names import TaskName
from store.backtests import METRICS
from store.database import open_session
from store.errors import ObjectMissingError
from store.evidence import LabelledInput, recent_unseen, split_unseen
from store.gate_verdicts import Verdict, carry_out, find_verdict
from store.models import get_version, lock_model
from store.objects import ObjectStore
from store.settings import plugins_from_env
from store.switching import may_answer
from store.tables.model_version import ModelVersion
from tasks.gate_rules import Decision, Evidence, decide

log = structlog.get_logger()

# Inference on the same machine has the right of way.
NICENESS = 10

#: A comparison that takes longer is ended; its version then waits for a person.
TIME_LIMIT_S = 900

#: Inputs of one set that are laid beside a comparison; photos beyond it are left out.
MAX_SET_BYTES = 512 * 1024 * 1024

#: How often a champion may change under a comparison before the verdict is left to a person.
ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class _Match:
    """The two versions of one comparison."""

    kind: str
    candidate: ModelVersion
    champion: ModelVersion | None
    settings: GateSettings


def judge(
    *,
    database: Database,
    objects: ObjectStore,
    model: str,
    version: int,
    training_id: UUID | None = None,
) -> GateOutcome:
    """Compare a version with its model's champion, store the verdict, and do what the model's policy says.

    Blocks for as long as the comparison takes, which runs in a process of its own; the caller loads no torch. Never
    raises for what is wrong with the candidate: that is a verdict. A version that was judged already keeps its verdict;
    one that somebody decided about by hand, or that workers could not load, gets none.

    Args:
        database: Where versions, feedback and verdicts are.
        objects: Where weights and inputs are.
        model: Name of the model.
        version: Number of the candidate.
        training_id: The training that made it.

    Returns:
        What became of the candidate.

    Raises:
        UnknownModelError: There is no such model.
        UnknownVersionError: The model has no such version.
        ObjectMissingError: The weights of either are gone.
    """
    for _ in range(ROUNDS):
        with open_session(database) as session:
            candidate = get_version(session, model, version)
            known = find_verdict(session, candidate.id)
            match = _match(candidate)
        if known is not None:
            return GateOutcome(known.outcome)
        if _is_settled(match.candidate):
            return GateOutcome.UNDECIDED
        decision = _examine(database, objects, match)
        outcome = _conclude(database, match, decision, training_id)
        if outcome is not None:
            log.info("version_judged", model=model, version=version, outcome=outcome, reason=decision.reason)
            return outcome
    log.warning(
        "version_not_judged", model=model, version=version, reason="what it was compared with changed each time"
    )
    return GateOutcome.UNDECIDED


def register(app: Celery, database: Database, objects: ObjectStore) -> None:
    """Register the task that judges a version whose judge died."""

    @app.task(name=TaskName.JUDGE_VERSION, shared=False)
    def judge_version(*, model: str, version: int) -> None:
        """Compare a trained version with the champion and do what the model's policy says."""
        judge(database=database, objects=objects, model=model, version=version)


def _is_settled(candidate: ModelVersion) -> bool:
    """Whether it has its part already, as `waiting_for_judgement` sees it, or may have none."""
    owner = candidate.model
    return not may_answer(candidate) or candidate.id in (owner.champion_id, owner.upcoming_id, owner.challenger_id)


def _match(candidate: ModelVersion) -> _Match:
    owner = candidate.model
    return _Match(
        kind=owner.kind,
        candidate=candidate,
        champion=owner.champion,
        settings=ModelSettings.load(owner.settings).gate,
    )


def _conclude(database: Database, match: _Match, decision: Decision, training_id: UUID | None) -> GateOutcome | None:
    """Store and carry out; None when the model moved on meanwhile, so that the comparison is about nobody."""
    champion_id = None if match.champion is None else match.champion.id
    with open_session(database) as session:
        if lock_model(session, match.candidate.model.name).champion_id != champion_id:
            return None
        candidate = get_version(session, match.candidate.model.name, match.candidate.number)
        if _is_settled(candidate):
            return None
        verdict = Verdict(
            outcome=decision.outcome,
            reason=decision.reason,
            policy=match.settings.policy,
            champion_id=champion_id,
            training_id=training_id or candidate.training_id,
            comparisons=[each.dump() for each in decision.comparisons],
            guards=[asdict(each) for each in decision.guards],
        )
        if carry_out(session, candidate, verdict):
            return decision.outcome
        known = find_verdict(session, candidate.id)
        assert known is not None, "a verdict that is in the way exists"
        return GateOutcome(known.outcome)


def _examine(database: Database, objects: ObjectStore, match: _Match) -> Decision:
    if match.champion is None:
        return _first(match.settings)
    with tempfile.TemporaryDirectory(prefix="torchqueue-gate-") as name:
        folder = Path(name)
        _lay_out(database, objects, match, folder)
        problem = _run(folder)
        if problem is not None:
            reason = f"the comparison failed: {problem}; promote by hand, or train again"
            return Decision(outcome=GateOutcome.UNDECIDED, reason=reason)
        measured = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if "refused" in measured:
        return _refused(measured)
    size = {"candidate": match.candidate.weights_bytes, "champion": match.champion.weights_bytes}
    evidence = Evidence(kind=match.kind, sets=measured["sets"], latency_ms=measured["latency_ms"], size_bytes=size)
    return decide(evidence, match.settings)


def _first(settings: GateSettings) -> Decision:
    """There is nothing to compare the first version of a model with."""
    if settings.policy is GatePolicy.AUTO:
        return Decision(outcome=GateOutcome.PROMOTED, reason="the model had no champion")
    reason = "the model has no champion to compare with; promote this version by hand"
    return Decision(outcome=GateOutcome.UNDECIDED, reason=reason)


def _refused(measured: dict[str, Any]) -> Decision:
    if measured["refused"] == "candidate":
        return Decision(outcome=GateOutcome.ARCHIVED, reason=f"it cannot be loaded: {measured['reason']}")
    reason = f"the champion cannot be loaded to compare with: {measured['reason']}; promote by hand"
    return Decision(outcome=GateOutcome.UNDECIDED, reason=reason)


def _lay_out(database: Database, objects: ObjectStore, match: _Match, folder: Path) -> None:
    """Write all that `ml.compare` reads."""
    assert match.champion is not None, "a candidate is compared with a champion"
    sides = {"candidate": match.candidate, "champion": match.champion}
    task: dict[str, Any] = {
        "model": match.candidate.model.name,
        "plugins": plugins_from_env(),
        "max_items": match.settings.max_items,
        "sets": {
            name: _write_items(objects, rows, folder, name) for name, rows in _find_evidence(database, match).items()
        },
    }
    for side, version in sides.items():
        weights = f"{side}.weights"
        (folder / weights).write_bytes(objects.get(version.weights_sha256))
        task[side] = {"number": version.number, "config": version.config, "weights": weights}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")


def _find_evidence(database: Database, match: _Match) -> dict[str, list[LabelledInput]]:
    """Recent feedback; and where the model has no fixed set of its own, the feedback that is kept from trainings."""
    assert match.champion is not None, "a candidate is compared with a champion"
    if match.kind not in METRICS:
        # Their answers are not right or wrong by a label alone.
        return {}
    wanted: dict[str, Any] = {
        "model_id": match.candidate.model_id,
        "version_ids": (match.candidate.id, match.champion.id),
        "settings": match.settings,
    }
    with open_session(database) as session:
        if match.candidate.model.name in HELD_OUT_MODELS:
            return {"recent_feedback": recent_unseen(session, **wanted)}
        kept, recent = split_unseen(session, **wanted)
    return {"held_out": kept, "recent_feedback": recent}


def _write_items(objects: ObjectStore, rows: Sequence[LabelledInput], folder: Path, name: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    written = 0
    for row in rows:
        if row.input_sha256 is None:
            items.append({"label": row.label, "input": row.input})
            continue
        if written + row.input_bytes > MAX_SET_BYTES:
            break
        try:
            data = objects.get(row.input_sha256)
        except ObjectMissingError:
            # Its bytes are gone, so nothing can be asked about it.
            continue
        file = f"{name}-{len(items)}"
        (folder / file).write_bytes(data)
        written += len(data)
        items.append({"label": row.label, "file": file})
    return items


def _run(folder: Path) -> str | None:
    """Compare in a process of its own. Returns why that failed."""
    command = ["nice", f"-n{NICENESS}", sys.executable, "-m", "ml.compare", str(folder)]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"it took longer than {TIME_LIMIT_S} s"
    if finished.returncode == 0:
        return None
    last_line = finished.stderr.strip().rpartition("\n")[2]
    return last_line or f"its process ended with {finished.returncode}"
