"""`tasks.gating`: real comparisons of real versions, each in a process of its own."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import torch
from sqlalchemy import Engine as Database
from sqlalchemy import text
from sqlalchemy.orm import Session

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.kinds import build_untrained
from ml.spec import ModelSpec
from ml.weights import dump_weights
from schemas.enums import DecisionAction, GateOutcome, GatePolicy
from schemas.gate_settings import GateSettings
from schemas.model_settings import ModelSettings
from store import ledger
from store.database import open_session
from store.decisions import list_decisions
from store.gate_verdicts import find_verdict, waiting_for_judgement
from store.holdout import is_held_out
from store.models import get_model, get_version, register_version
from store.objects import ObjectStore
from store.promotion import archive, promote
from store.tables.model_version import ModelVersion
from tasks import gating
from tasks.gate_rules import Decision
from tasks.gating import judge
from tests.factories import Rows, give_feedback, success

GOOD = read_bundle(BUNDLED_DIRECTORY / "xor").weights
CONFIG: dict[str, Any] = json.loads((BUNDLED_DIRECTORY / "xor" / "model.json").read_text())

MakeVersion = Callable[..., int]
Judge = Callable[..., GateOutcome]


@pytest.fixture(autouse=True)
def _not_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a polite comparison would outlast the test's time."""
    monkeypatch.setattr(gating, "NICENESS", 0)


@pytest.fixture(autouse=True)
def _settings_come_back(committed: Rows, database: Database) -> Iterator[None]:  # noqa: ARG001 - cleans up after it
    """The next test finds the model as it was."""
    yield
    with open_session(database) as session:
        get_model(session, "xor").settings = {}


@pytest.fixture
def bad() -> bytes:
    """Weights that were never trained."""
    torch.manual_seed(0)
    return dump_weights(build_untrained(ModelSpec.from_config("xor", 1, CONFIG), "cpu").module)


@pytest.fixture
def make_version(database: Database, objects: ObjectStore) -> MakeVersion:
    """Register a version with these weights; returns its number."""

    def make(weights: bytes, *, model: str = "xor", config: dict[str, Any] = CONFIG) -> int:
        with open_session(database) as session:
            version = register_version(
                session,
                name=model,
                kind="classification",
                config=config,
                weights_sha256=objects.put(weights),
                weights_bytes=len(weights),
                metrics={},
                source="trained",
                training_id=None,
            )
            return version.number

    return make


@pytest.fixture
def judged(database: Database, objects: ObjectStore) -> Judge:
    """Judge a version under these settings of its model; processors shared with other tests time nothing well."""

    def run(number: int, *, model: str = "xor", **settings: Any) -> GateOutcome:
        gate = GateSettings(**{"max_items": 200, "max_latency_ratio": 100.0, **settings})
        with open_session(database) as session:
            get_model(session, model).settings = ModelSettings(gate=gate).dump()
        return judge(database=database, objects=objects, model=model, version=number)

    return run


def test_a_bad_candidate_is_archived_with_the_reason(
    database: Database, make_version: MakeVersion, judged: Judge, bad: bytes
) -> None:
    number = make_version(bad)

    assert judged(number) is GateOutcome.ARCHIVED

    with open_session(database) as session:
        version = get_version(session, "xor", number)
        assert version.archived_at is not None
        assert str(version.archive_reason).startswith("guard broken:")
        assert [(each.action, each.actor) for each in decisions(session)][:1] == [(DecisionAction.ARCHIVE, "gate")]


def test_a_better_candidate_becomes_the_challenger(
    database: Database, make_version: MakeVersion, judged: Judge, bad: bytes
) -> None:
    answer_with(database, make_version(bad))
    number = make_version(GOOD)

    assert judged(number) is GateOutcome.CHALLENGER

    with open_session(database) as session:
        assert challenger(session).number == number
        verdict = find_verdict(session, challenger(session).id)
        assert verdict is not None
        assert (verdict.comparisons[0]["name"], verdict.comparisons[0]["items"]) == ("held_out", 200)
        assert {each["name"] for each in verdict.guards} == {"failures", "size", "latency", "class_regression"}


def test_a_better_candidate_becomes_champion_where_the_policy_says_so(
    database: Database, make_version: MakeVersion, judged: Judge, bad: bytes
) -> None:
    answer_with(database, make_version(bad))
    number = make_version(GOOD)

    assert judged(number, policy=GatePolicy.AUTO) is GateOutcome.PROMOTED

    with open_session(database) as session:
        model = get_model(session, "xor")
        assert (model.upcoming or model.champion).number == number  # type: ignore[union-attr]  # One of them is.


def test_an_equal_candidate_is_not_better(make_version: MakeVersion, judged: Judge, database: Database) -> None:
    number = make_version(GOOD)

    assert judged(number) is GateOutcome.ARCHIVED

    with open_session(database) as session:
        assert str(get_version(session, "xor", number).archive_reason).startswith("not better than 0 beyond chance")


def test_feedback_that_nobody_saw_counts_too(
    database: Database, make_version: MakeVersion, judged: Judge, committed: Rows
) -> None:
    answer_and_label(committed, 60)
    number = make_version(GOOD)

    judged(number)

    with open_session(database) as session:
        verdict = find_verdict(session, get_version(session, "xor", number).id)
        assert verdict is not None
        assert {each["name"]: each["items"] for each in verdict.comparisons} == {"held_out": 200, "recent_feedback": 60}


def test_a_model_without_items_of_its_own_is_compared_on_the_feedback_that_is_kept(
    database: Database, make_version: MakeVersion, judged: Judge, committed: Rows
) -> None:
    number = make_version(GOOD, model="ours", config={**CONFIG, "name": "ours"})
    answer_with(database, number, model="ours")
    with open_session(database) as session:
        ours = get_version(session, "ours", number)
        labelled = answer_and_label(committed, 60, model_id=ours.model_id, model_version_id=ours.id)
    candidate = make_version(GOOD, model="ours", config={**CONFIG, "name": "ours"})

    judged(candidate, model="ours", held_out_share=0.5, max_items=60, min_items=10)

    with open_session(database) as session:
        verdict = find_verdict(session, get_version(session, "ours", candidate).id)
        assert verdict is not None
        kept = sum(is_held_out(each, 0.5) for each in labelled)
        assert {each["name"]: each["items"] for each in verdict.comparisons} == {
            "held_out": kept,
            "recent_feedback": 60 - kept,
        }


def test_a_candidate_that_cannot_be_loaded_is_archived(
    database: Database, make_version: MakeVersion, judged: Judge
) -> None:
    number = make_version(b"no weights")

    assert judged(number) is GateOutcome.ARCHIVED

    with open_session(database) as session:
        assert str(get_version(session, "xor", number).archive_reason).startswith("it cannot be loaded: ")


def test_a_verdict_stands(make_version: MakeVersion, judged: Judge, bad: bytes, database: Database) -> None:
    number = make_version(bad)
    judged(number)

    assert judged(number) is GateOutcome.ARCHIVED

    with open_session(database) as session:
        assert len([each for each in decisions(session) if each.action == DecisionAction.ARCHIVE]) == 1


def test_a_version_that_somebody_archived_is_left_alone(
    make_version: MakeVersion, judged: Judge, bad: bytes, database: Database
) -> None:
    number = make_version(bad)
    with open_session(database) as session:
        version = get_version(session, "xor", number)
        archive(session, version=version, reason="no use", actor="tests")

    assert judged(number) is GateOutcome.UNDECIDED

    with open_session(database) as session:
        assert find_verdict(session, get_version(session, "xor", number).id) is None


@pytest.mark.parametrize("part", ["champion", "upcoming", "challenger", "failed"])
@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
def test_a_version_that_has_its_part_already_or_failed_is_left_alone(
    make_version: MakeVersion,
    judged: Judge,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    meanwhile: bool,
) -> None:
    number = make_version(GOOD)

    def examine(*_arguments: Any) -> Decision:
        assert meanwhile, "nothing is compared for a version that is left alone"
        give_part(database, number, part)
        return Decision(outcome=GateOutcome.ARCHIVED, reason="it is worse")

    monkeypatch.setattr(gating, "_examine", examine)
    if not meanwhile:
        give_part(database, number, part)

    assert judged(number) is GateOutcome.UNDECIDED

    with open_session(database) as session:
        version = get_version(session, "xor", number)
        assert (find_verdict(session, version.id), version.archived_at) == (None, None)


def test_a_comparison_that_takes_too_long_leaves_the_version_to_a_person(
    make_version: MakeVersion, judged: Judge, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gating, "TIME_LIMIT_S", 0.01)
    number = make_version(GOOD)

    assert judged(number) is GateOutcome.UNDECIDED

    with open_session(database) as session:
        assert decisions(session)[0].reason.startswith("the comparison failed: it took longer than 0.01 s")
        assert get_version(session, "xor", number).archived_at is None


@pytest.mark.parametrize(
    ("policy", "outcome"), [(GatePolicy.MANUAL, GateOutcome.UNDECIDED), (GatePolicy.AUTO, GateOutcome.PROMOTED)]
)
def test_the_first_version_of_a_model_has_nobody_to_beat(
    make_version: MakeVersion, judged: Judge, policy: GatePolicy, outcome: GateOutcome
) -> None:
    number = make_version(GOOD, model="ours")

    assert judged(number, model="ours", policy=policy) is outcome


def test_a_champion_that_changes_meanwhile_is_compared_with_anew(
    make_version: MakeVersion, judged: Judge, bad: bytes, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, worse = make_version(GOOD), make_version(bad)
    examine = gating._examine

    def interrupted(*arguments: Any) -> Any:
        decision = examine(*arguments)
        answer_with(database, worse)
        return decision

    monkeypatch.setattr(gating, "_examine", interrupted)

    assert judged(number) is GateOutcome.CHALLENGER


def test_a_version_whose_judge_died_is_found(make_version: MakeVersion, database: Database) -> None:
    number = make_version(GOOD)
    with open_session(database) as session:
        session.execute(
            text("UPDATE model_versions SET training_id = gen_random_uuid() WHERE id = :id"),
            {"id": get_version(session, "xor", number).id},
        )

    with open_session(database) as session:
        assert waiting_for_judgement(session, older_than_s=0.0) == [("xor", number)]
        assert waiting_for_judgement(session, older_than_s=60.0) == []


def decisions(session: Session) -> list[Any]:
    return list(list_decisions(session, model_id=get_model(session, "xor").id, limit=10))


def challenger(session: Session) -> ModelVersion:
    found = get_model(session, "xor").challenger
    assert found is not None
    return found


def answer_with(database: Database, number: int, model: str = "xor") -> None:
    """Make a version the champion at once, as the workers that hold it do."""
    with open_session(database) as session:
        promote(session, name=model, number=number, actor="tests", reason="to answer")
        found = get_model(session, model)
        found.champion, found.upcoming = get_version(session, model, number), None


def give_part(database: Database, number: int, part: str) -> None:
    """Let a version be what a person, or the workers, made of it."""
    with open_session(database) as session:
        version = get_version(session, "xor", number)
        if part == "failed":
            version.failed_at = datetime.now(UTC)
        else:
            setattr(get_model(session, "xor"), part, version)


def answer_and_label(rows: Rows, count: int, **changes: Any) -> list[UUID]:
    """Predictions that were answered and labelled rightly; returns their ids."""
    rows.add_many(count, **changes)
    claims = []
    while claimed := rows.claim(limit=count):
        claims += claimed
    ledger.complete(rows.connection, [success(claim) for claim in claims])
    give_feedback(rows.connection, {claim.id: "1" for claim in claims})
    return [claim.id for claim in claims]
