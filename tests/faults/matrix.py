"""The matrix: which fault in which state, how often for each size. Data; what the faults do is in `injectors`."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from tests.faults import disks, packets
from tests.faults.injectors import (
    background,
    clocks,
    decoders,
    doorbells,
    freezes,
    full_disks,
    kills,
    leaves,
    memory,
    poison,
    server_faults,
    wire_cuts,
)
from tests.faults.injectors.done import Injector
from tests.faults.inputs import BATCH, POISONS


class Size(StrEnum):
    """How much is run."""

    COMMIT = "commit"
    NIGHTLY = "nightly"
    RELEASE = "release"


@dataclass(frozen=True)
class Row:
    """One fault in one state.

    Attributes:
        fault: What is done.
        state: Where, or with what; the injector reads it.
        inject: Does it.
        commit: Faults in the size of that name.
        nightly: Likewise.
        release: Likewise.
        group: Faults between two checks.
        on_small_disks: Whether it needs a stack whose disks can be filled.
        spares_others: Whether it leaves the processes alone that answer a tenant beside it, so that I13 can be told.
    """

    fault: str
    state: str
    inject: Injector
    commit: int
    nightly: int
    release: int
    group: int = 20
    on_small_disks: bool = False
    spares_others: bool = False

    @property
    def name(self) -> str:
        """Under which `--only` finds it, and results are kept."""
        return f"{self.fault} {self.state}".strip()

    def runs(self, size: Size) -> int:
        """Faults of a size."""
        return {Size.COMMIT: self.commit, Size.NIGHTLY: self.nightly, Size.RELEASE: self.release}[size]


WORKER_STATES = (
    "worker.after_doorbell",
    "worker.after_claim",
    "worker.fetching",
    "worker.decoding",
    "worker.on_device",
    "worker.before_commit",
    "worker.commit_sent",
    "worker.after_commit",
)
WEB_STATES = ("web.before_insert", "web.before_commit", "web.after_commit", "web.after_ring")
MAINTENANCE_STATES = (
    "reaper.before_update",
    "reaper.before_commit",
    "reaper.after_commit",
    "sweeper.before_ring",
    "sweeper.after_expire",
)
DELIVERY_STATES = ("pump.sending", "pump.sent")
BEAT_STATES = ("beat.before_send", "beat.after_send")


def _basic_rows() -> Iterator[Row]:
    for state in WORKER_STATES:
        yield Row("SIGKILL", state, kills.kill_worker_at, 5, 40, 250, spares_others=True)
    yield Row("SIGKILL", "worker.draining", kills.kill_draining_worker, 4, 20, 150, spares_others=True)
    yield Row("SIGKILL at random", "worker", kills.kill_worker_randomly, 10, 150, 1_000, spares_others=True)
    for state in WEB_STATES:
        yield Row("SIGKILL", state, kills.kill_web_at, 2, 10, 100, group=10)
    for state in MAINTENANCE_STATES:
        yield Row("SIGKILL", state, background.kill_maintenance_at, 2, 10, 80)
    for state in DELIVERY_STATES:
        yield Row("SIGKILL", state, background.kill_delivery_at, 2, 10, 80)
    for state in BEAT_STATES:
        yield Row("SIGKILL", state, background.kill_beat_at, 2, 10, 40)
    for state, commit in (("worker.on_device", 3), ("worker.before_commit", 0)):
        frozen = partial(Row, "SIGSTOP 24 s, then SIGCONT", state, freezes.freeze_workers_at)
        yield frozen(commit, 24, 150, group=6, spares_others=True)
    woken = "SIGSTOP, SIGCONT once others hold it"
    yield Row(woken, "worker.before_commit", freezes.wake_zombies_at, 2, 20, 150, group=5)
    yield Row("SIGSTOP", "valkey:5", freezes.freeze, 1, 10, 50, group=5)
    yield Row("SIGSTOP", "postgres:3", freezes.freeze, 1, 10, 50, group=5)
    yield Row("SIGSTOP", "web:3", freezes.freeze, 1, 10, 50, group=5)
    yield Row("kill -9 and restart empty", "valkey", server_faults.kill_valkey, 5, 40, 200, group=10)
    yield Row("kill -9 and restart", "postgres", server_faults.kill_postgres, 3, 20, 100, group=5)
    yield Row("stop -m immediate and restart", "immediate", server_faults.kill_postgres, 2, 10, 100, group=5)
    yield Row("all connections killed", "client-kill", server_faults.command_valkey, 20, 100, 500, group=50)
    yield Row("all keys deleted", "flushall", server_faults.command_valkey, 10, 50, 100, group=50)
    yield Row("out of memory", "maxmemory", server_faults.command_valkey, 3, 10, 30, group=10)
    yield Row("turned into a replica", "readonly", server_faults.command_valkey, 3, 10, 30, group=10)
    yield Row("doorbells", "duplicate", doorbells.send_doorbells, 24, 400, 1_200, group=100, spares_others=True)
    yield Row("doorbells", "forged", doorbells.send_doorbells, 24, 400, 1_200, group=100, spares_others=True)
    yield Row("doorbells", "garbage", doorbells.send_doorbells, 20, 200, 600, group=100, spares_others=True)
    yield Row("three beats", "beat", background.add_beats, 1, 10, 50, group=5)


def _wire_rows() -> Iterator[Row]:
    for place, nightly in (("valkey", 2), ("postgres", 2), ("web-valkey", 1), ("web-postgres", 1)):
        for how in ("drop", "reject", "one-way", "delay", "half-open"):
            yield Row("wire cut", f"{place} {how} 2", wire_cuts.cut_wire, 0, nightly, 14, group=7)
            yield Row("wire cut", f"{place} {how} 20", wire_cuts.cut_wire, 0, nightly, 10, group=5)
            yield Row("wire cut", f"{place} {how} 120", wire_cuts.cut_wire, 0, int(how == "drop"), 2, group=1)
    yield Row("wire cut", "valkey drop 3", wire_cuts.cut_wire, 1, 0, 0)
    yield Row("wire cut", "postgres drop 3", wire_cuts.cut_wire, 1, 0, 0)


def _loss_rows() -> Iterator[Row]:
    for place in ("valkey", "postgres", "web-valkey", "web-postgres"):
        lost = f"{packets.LOST} % of packets lost"
        yield Row(lost, f"{place} loss 2", wire_cuts.cut_wire, 0, 1, 14, group=7)
        yield Row(lost, f"{place} loss 20", wire_cuts.cut_wire, 0, 1, 10, group=5)
        yield Row(lost, f"{place} loss 120", wire_cuts.cut_wire, 0, 0, 2, group=1)


def _leave_rows() -> Iterator[Row]:
    yield Row("SIGTERM", "worker", leaves.leave_worker, 0, 5, 50, group=5)
    yield Row("SIGTERM", "web", leaves.leave_web, 0, 5, 50, group=5)
    yield Row("SIGTERM", "web behind a balancer", leaves.leave_balanced_web, 0, 5, 50, group=5)


def _disk_rows() -> Iterator[Row]:
    for state, inject in (
        ("postgres-data", full_disks.fill_postgres),
        ("postgres-wal", full_disks.fill_postgres),
        ("objects", full_disks.fill_objects),
        ("spool", full_disks.fill_spool),
        ("logs", full_disks.fill_logs),
    ):
        yield Row("full disk", state, inject, 0, 3, 20, group=5, on_small_disks=True)


def _clock_rows() -> Iterator[Row]:
    for skew in ("+5m", "-5m", "+1h", "-1h"):
        yield Row("clock of worker, reaper and beat", skew, clocks.skew_clock, 0, 4, 22, group=11)


def _poison_rows() -> Iterator[Row]:
    for kind in POISONS:
        # Each takes up to 42 s, which is the point.
        nightly, release = (2, 10) if kind == "never-ends" else (6, 50)
        for bad in (1, 2, 5, BATCH):
            commit = int((kind, bad) == ("raises", 1))
            yield Row("poison", f"{kind} {bad} of {BATCH}", poison.poison_batch, commit, nightly, release, group=5)
    yield Row("SIGKILL at random", "decoder", decoders.kill_decoders, 0, 20, 150)


def _memory_rows() -> Iterator[Row]:
    yield Row("SIGKILL by a limit of memory", "worker", memory.starve_workers, 4, 20, 150, spares_others=True)
    yield Row("SIGKILL by a limit of memory", "decoder", decoders.starve_decoders, 0, 10, 50)


#: What the plan names and this suite cannot do, with the reason; printed with every table.
NOT_RUN = {
    "CUDA out of memory, device-side assert, hang of a GPU": "needs a GPU",
    "kills of trainings": "python -m benchmarks.training_kills",
} | {
    what: why
    for what, why in (
        ("wrong clocks", None if clocks.FAKETIME else "libfaketime is not installed"),
        ("loss of packets", packets.WHY_NOT),
        ("full disks", disks.WHY_NOT),
        ("limits of memory", None if memory.CONTROLLER else "the kernel's memory controller cannot be used here"),
    )
    if why
}

MATRIX = (
    *_basic_rows(),
    *_leave_rows(),
    *_wire_rows(),
    *_poison_rows(),
    *(() if packets.WHY_NOT else _loss_rows()),
    *(() if disks.WHY_NOT else _disk_rows()),
    *(_clock_rows() if clocks.FAKETIME else ()),
    *(_memory_rows() if memory.CONTROLLER else ()),
)
