"""`store.drift_checks` and `store.drift`: references that are learned, alarms that are raised and end."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from schemas.drift import DriftSchema, DriftSettings
from schemas.enums import DriftMeasure
from schemas.model_settings import ModelSettings
from store.decisions import list_decisions
from store.drift import open_alarms, read_drift, read_gauges
from store.drift_checks import check_model
from store.models import ServedVersion, configure, resolve
from store.promotion import promote
from tests.factories import TENANT, add_model

NAME = "drifting"

SMALL = DriftSettings(reference=200, window=100, min_feedback=50, checks=2)

LABELS = ("Bag", "Coat", "Sandal", "Shirt")

ADD = text("""
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, status, priority, input, claim_order, run_after, result,
        finished_at, created_at)
    SELECT r.id, :tenant, :model_id, :version_id, 'succeeded', 'normal', '[0, 1]', now(), now(), r.result,
        now(), clock_timestamp()
    FROM json_to_recordset(CAST(:rows AS json)) AS r(id uuid, result jsonb)
""")

CORRECT = text("""
    INSERT INTO feedback (
        prediction_id, api_key_id, model_id, model_version_id, label, is_correct, error, source, weight, recorded_by,
        predicted_at, updated_at)
    SELECT r.id, :tenant, :model_id, :version_id, '"Bag"', r.is_correct, r.error, 'test', 1, 1,
        clock_timestamp(), clock_timestamp()
    FROM json_to_recordset(CAST(:rows AS json)) AS r(id uuid, is_correct boolean, error double precision)
""")


class Answers:
    """A champion, and what it answers.

    Args:
        session: Rolled back at the end of the test.
        settings: When it counts as drifted.
    """

    def __init__(self, session: Session, settings: DriftSettings = SMALL) -> None:
        self.session = session
        self.version = add_model(session, NAME)
        configure(session, name=NAME, settings=ModelSettings(drift=settings))
        self.draw = random.Random(0)

    def add(self, results: Sequence[dict[str, Any]]) -> None:
        """Answer with these results."""
        self._run(ADD, [{"id": str(uuid7()), "result": result} for result in results])

    def usual(self, count: int) -> None:
        """Answer as ever."""
        self.add([self._result(LABELS, 0.9) for _ in range(count)])

    def shifted(self, count: int) -> None:
        """Answer as to other inputs: fewer labels, less sure."""
        self.add([self._result(LABELS[:1], 0.6) for _ in range(count)])

    def correct(self, right: int, wrong: int) -> None:
        """Send feedback on new answers."""
        self._run(CORRECT, [{"id": str(uuid7()), "is_correct": number < right} for number in range(right + wrong)])

    def measure(self, errors: Sequence[float]) -> None:
        """Send feedback on numbers that were off by so much."""
        self._run(CORRECT, [{"id": str(uuid7()), "error": error} for error in errors])

    def check(self) -> None:
        """Check once, as beat does."""
        check_model(self.session, self.version.model_id)
        self.session.flush()

    def alarms(self) -> list[str]:
        """The measures whose alarms are open."""
        return [alarm.measure for alarm in open_alarms(self.session, self.version.model_id)]

    def actions(self) -> list[str]:
        """What was decided about the model, newest first."""
        return [row.action for row in list_decisions(self.session, model_id=self.version.model_id, limit=9)]

    def report(self) -> dict[str, Any]:
        """What the API tells."""
        return read_drift(self.session, NAME)

    def _result(self, labels: Sequence[str], middle: float) -> dict[str, Any]:
        return {"label": self.draw.choice(labels), "score": min(1.0, max(0.1, self.draw.gauss(middle, 0.05)))}

    def _run(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        version = self.version
        self.session.execute(
            statement,
            {
                "tenant": TENANT,
                "model_id": version.model_id,
                "version_id": version.model_version_id,
                "rows": json.dumps(rows),
            },
        )


@pytest.fixture
def answers(session: Session) -> Answers:
    return Answers(session)


def drift(answers: Answers, checks: int = 2) -> None:
    """Answers as usual, then others, until enough checks have seen them."""
    answers.usual(300)
    answers.check()
    for _ in range(checks):
        answers.shifted(100)
        answers.check()


def test_too_few_answers_are_compared_with_nothing(answers: Answers) -> None:
    answers.usual(199)
    answers.check()

    report = answers.report()
    assert (report["reference"]["answers"], report["checked_at"], report["measures"]) == (199, None, [])


def test_a_window_that_is_not_full_is_not_compared(answers: Answers) -> None:
    answers.usual(200)
    answers.shifted(99)
    answers.check()

    assert (answers.report()["window"]["answers"], answers.report()["measures"]) == (99, [])


def test_answers_as_usual_raise_no_alarm(answers: Answers) -> None:
    for _ in range(6):
        answers.usual(100)
        answers.check()

    assert answers.alarms() == []
    assert [each["measure"] for each in answers.report()["measures"]] == [DriftMeasure.LABELS, DriftMeasure.SCORES]


def test_other_answers_raise_an_alarm_by_measure(answers: Answers) -> None:
    drift(answers)

    assert answers.alarms() == ["labels", "scores"]
    assert answers.actions()[:2] == ["drift", "drift"]


def test_a_difference_must_stay_to_be_an_alarm(answers: Answers) -> None:
    drift(answers, checks=1)
    answers.usual(100)
    answers.check()

    assert answers.alarms() == []


def test_a_check_without_new_answers_does_not_count(answers: Answers) -> None:
    drift(answers, checks=1)
    answers.check()
    answers.shifted(9)
    answers.check()

    assert answers.alarms() == []
    assert {each["checks_over"] for each in answers.report()["measures"]} == {1}


def test_an_open_alarm_is_not_raised_again(answers: Answers) -> None:
    drift(answers, checks=4)

    assert answers.alarms() == ["labels", "scores"]


def test_an_alarm_ends_when_answers_are_as_usual_again(answers: Answers) -> None:
    drift(answers)
    for _ in range(2):
        answers.usual(100)
        answers.check()

    assert answers.alarms() == []
    assert answers.report()["alarms"][0]["close_reason"] == "it is as usual again"
    assert answers.actions()[:2] == ["drift_over", "drift_over"]


def test_a_promotion_ends_the_alarms_and_begins_anew(answers: Answers, session: Session) -> None:
    drift(answers)
    answers.version = add_model(session, NAME, number=2)
    answers.check()

    report = answers.report()
    assert (report["version"], report["reference"]["answers"], answers.alarms()) == (2, 0, [])
    assert report["alarms"][0]["close_reason"] == "version 2 answers now"


def test_a_champion_that_comes_back_is_watched_anew(answers: Answers, session: Session) -> None:
    drift(answers)
    add_model(session, NAME, number=2)
    answers.check()
    # The transaction's time stands still, and with it that of promotions.
    session.execute(text("UPDATE drift_monitors SET since = since - interval '1 day'"))
    session.expire_all()
    promote(session, name=NAME, number=1, actor="test", reason="back")
    answers.check()

    assert (answers.report()["version"], answers.alarms()) == (1, [])
    assert {each["checks_over"] for each in answers.report()["measures"]} == {1}


def test_a_model_that_is_not_watched_raises_no_alarm(session: Session) -> None:
    answers = Answers(session, DriftSettings(enabled=False, reference=200, window=100))
    drift(answers)

    assert (answers.alarms(), answers.report()["checked_at"]) == ([], None)


def test_a_fall_of_accuracy_raises_an_alarm(answers: Answers) -> None:
    answers.correct(95, 5)
    answers.check()
    for _ in range(2):
        answers.correct(70, 30)
        answers.check()

    [alarm] = open_alarms(answers.session, answers.version.model_id)
    assert (alarm.measure, alarm.threshold) == ("accuracy", 0.05)
    assert alarm.value == pytest.approx(0.25)
    assert (alarm.figures["reference_value"], alarm.figures["window_value"]) == (0.95, 0.7)


def test_little_feedback_is_no_alarm(answers: Answers) -> None:
    answers.correct(95, 5)
    for _ in range(4):
        answers.correct(2, 10)
        answers.check()

    assert answers.alarms() == []


def test_the_held_out_accuracy_stands_in_until_there_is_feedback(answers: Answers) -> None:
    answers.session.execute(
        text("""UPDATE model_versions SET metrics = '{"test_accuracy": 0.95, "test_items": 10000}' WHERE id = :id"""),
        {"id": answers.version.model_version_id},
    )
    answers.session.expire_all()
    for _ in range(2):
        answers.correct(30, 19)
        answers.check()
        answers.correct(0, 1)
        answers.check()

    [figure] = answers.report()["measures"]
    assert (figure["measure"], figure["reference_samples"], figure["reference_value"]) == ("accuracy", 10000, 0.95)


def test_larger_errors_raise_an_alarm(answers: Answers) -> None:
    answers.measure([answers.draw.expovariate(1 / 10) for _ in range(100)])
    answers.check()
    for _ in range(2):
        answers.measure([answers.draw.expovariate(1 / 40) for _ in range(100)])
        answers.check()

    [alarm] = open_alarms(answers.session, answers.version.model_id)
    assert (alarm.measure, alarm.threshold) == ("error", 0.25)
    assert alarm.value == pytest.approx(2.5, abs=1)


def test_the_report_is_what_its_schema_says(answers: Answers) -> None:
    drift(answers)

    assert DriftSchema().validate(json.loads(json.dumps(DriftSchema().dump(answers.report())))) == {}


def test_gauges_tell_the_champions_figures_and_alarms(answers: Answers) -> None:
    drift(answers)

    gauges = [row for row in read_gauges(answers.session.connection()) if row["model"] == NAME]
    assert [(row["version"], row["measure"], row["is_open"]) for row in gauges] == [
        (1, "labels", True),
        (1, "scores", True),
    ]


@pytest.mark.parametrize(
    ("name", "usual", "other", "measures"),
    [
        ("diamond-price", {"value": 1000.0}, {"value": 3000.0}, ["scores"]),
        ("fashion-similar", {"items": [{"distance": 0.1}]}, {"items": [{"distance": 0.9}]}, ["scores"]),
        (
            "garments",
            {"classes": [{"label": "Coat", "score": 0.8}, {"label": "Bag", "score": 0.1}]},
            {"classes": []},
            ["labels"],
        ),
    ],
)
def test_other_kinds_are_watched_by_what_they_answer(
    session: Session, name: str, usual: dict[str, Any], other: dict[str, Any], measures: list[str]
) -> None:
    answers = Answers(session)
    answers.version = _champion(session, name)

    def vary(result: dict[str, Any]) -> dict[str, Any]:
        # Numbers differ a little, so that there are deciles.
        return {
            key: value * answers.draw.uniform(0.9, 1.1)
            if isinstance(value, float)
            else [
                {
                    inner: each if isinstance(each, str) else each * answers.draw.uniform(0.9, 1.1)
                    for inner, each in part.items()
                }
                for part in value
            ]
            for key, value in result.items()
        }

    answers.add([vary(usual) for _ in range(300)])
    answers.check()
    for _ in range(2):
        answers.add([vary(other) for _ in range(100)])
        answers.check()

    assert answers.alarms() == measures


def _champion(session: Session, name: str) -> ServedVersion:
    """A bundled model's champion, which its own earlier answers do not count for."""
    configure(session, name=name, settings=ModelSettings(drift=SMALL))
    return resolve(session, name)
