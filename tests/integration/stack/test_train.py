"""`torchqueue train`: what somebody who waits sees of a training."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import redis
from click.testing import Result
from rich.progress import Progress
from sqlalchemy import Connection

from schemas.enums import TrainingErrorCode
from schemas.names import QueueName
from stack.commands import train
from store import training_ledger as ledger
from store.training_ledger import TrainingClaim
from tests.broker import PREFIX
from tests.factories import Rows
from tests.integration.stack.conftest import Torchqueue

Step = Callable[[Connection, TrainingClaim], object]

#: What the bar shows at one look: what runs, steps done, steps in all, and how it goes.
Look = tuple[str, float, float | None, str]

Follow = Callable[..., tuple[Result, list[Look]]]

FIRST: Mapping[str, Any] = {"epoch": 1, "epochs": 2, "step": 3, "steps": 6, "loss": 0.5, "metric": 0.75}
LAST: Mapping[str, Any] = {"epoch": 2, "epochs": 2, "step": 6, "steps": 6, "loss": 0.25, "metric": 1.0}


class TrainingWorker:
    """Stands in for a training worker: does one step whenever somebody who follows the training has looked.

    Args:
        rows: With a connection that commits by itself.
        steps: Each is told the claim; claiming is the first, whatever they are.
    """

    def __init__(self, rows: Rows, steps: list[Step]) -> None:
        self._rows, self._steps = rows, iter(steps)
        self._claim: TrainingClaim | None = None
        self.bar: Progress | None = None
        self.looks: list[Look] = []

    def keep(self, bar: Progress) -> Progress:
        """Watch this bar."""
        self.bar = bar
        return bar

    def sleep(self, _seconds: float) -> None:
        """Note what the bar shows, and do the next step."""
        assert self.bar is not None
        [task] = self.bar.tasks
        self.looks.append((task.description, task.completed, task.total, task.fields["state"]))
        connection = self._rows.connection
        if self._claim is None:
            self._claim = ledger.claim_training(connection, worker_id=self._rows.worker_id, device="cpu:0")
        else:
            next(self._steps)(connection, self._claim)


@pytest.fixture
def follow(
    torchqueue: Torchqueue, committed: Rows, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Follow]:
    """Run `torchqueue train xor --wait` beside a worker that does these steps."""

    def run(*steps: Step) -> tuple[Result, list[Look]]:
        worker = TrainingWorker(committed, list(steps))
        make_bar = train._progress_bar
        monkeypatch.setattr(train, "_progress_bar", lambda: worker.keep(make_bar()))
        # All that it needs of the module `time` is a pause between two looks.
        monkeypatch.setattr("stack.commands.train.time", worker)
        result = torchqueue("train", "xor", "--wait", env={"COLUMNS": "200"})
        return result, worker.looks

    yield run
    valkey.delete(f"{PREFIX}{QueueName.TRAINING}")


def report(progress: Mapping[str, Any]) -> Step:
    return lambda connection, claim: ledger.report(connection, claim, progress=progress, log="")


def succeed(connection: Connection, claim: TrainingClaim) -> None:
    assert claim.parent_version_id is not None
    ledger.succeed(connection, claim, version_id=claim.parent_version_id, metrics={})


def fail(connection: Connection, claim: TrainingClaim) -> None:
    ledger.fail(connection, claim, code=TrainingErrorCode.NO_DATA, detail="there is nothing to learn from")


def cancel(connection: Connection, claim: TrainingClaim) -> None:
    ledger.cancel(connection, claim.id)


def test_the_bar_follows_a_training_step_by_step(follow: Follow) -> None:
    result, looks = follow(report(FIRST), report(LAST), succeed)

    assert looks == [
        ("xor queued", 0, None, ""),
        ("xor processing", 0, None, ""),
        ("xor processing", 3, 6, "epoch 1/2  loss 0.5000  metric 0.7500"),
        ("xor processing", 6, 6, "epoch 2/2  loss 0.2500  metric 1.0000"),
    ]
    assert "epoch 2/2  loss 0.2500  metric 1.0000" in result.stderr
    assert (result.exit_code, result.stdout.partition(";")[0]) == (0, "xor version 1 is registered")


@pytest.mark.parametrize(
    ("end", "said"), [(fail, "there is nothing to learn from"), (cancel, "it is canceled")], ids=["failed", "canceled"]
)
def test_who_waits_is_told_why_no_version_came(follow: Follow, end: Step, said: str) -> None:
    result, looks = follow(report(FIRST), end)

    assert looks[-1][:3] == ("xor processing", 3, 6)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(f"Error: training xor failed: {said}\n")
