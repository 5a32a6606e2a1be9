"""The matrix: which fault in which state, how often for each size. Data; what the faults do is in `injectors`."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.injectors import background, clocks, doorbells, freezes, kills, server_faults, wire_cuts
from tests.faults.injectors.done import Injector


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
    """

    fault: str
    state: str
    inject: Injector
    commit: int
    nightly: int
    release: int
    group: int = 20

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
        yield Row("SIGKILL", state, kills.kill_worker_at, 5, 40, 250)
    yield Row("SIGKILL", "worker.draining", kills.kill_draining_worker, 4, 20, 150)
    yield Row("SIGKILL at random", "worker", kills.kill_worker_randomly, 10, 150, 1_000)
    for state in WEB_STATES:
        yield Row("SIGKILL", state, kills.kill_web_at, 2, 10, 100, group=10)
    for state in MAINTENANCE_STATES:
        yield Row("SIGKILL", state, background.kill_maintenance_at, 2, 10, 80)
    for state in DELIVERY_STATES:
        yield Row("SIGKILL", state, background.kill_delivery_at, 2, 10, 80)
    for state in BEAT_STATES:
        yield Row("SIGKILL", state, background.kill_beat_at, 2, 10, 40)
    yield Row("SIGSTOP 24 s, then SIGCONT", "worker.on_device", freezes.freeze_workers_at, 3, 24, 150, group=6)
    yield Row("SIGSTOP 24 s, then SIGCONT", "worker.before_commit", freezes.freeze_workers_at, 0, 24, 150, group=6)
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
    yield Row("doorbells", "duplicate", doorbells.send_doorbells, 24, 400, 1_200, group=100)
    yield Row("doorbells", "forged", doorbells.send_doorbells, 24, 400, 1_200, group=100)
    yield Row("doorbells", "garbage", doorbells.send_doorbells, 20, 200, 600, group=100)
    yield Row("three beats", "beat", background.add_beats, 1, 10, 50, group=5)


def _wire_rows() -> Iterator[Row]:
    for server in ("valkey", "postgres"):
        for how in ("drop", "reject", "one-way", "delay", "half-open"):
            yield Row("wire cut", f"{server} {how} 2", wire_cuts.cut_wire, 0, 2, 14, group=7)
            yield Row("wire cut", f"{server} {how} 20", wire_cuts.cut_wire, 0, 2, 10, group=5)
    yield Row("wire cut", "valkey drop 3", wire_cuts.cut_wire, 1, 0, 0)
    yield Row("wire cut", "postgres drop 3", wire_cuts.cut_wire, 1, 0, 0)


def _clock_rows() -> Iterator[Row]:
    for skew in ("+5m", "-5m", "+1h", "-1h"):
        yield Row("clock of worker, reaper and beat", skew, clocks.skew_clock, 0, 4, 22, group=11)


#: What the plan names and this suite cannot do, with the reason; printed with every table.
NOT_RUN = {
    "CUDA out of memory, device-side assert, hang of a GPU": "needs a GPU",
    "loss of 30 % of the packets, cuts of 120 s, cuts between web and servers": "the wire is a proxy before one worker",
    "full disk of Postgres and of the object store": "needs file systems of its own",
    "memory limits of the kernel": "what it sends is SIGKILL, which is run",
    "poison among 32 pictures": "tests/integration/tasks/test_drainer.py halves batches; no real process is killed",
    "kills of trainings": "python -m benchmarks.training_kills",
    "p99 of untouched tenants (I13)": "means nothing where two cores run the stack, its load and its faults",
} | ({} if clocks.FAKETIME else {"wrong clocks": "libfaketime is not installed"})

MATRIX = (*_basic_rows(), *_wire_rows(), *(_clock_rows() if clocks.FAKETIME else ()))
