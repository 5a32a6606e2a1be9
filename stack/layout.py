"""Starting as many CPU workers, of as many threads, as were measured on this kind of machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from ml.devices import list_devices
from ml.layouts import Layout, affordable_processes
from ml.machine import host_kind, torch_version
from stack.plan import Plan, inference_services
from stack.service import Service
from store.database import open_session
from store.models import ServedVersion
from store.tables.process_layout import ProcessLayout
from store.tunings import find_layout

#: Time between two looks whether a worker has measured.
LOOK_EVERY_S = 2.0


def stored_layout(database: Database) -> Layout | None:
    """Return what was measured on this kind of machine, with no more processes than there is memory for."""
    row = _find(database)
    return None if row is None else _layout_of(row)


def follow_measurement(plan: Plan, database: Database, say: Callable[[str], None]) -> Plan:
    """Return a plan with the layout that was measured on this kind of machine, or one by which it is measured."""
    if list_devices()[0].startswith("cuda"):
        return plan
    row = _find(database)
    if row is None:
        return replace(plan, measures_layout=True)
    say(describe_layout(row))
    return replace(plan, layout=_layout_of(row))


def stored_figures(database: Database, version: ServedVersion) -> dict[str, Any] | None:
    """Return all that was measured on this kind of machine, if it was with this version."""
    row = _find(database)
    if row is None or (row.figures["model"], row.figures["version"]) != (version.model, version.number):
        return None
    return {"host_kind": row.host_kind, "processes": row.processes, "threads": row.threads, **row.figures}


class LayoutFollower:
    """Starts the workers that a measurement asks for beside those that run; called again and again by the supervisor.

    Args:
        plan: By which the stack was started.
        database: Where workers store what they measure.
        env: Variables of every process.
        say: Tells the operator.
    """

    def __init__(self, plan: Plan, database: Database, env: dict[str, str], say: Callable[[str], None]) -> None:
        self._plan = plan
        self._database = database
        self._env = env
        self._say = say
        self._look_at = 0.0
        self._found = not plan.measures_layout

    def __call__(self) -> Sequence[Service]:
        """Return the workers that are to be started now: once some, for the rest of the time none."""
        if self._found or time.monotonic() < self._look_at:
            return ()
        self._look_at = time.monotonic() + LOOK_EVERY_S
        try:
            row = _find(self._database)
        except SQLAlchemyError:
            return ()
        if row is None:
            return ()
        self._found = True
        return self._follow(_layout_of(row), describe_layout(row))

    def _follow(self, layout: Layout, figures: str) -> Sequence[Service]:
        if layout.threads != self._plan.layout.threads:
            # Threads are a property of a process, and whoever runs now would have to leave for it.
            self._say(f"from the next start: {figures}")
            return ()
        self._say(figures)
        running = inference_services(self._plan, self._database, self._env)
        wanted = inference_services(replace(self._plan, layout=layout), self._database, self._env)
        return wanted[len(running) :]


def describe_layout(row: ProcessLayout) -> str:
    """Say how many workers are started, and what was measured."""
    figures = row.figures
    rates = ", ".join(f"{each['processes']} x {each['threads']} {each['items_per_s']}/s" for each in figures["layouts"])
    layout = _layout_of(row)
    return (
        f"{layout.processes} CPU worker(s) of {layout.threads} thread(s), as measured with {figures['model']} "
        f"(workers x threads: {rates})"
    )


def _find(database: Database) -> ProcessLayout | None:
    with open_session(database) as session:
        return find_layout(session, host_kind=host_kind(), torch_version=torch_version())


def _layout_of(row: ProcessLayout) -> Layout:
    return Layout(processes=min(row.processes, affordable_processes()), threads=row.threads)
