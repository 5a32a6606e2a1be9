"""`stack.layout`: workers are started as they were measured, and in a stack that measures, beside those that run."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from ml.layouts import Layout
from stack import layout as module
from stack.layout import LayoutFollower, follow_measurement
from stack.plan import Plan
from store.settings import Settings
from store.tables.process_layout import ProcessLayout

DATABASE = create_autospec(Engine, instance=True, spec_set=True)
RATES = [{"processes": 1, "threads": 1, "items_per_s": 10.0}, {"processes": 2, "threads": 1, "items_per_s": 18.5}]

Store = Callable[..., None]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a machine without GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = Settings(database_url="", redis_url="", object_url="", var_dir=tmp_path)
    return Plan(settings=settings, host="127.0.0.1", port=80)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Stores a measurement; nothing is stored before."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(module, "affordable_processes", lambda: 3)
    monkeypatch.setattr(module, "_find", lambda _database: None)

    def store(processes: int, threads: int = 1) -> None:
        figures = {"model": "fashion", "layouts": RATES}
        row = ProcessLayout(processes=processes, threads=threads, figures=figures)
        monkeypatch.setattr(module, "_find", lambda _database: row)

    return store


def test_what_was_measured_is_started_and_said_with_its_figures(plan: Plan, store: Store, said: list[str]) -> None:
    store(2)

    followed = follow_measurement(plan, DATABASE, said.append)

    assert followed.layout == Layout(processes=2, threads=1)
    assert not followed.measures_layout
    assert said == [
        "2 CPU worker(s) of 1 thread(s), as measured with fashion (workers x threads: 1 x 1 10.0/s, 2 x 1 18.5/s)"
    ]


def test_no_more_are_started_than_there_is_memory_for(plan: Plan, store: Store, said: list[str]) -> None:
    store(64)

    assert follow_measurement(plan, DATABASE, said.append).layout.processes == 3


@pytest.mark.usefixtures("store")
def test_where_nobody_measured_the_stack_does(plan: Plan, said: list[str]) -> None:
    assert follow_measurement(plan, DATABASE, said.append).measures_layout
    assert said == []


@pytest.mark.usefixtures("store")
def test_a_machine_with_gpus_has_nothing_to_measure(
    plan: Plan, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "list_devices", lambda: ["cuda:0"])

    assert not follow_measurement(plan, DATABASE, said.append).measures_layout


def test_workers_that_are_missing_are_started_once(plan: Plan, store: Store, said: list[str]) -> None:
    follower = LayoutFollower(follow_measurement(plan, DATABASE, said.append), DATABASE, {}, said.append)
    assert follower() == ()

    store(3)

    assert [service.name for service in follower()] == ["cpu-1", "cpu-2"]
    assert follower() == ()
    assert [line.partition(",")[0] for line in said] == ["3 CPU worker(s) of 1 thread(s)"]


def test_another_number_of_threads_is_for_the_next_start(plan: Plan, store: Store, said: list[str]) -> None:
    follower = LayoutFollower(follow_measurement(plan, DATABASE, said.append), DATABASE, {}, said.append)
    store(1, threads=2)

    assert follower() == ()
    assert said[0].startswith("from the next start: 1 CPU worker(s) of 2 thread(s)")


def test_a_stack_whose_operator_decided_follows_nothing(plan: Plan, store: Store, said: list[str]) -> None:
    store(3)

    assert LayoutFollower(plan, DATABASE, {}, said.append)() == ()


def test_while_postgres_is_away_it_looks_again(
    plan: Plan, store: Store, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = LayoutFollower(follow_measurement(plan, DATABASE, said.append), DATABASE, {}, said.append)

    def refuse(_database: Engine) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(module, "_find", refuse)
    assert follower() == ()

    store(2)
    assert [service.name for service in follower()] == ["cpu-1"]
