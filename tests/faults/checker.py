"""The one checker of the invariants I1 to I13, over what clients were told and what plain SQL finds.

It shares no line with the store. A witness of its own writes down every move of every row. What is judged where stands
in docs/reliability.md.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from tests.faults.history import DECLARED, NONCE_STEP, Request
from tests.faults.orphans import OrphanWatch
from tests.faults.others import untouched_ms
from tests.faults.told import Told, find_untold
from tests.faults.witness import DELIVERIES, HELD, MOVES, OPEN, ROWS, THERE, WITNESS

#: A row must have ended so long after the last fault.
END_WITHIN_S = 60.0

MAX_ATTEMPTS = 3
MAX_CRASHES = 2

#: How an innocent row ends that was in a killed process twice, or in three attempts: declared, and counted apart.
GIVEN_UP = frozenset({"worker_crash", "attempts_exhausted"})

TERMINAL = ("succeeded", "failed", "canceled", "expired")

#: What an answer or a log must never hold, beside the secrets of this very stack.
LEAKS = re.compile(r"Traceback \(most recent|postgresql\+psycopg2://|redis://:|tq_[A-Za-z0-9]{6,}_[A-Za-z0-9]{20,}")


@dataclass(frozen=True)
class Violation:
    """One broken promise."""

    invariant: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


@dataclass
class Findings:
    """What a check found.

    Attributes:
        accepted: Ids that clients were told.
        lost: Of these, how many are missing, open or wrong.
        doubled: Rows that were completed twice, and keys with two ids.
        given_up: Innocent rows that failed since processes died under them too often.
        others_ms: How long the tenant whom no fault touches waited for each answer.
        violations: All broken promises.
    """

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    given_up: int = 0
    others_ms: list[float] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def add(self, invariant: str, details: Iterable[str]) -> int:
        """Note violations; returns how many."""
        found = [Violation(invariant, detail) for detail in details]
        self.violations += found
        return len(found)


class Checker:
    """Judges a stack.

    Args:
        dsn: Of its Postgres, for libpq.
        secrets: Texts that no answer and no log may hold.
        logs: Folder of its logs.
    """

    def __init__(self, dsn: str, *, secrets: Sequence[str], logs: Path) -> None:
        self._dsn = dsn
        self._secrets = [secret for secret in secrets if len(secret) > 8]
        self._logs = logs
        self._read_until: dict[Path, int] = {}
        self._asked: dict[int, Request] = {}
        self._rows_of: dict[int, set[str]] = {}
        self._since = 0
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute(WITNESS)
            cursor.execute("SELECT coalesce(max(n), 0) AS n FROM witness.moves")
            self._since = cursor.fetchone()["n"]
        self.orphans = OrphanWatch(self._connect)

    def check(
        self,
        requests: Sequence[Request],
        refusals: Sequence[str],
        rung: Iterable[str] = (),
        told: Callable[[], Sequence[Told]] = tuple,
    ) -> Findings:
        """Wait for the end of what is open, then judge all since the last check.

        Args:
            requests: Of the clients.
            refusals: Bodies of answers that were no 2xx.
            rung: Ids that doorbells named.
            told: Returns what arrived at the webhook endpoint since the last check; called when all has ended.
        """
        findings = Findings()
        self._await_end()
        accepted = {name for request in requests for name in request.ids}
        rows = {row["id"]: row for row in self._query(ROWS, (self._since, list(accepted)))}
        moves = self._query(MOVES, (self._since,))
        self._since = max([self._since, *(move["n"] for move in moves)])
        findings.accepted = len(accepted)
        self._judge_ends(findings, requests, rows)
        self._judge_known(findings, requests, rows, rung)
        self._judge_moves(findings, moves)
        findings.others_ms = list(untouched_ms(requests, moves))
        self._judge_answers(findings, requests, refusals)
        self._judge_webhooks(findings, requests, told())
        findings.add("I8", self.orphans.take())
        return findings

    def ended_at(self, pids: Sequence[int]) -> dict[int, float]:
        """By process id of a worker: wall clock of the last end among all rows that it ever held."""
        return {row["pid"]: float(row["ended"]) for row in self._query(HELD, (list(pids),)) if row["ended"]}

    def _judge_ends(self, findings: Findings, requests: Sequence[Request], rows: dict[str, Any]) -> None:
        """I1, I3, I7, I9 and I10."""
        for request in requests:
            if len(set(request.ids)) > 1:
                findings.doubled += findings.add("I7", [f"key {request.key} stands for {sorted(set(request.ids))}"])
            for name in set(request.ids):
                problem = _problem(request, rows.get(name))
                if problem is not None:
                    findings.lost += findings.add(*problem)
                elif rows[name]["status"] == "failed" and request.declared is None:
                    findings.given_up += 1
        for row in rows.values():
            if (row["status"] == "succeeded") == row["empty"]:
                findings.add("I3", [f"{row['id']} is {row['status']} and its result is {row['label']}"])
            if row["attempt"] > MAX_ATTEMPTS or row["crash_count"] > MAX_CRASHES:
                findings.add("I9", [f"{row['id']} had {row['attempt']} attempts, {row['crash_count']} crashes"])

    def _judge_known(
        self, findings: Findings, requests: Sequence[Request], rows: dict[str, Any], rung: Iterable[str]
    ) -> None:
        """I2: each row belongs to a request, each request has one row, and doorbells name rows that are there."""
        # What was asked before the last check may arrive after it: a frozen server reads it late.
        self._asked |= {request.number: request for request in requests}
        told = {name: request.number for request in requests for name in request.ids}
        for row in rows.values():
            number = _number(row["input"]) or told.get(row["id"])
            if number is None and row["input"] is None:
                # A photo of an injector's own, which judges it.
                continue
            if number not in self._asked:
                findings.add("I2", [f"nobody asked for {row['id']}"])
                continue
            ids = self._rows_of.setdefault(number, set())
            is_second = bool(ids) and row["id"] not in ids
            ids.add(row["id"])
            if is_second:
                invariant = "I7" if self._asked[number].key else "I2"
                findings.doubled += findings.add(invariant, [f"request {number} has {len(ids)} rows"])
        named = [name for name in rung if name not in rows]
        there = {row["id"] for row in self._query(THERE, (named,))}
        findings.add("I2", [f"a doorbell named {name}, which is no row" for name in named if name not in there])

    def _judge_moves(self, findings: Findings, moves: Sequence[Any]) -> None:
        """I4, I5 and the reaper's right to take back."""
        fences: dict[str, int] = {}
        ends: Counter[str] = Counter()
        for move in moves:
            name, source, target = move["id"], move["from_status"], move["to_status"]
            if source in TERMINAL:
                findings.add("I4", [f"{name} went from {source} to {target}"])
            if target == "processing":
                if move["fence"] <= fences.get(name, 0):
                    findings.add("I5", [f"the fence of {name} went from {fences[name]} to {move['fence']}"])
                fences[name] = move["fence"]
            elif target in TERMINAL:
                ends[name] += 1
            if source == "processing" and target == "succeeded" and move["writer"] != move["holder"]:
                findings.add("I5", [f"{name} was {move['holder']}'s and was completed by {move['writer']}"])
            if move["crashes"] > (move["crashes_before"] or 0) and move["holder_alive"]:
                findings.add("I5", [f"{name} was taken from {move['holder']}, which was alive"])
        findings.doubled += findings.add(
            "I3", [f"{name} ended {count} times" for name, count in ends.items() if count > 1]
        )

    def _judge_answers(self, findings: Findings, requests: Sequence[Request], refusals: Sequence[str]) -> None:
        """I11 and I12."""
        statuses = Counter(status for request in requests for status in request.statuses)
        findings.add(
            "I11", [f"status {status}, {count} times" for status, count in statuses.items() if status not in DECLARED]
        )
        findings.add("I12", {f"an answer holds {leak}" for body in refusals if (leak := self._leak(body))})
        for log in self._logs.glob("*.log"):
            with log.open("rb") as lines:
                lines.seek(self._read_until.get(log, 0))
                text = lines.read().decode(errors="replace")
                self._read_until[log] = lines.tell()
            findings.add("I12", {f"{log.name} holds a secret" for secret in self._secrets if secret in text})

    def _judge_webhooks(self, findings: Findings, requests: Sequence[Request], told: Sequence[Told]) -> None:
        wanted = {name for request in requests if request.webhook for name in request.ids}
        deliveries = self._query(DELIVERIES, (list(wanted), [each.webhook_id for each in told]))
        findings.add("I6", find_untold(wanted, told, deliveries))

    def _leak(self, text: str) -> str | None:
        if any(secret in text for secret in self._secrets):
            return "a secret of this stack"
        found = LEAKS.search(text)
        return None if found is None else repr(found.group(0)[:40])

    def _await_end(self) -> None:
        until = time.monotonic() + END_WITHIN_S
        while time.monotonic() < until:
            with suppress(psycopg2.Error):
                if not self._query(OPEN, ()):
                    return
            time.sleep(0.1)

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _connect(self) -> Any:
        connection = psycopg2.connect(
            self._dsn, cursor_factory=RealDictCursor, connect_timeout=2, application_name="checker"
        )
        connection.autocommit = True
        return connection


def _problem(request: Request, row: Any) -> tuple[str, list[str]] | None:
    """Say what is wrong with the row of an accepted request, as an invariant and its detail."""
    if row is None:
        return "I1", [f"request {request.number} was accepted as {request.ids[0]}, which is no row"]
    if row["status"] not in TERMINAL:
        return "I1", [f"{row['id']} is still {row['status']}"]
    excused = GIVEN_UP if request.declared is None else {request.declared}
    if row["status"] == "failed" and row["error_code"] in excused:
        return None
    if request.declared is not None:
        return "I10", [f"{row['id']} is {row['status']}: {row['error_code']}, not {request.declared}"]
    if row["status"] != "succeeded":
        return "I10", [f"{row['id']} is {row['status']}: {row['error_code']}"]
    told = {request.expected, request.label or request.expected}
    wrong = [f"{row['id']} says {row['label']}, not {sorted(told)}"] if told != {row["label"]} else []
    return ("I3", wrong) if wrong else None


def _number(value: Any) -> int | None:
    """Read the number of its request out of a row's input."""
    if not isinstance(value, list) or not value:
        return None
    return round((float(value[0]) - int(float(value[0]) + 1e-12)) / NONCE_STEP)
