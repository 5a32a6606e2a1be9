"""`schemas.prediction_arguments` and `schemas.predictions`: what requests may say, and that the examples are true."""

from typing import Any

import pytest
from marshmallow import Schema, ValidationError

from schemas import feedback, models, predictions, problems, status
from schemas.enums import Priority
from schemas.prediction_arguments import PredictionListQueryArgsSchema, PredictionQueryArgsSchema

EXAMPLES: list[tuple[type[Schema], dict[str, Any]]] = [
    (predictions.PredictionSchema, predictions.EXAMPLE),
    (predictions.PredictionSchema, predictions.CANCELED_EXAMPLE),
    (predictions.QueuedPredictionSchema, predictions.QUEUED_EXAMPLE),
    (predictions.PredictionPageSchema, predictions.PAGE_EXAMPLE),
    (feedback.FeedbackSchema, feedback.EXAMPLE),
    (feedback.BulkFeedbackSchema, feedback.BULK_EXAMPLE),
    (feedback.AccuracySchema, feedback.ACCURACY_EXAMPLE),
    (models.ModelSchema, models.EXAMPLE),
    (models.ModelVersionSchema, models.VERSION_EXAMPLE),
    (status.StatsSchema, status.STATS_EXAMPLE),
    (status.QueueListSchema, status.QUEUES_EXAMPLE),
    (status.LiveSchema, status.LIVE_EXAMPLE),
    (status.ReadySchema, status.READY_EXAMPLE),
]


@pytest.mark.parametrize(("schema", "example"), EXAMPLES)
def test_an_example_is_what_its_schema_says(schema: type[Schema], example: dict[str, Any]) -> None:
    assert schema().validate(example) == {}
    assert set(example) == {field.data_key or name for name, field in schema().fields.items()}


def test_a_request_that_says_nothing_asks_the_champion_at_normal_priority() -> None:
    loaded = PredictionQueryArgsSchema().load({})

    assert (loaded["version"], loaded["priority"], loaded["deadline_ms"]) == (None, Priority.NORMAL, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "0"),
        ("version", "one"),
        ("priority", "urgent"),
        ("priority", "NORMAL"),
        ("deadline_ms", "0"),
        ("deadline_ms", "86400001"),
        ("catalog", ""),
        ("catalog", "x" * 256),
        ("external_id", "a\x00b"),
    ],
)
def test_a_bad_argument_is_named(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        PredictionQueryArgsSchema().load({field: value})

    assert list(refusal.value.messages_dict) == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "0"),
        ("limit", "501"),
        ("cursor", "first"),
        ("status", "done"),
        ("created_after", "yesterday"),
        ("created_after", "2026-11-20T12:00:00"),
        ("model", "a\x00b"),
    ],
)
def test_a_bad_filter_is_named(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        PredictionListQueryArgsSchema().load({field: value})

    assert list(refusal.value.messages_dict) == [field]


def test_a_problem_needs_no_field() -> None:
    problem = {"type": "unknown-path", "title": "Not Found", "status": 404, "detail": "there is nothing"}

    assert problems.ProblemSchema().validate(problem) == {}
