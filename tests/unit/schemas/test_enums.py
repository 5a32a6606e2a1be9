"""`schemas.enums` and `schemas.names`: one spelling for all processes."""

import pytest

from schemas.enums import ErrorCode, IndexAction, PredictionStatus, Priority, Scope, WorkerRole
from schemas.names import QueueName, TaskName, inference_queue, reply_channel


@pytest.mark.parametrize("words", [ErrorCode, IndexAction, PredictionStatus, Priority, Scope, WorkerRole, TaskName])
def test_a_member_reads_as_it_is_named(words: type[ErrorCode]) -> None:
    assert all(str(member) == member.name.lower() for member in words)


@pytest.mark.parametrize(
    ("status", "is_terminal"),
    [
        (PredictionStatus.QUEUED, False),
        (PredictionStatus.PROCESSING, False),
        (PredictionStatus.SUCCEEDED, True),
        (PredictionStatus.FAILED, True),
        (PredictionStatus.CANCELED, True),
        (PredictionStatus.EXPIRED, True),
    ],
)
def test_only_what_waits_or_runs_may_change(status: PredictionStatus, is_terminal: bool) -> None:
    assert status.is_terminal is is_terminal


def test_a_task_is_named_by_a_verb_and_a_noun() -> None:
    assert all("_" in name for name in TaskName)


def test_every_role_but_that_which_polls_has_its_queue() -> None:
    assert {str(role) for role in WorkerRole} - {WorkerRole.DELIVERY} == {str(queue) for queue in QueueName}


def test_a_device_of_each_host_has_a_queue_of_its_own() -> None:
    assert inference_queue("cuda-0@host") == "inference-cuda-0@host"


def test_a_web_process_has_a_channel_of_its_own() -> None:
    assert reply_channel("host-1") != reply_channel("host-2")
