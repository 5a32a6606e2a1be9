"""`webapp.admission`: who is let in, and when the others are to come back. What waits is said by hand."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from schemas.enums import Priority
from schemas.model_settings import ModelSettings
from store.keys import KeyLimits, Principal
from store.models import ServedVersion
from store.queue_load import Waiting
from store.rates import Rate
from store.settings import Settings
from webapp.admission import JITTER, Admission
from webapp.balancer import WorkerView
from webapp.errors import (
    DeadlineUnreachableError,
    KeyQueueFullError,
    NoWorkerError,
    OverloadedError,
    QueueFullError,
    RefusedError,
)
from webapp.forecast import make_forecast
from webapp.learned import LearnedBalancer
from webapp.pressure import Changes, Pressure
from webapp.workers import WorkerDirectory

XOR = "xor/1"
NOBODY = create_engine("postgresql+psycopg2:///nowhere")

TENANT, OTHER = 1, 2

Admit = Callable[..., None]


class StillDirectory(WorkerDirectory):
    """Knows one worker, or none for long."""

    def __init__(self, *, worker: bool = True, unloadable: frozenset[str] = frozenset()) -> None:
        super().__init__(NOBODY, LearnedBalancer(random.Random(0)))
        self._unloadable = unloadable
        self._seen_at = 0.0
        rates = {XOR: Rate(fixed_s=0.0, item_s=0.01)}
        self.views = (WorkerView(worker_id=1, queue="q", held=frozenset({XOR}), rates=rates),) if worker else ()


class StillPressure(Pressure):
    """Saw these rows, each 10 ms of work, and nothing since."""

    def __init__(self, *groups: Waiting, measured: bool = True) -> None:
        super().__init__(NOBODY, list)
        costs = {XOR: 0.01} if measured else {}
        self._seen = (make_forecast(groups, {}, costs, {XOR: 0.02}, 1.0), Changes(costs), self._seen[2])


def waiting(rows: int, tenant: int = TENANT, priority: Priority = Priority.NORMAL) -> Waiting:
    """Rows that are all due."""
    return Waiting(version=XOR, priority=priority, api_key_id=tenant, rows=rows, first_s=-20.0, last_s=-10.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        database_url="", redis_url="", object_url="", var_dir=tmp_path, max_queued=1000, max_queued_per_tenant=900
    )


@pytest.fixture
def admit(settings: Settings) -> Admit:
    """Ask for a prediction while these rows wait."""

    def ask(
        *groups: Waiting,
        limits: KeyLimits | None = None,
        tenant: int = TENANT,
        priority: Priority = Priority.NORMAL,
        deadline_ms: int | None = None,
        max_wait_ms: int | None = 5000,
        measured: bool = True,
        directory: WorkerDirectory | None = None,
    ) -> None:
        pressure = StillPressure(*groups, measured=measured)
        admission = Admission(settings, pressure, directory or StillDirectory(), random.Random(0))
        caller = Principal(tenant, "id", frozenset(), "tests", limits)
        version = served(ModelSettings(max_wait_ms=max_wait_ms))
        admission.check(caller, version, priority=priority, deadline_ms=deadline_ms)

    return ask


def served(settings: ModelSettings) -> ServedVersion:
    return ServedVersion(
        model_id=1,
        model_version_id=1,
        model="xor",
        number=1,
        kind="classification",
        config={},
        weights_sha256="",
        settings=settings,
    )


def test_who_comes_in_time_is_let_in(admit: Admit) -> None:
    admit(waiting(400))


def test_who_would_wait_too_long_is_refused_and_told_when_to_come_back(admit: Admit) -> None:
    with pytest.raises(OverloadedError, match=r"would wait 7\.0 s .* lets one wait 5 s") as refused:
        admit(waiting(700))

    assert 2.0 <= refused.value.retry_after_s <= 2.0 * (1.0 + JITTER)


def test_a_model_may_let_any_wait_be(admit: Admit) -> None:
    admit(waiting(700), max_wait_ms=None)


def test_bulk_work_may_wait(admit: Admit) -> None:
    admit(waiting(700), priority=Priority.BULK)


def test_a_deadline_that_cannot_be_met_is_refused_at_once(admit: Admit) -> None:
    with pytest.raises(DeadlineUnreachableError, match=r"finished in 4\.0 s, after its deadline_ms of 3000") as refused:
        admit(waiting(398), deadline_ms=3000)

    assert 1.0 <= refused.value.retry_after_s <= 1.0 * (1.0 + JITTER)


def test_a_deadline_that_can_be_met_is_let_in(admit: Admit) -> None:
    admit(waiting(200), deadline_ms=3000)


def test_bulk_work_has_deadlines_too(admit: Admit) -> None:
    with pytest.raises(DeadlineUnreachableError):
        admit(waiting(400), priority=Priority.BULK, deadline_ms=3000)


def test_where_nobody_measured_nobody_is_sent_away_for_the_wait(admit: Admit) -> None:
    admit(waiting(700), measured=False, deadline_ms=1)


def test_a_key_may_have_as_many_waiting_as_it_says(admit: Admit) -> None:
    with pytest.raises(KeyQueueFullError, match="10 predictions of this key wait, and 10 may"):
        admit(waiting(10), limits=KeyLimits(max_queued=10))


def test_the_rows_of_other_keys_take_nothing_of_a_keys_room(admit: Admit) -> None:
    admit(waiting(10, OTHER), limits=KeyLimits(max_queued=10))


def test_a_key_that_says_nothing_has_the_stacks_bound(admit: Admit) -> None:
    with pytest.raises(KeyQueueFullError, match="900 may"):
        admit(waiting(900), max_wait_ms=None)


def test_the_last_fifth_of_the_room_is_for_interactive_predictions(admit: Admit) -> None:
    with pytest.raises(QueueFullError, match="room for 800 of this priority"):
        admit(waiting(800, OTHER), max_wait_ms=None)

    admit(waiting(800, OTHER), max_wait_ms=None, priority=Priority.INTERACTIVE)


def test_a_full_queue_takes_nobody(admit: Admit) -> None:
    with pytest.raises(QueueFullError):
        admit(waiting(1000, OTHER), max_wait_ms=None, priority=Priority.INTERACTIVE)


def test_without_a_worker_nothing_is_accepted(admit: Admit) -> None:
    with pytest.raises(NoWorkerError, match="no worker lives"):
        admit(directory=StillDirectory(worker=False))


def test_a_version_that_no_worker_could_load_is_not_accepted(admit: Admit) -> None:
    with pytest.raises(NoWorkerError, match="version 1 of 'xor'"):
        admit(directory=StillDirectory(unloadable=frozenset({XOR})))


def test_those_who_are_refused_together_do_not_come_back_together(settings: Settings) -> None:
    admission = Admission(settings, StillPressure(waiting(700)), StillDirectory(), random.Random(0))
    caller = Principal(TENANT, "id", frozenset(), "tests", None)

    times = set()
    for _ in range(10):
        with pytest.raises(RefusedError) as refused:
            admission.check(
                caller, served(replace(ModelSettings(), max_wait_ms=5000)), priority=Priority.NORMAL, deadline_ms=None
            )
        times.add(refused.value.retry_after_s)

    assert len(times) == 10
