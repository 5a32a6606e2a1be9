"""Balancing among unequal devices, simulated: `python -m benchmarks.balancer_simulation`.

A discrete-event simulation of dispatchers, doorbells and workers. The decisions are made by the code that serves:
`webapp.learned.LearnedBalancer` in each dispatcher, `tasks.pace` in each worker; only time, the network and the devices
are imitated. Everything is seeded, so a run is repeated exactly.

Policies: `learned`, `round-robin` and `random` ring a worker, and whoever is awake claims from the shared queue, as
here; the `push-…` ones hand each row to one device's own queue when it arrives, as load balancers without a shared
queue do, so that they pay for every wrong guess.
"""

import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

import click
from rich.console import Console
from rich.table import Table

from schemas.enums import BalancerPolicy
from store.ledger_rows import ClaimRule
from store.rates import Rate
from tasks.pace import Pace, Peer, claim_rules, fair_share
from webapp.balancer import Balancer, WorkerView
from webapp.learned import create_balancer

VERSION = "model/1"
VERSION_ID = 1

#: A doorbell through the broker, word of idleness and results back, and how often workers are read.
MESSAGE_S = 0.001
REFRESH_S = 1.0
HEARTBEAT_S = 2.0
TICK_S = 0.05
LEASE_S = 8.0
MAX_BATCH = 64

PUSH = ("push-round-robin", "push-random", "push-two-choices", "push-least-outstanding")
POLICIES = (*(str(policy) for policy in BalancerPolicy), *PUSH)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One device stops for a while, runs slower, or fails what it is given."""

    device: int
    begins_s: float
    ends_s: float
    slowed: float = 1.0
    stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens. `load` is the share of all devices' throughput at batches of one that is asked for."""

    devices: int
    load: float
    seconds: float = 20.0
    spread: float = 10.0
    fixed_share: float = 0.3
    fastest_s: float = 0.01
    dispatchers: int = 2
    load_s: float = 0.5
    holding: float = 1.0
    faults: Sequence[Fault] = ()
    seed: int = 1


@dataclass(slots=True)
class Row:
    """A prediction."""

    arrived_at: float
    dispatcher: int
    number: int
    finished_at: float | None = None


class Clock:
    """Events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Run an action at a time."""
        heappush(self._events, (time_s, next(self._order), action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run an action after a delay."""
        self.at(self.now + delay_s, action)

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until_s:
            self.now, _, action = heappop(self._events)
            action()


class Claiming(Protocol):
    """Where a device gets its rows from."""

    def claim(self, device: "Device", *, probe: bool) -> list[Row]:
        """Take a batch."""


@dataclass
class Device:
    """A worker and its device."""

    number: int
    clock: Clock
    rate: Rate
    pace: Pace
    holds: bool
    faults: Sequence[Fault]
    source: Claiming
    on_finished: Callable[["Device", list[Row]], None]
    on_idle: Callable[["Device"], None]
    awake: bool = False
    held_rows: list[Row] = field(default_factory=list)

    @property
    def queue(self) -> str:
        """Its own queue."""
        return f"inference-{self.number}"

    def hear(self, *, probe: bool = False) -> None:
        """The doorbell; a device that is stopped hears it when it goes on, and one that is busy afterwards."""
        stopped_until = self._stopped_until()
        if stopped_until > self.clock.now:
            self.clock.at(stopped_until, self.hear)
        elif not self.awake:
            self.awake = True
            self._take(probe=probe)

    def _take(self, *, probe: bool = False) -> None:
        rows = self.source.claim(self, probe=probe)
        if not rows:
            self.awake = False
            self.clock.after(MESSAGE_S, lambda: self.on_idle(self))
            return
        self.held_rows = rows
        delay_s = self._work_s(len(rows))
        began_at = self.clock.now + (0.0 if self.holds else self.rate.load_s)
        if not self.holds:
            self.pace.book.note_load(VERSION, self.rate.load_s, MAX_BATCH)
            self.holds = True
        self.clock.at(began_at + delay_s, lambda: self._finish(rows, began_at))

    def _finish(self, rows: list[Row], began_at: float) -> None:
        stopped_until = self._stopped_until()
        if stopped_until > self.clock.now:
            self.clock.at(stopped_until, lambda: self._finish(rows, began_at))
            return
        self.pace.book.note_batch(VERSION, len(rows), began_at)
        self.held_rows = []
        self.on_finished(self, rows)
        self._take()

    def _work_s(self, size: int) -> float:
        slowed = max([1.0, *(fault.slowed for fault in self._faults_now())])
        return self.rate.batch_s(size) * slowed

    def _stopped_until(self) -> float:
        return max([0.0, *(fault.ends_s for fault in self._faults_now() if fault.stopped)])

    def _faults_now(self) -> list[Fault]:
        now = self.clock.now
        return [each for each in self.faults if each.begins_s <= now < each.ends_s]


class SharedQueue:
    """The rows that wait, as Postgres holds them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rows: deque[Row] = deque()

    def claim(self, device: Device, *, probe: bool) -> list[Row]:
        """Take a batch by the rules of the ledger's claim."""
        rules = () if probe else device.pace.rules
        taken = self._take(rules[0] if rules else None, 1 if probe else min(MAX_BATCH, device.pace.limit))
        device.pace.note_claim(len(taken), self._clock.now - taken[0].arrived_at if taken else 0.0)
        return taken

    def _take(self, rule: ClaimRule | None, limit: int) -> list[Row]:
        skip = 0
        if rule is not None and self.rows:
            limit = min(limit, rule.most)
            skip = 0 if self._clock.now - self.rows[0].arrived_at >= rule.patience else rule.skip
        self.rows.rotate(-skip) if skip < len(self.rows) else None
        taken = [self.rows.popleft() for _ in range(min(limit, len(self.rows) - skip))]
        self.rows.rotate(skip) if taken else None
        return taken


class Dispatcher:
    """A web process: its balancer, with its own view of what is going on."""

    def __init__(self, number: int, clock: Clock, balancer: Balancer, devices: dict[str, Device]) -> None:
        self.number = number
        self._clock = clock
        self.balancer = balancer
        self._devices = devices
        self._unrung: dict[int, Row] = {}
        self._rung: dict[str, list[Row]] = {}
        self._tick()

    def accept(self, row: Row) -> None:
        """A row was committed."""
        self._unrung[row.number] = row
        self.ring()

    def forget(self, device: Device, rows: Sequence[Row]) -> None:
        """Rows of this process are finished."""
        for row in rows:
            self._unrung.pop(row.number, None)
        self.balancer.hear_finished(device.number, self._clock.now, failed=False)

    def hear_idle(self, queue: str) -> None:
        """A worker found nothing left."""
        self.balancer.hear_idle(queue, self._clock.now)
        self.ring()

    def ring(self) -> None:
        """Do what `webapp.dispatch.Dispatcher` does after each group."""
        now = self._clock.now
        for queue in self.balancer.give_up_silent(now):
            self._unrung.update({row.number: row for row in self._rung.pop(queue, []) if row.finished_at is None})
        if not self._unrung:
            return
        waited_s = now - next(iter(self._unrung.values())).arrived_at
        for ring in self.balancer.choose(VERSION, len(self._unrung), waited_s, now):
            numbers = list(self._unrung)[: ring.rows]
            self._rung[ring.queue] = [self._unrung.pop(number) for number in numbers]
            if ring.queue in self._devices:
                hear = self._devices[ring.queue].hear
                self._clock.after(MESSAGE_S, lambda hear=hear, probe=ring.probe: hear(probe=probe))  # type: ignore[misc]

    def _tick(self) -> None:
        self.ring()
        self._clock.after(TICK_S, self._tick)


class OwnQueues:
    """A queue for each device; a row is handed to one of them when it arrives."""

    def __init__(self, policy: str, devices: Sequence[Device], rng: random.Random) -> None:
        self._policy = policy
        self._devices = devices
        self._rng = rng
        self._rows: list[deque[Row]] = [deque() for _ in devices]
        self._outstanding = [0] * len(devices)
        self._turn = 0

    def accept(self, row: Row) -> None:
        """Choose a device and wake it."""
        number = self._choose()
        self._outstanding[number] += 1
        self._rows[number].append(row)
        self._devices[number].hear()

    def claim(self, device: Device, *, probe: bool) -> list[Row]:  # noqa: ARG002 - as every source
        """Take what waits for this device."""
        rows = self._rows[device.number]
        return [rows.popleft() for _ in range(min(MAX_BATCH, len(rows)))]

    def note_finished(self, device: Device, rows: Sequence[Row]) -> None:
        """Count what a device still has."""
        self._outstanding[device.number] -= len(rows)

    def _choose(self) -> int:
        everyone = range(len(self._devices))
        if self._policy == "push-round-robin":
            self._turn += 1
            return self._turn % len(everyone)
        if self._policy == "push-random":
            return self._rng.choice(everyone)
        among = everyone if self._policy == "push-least-outstanding" else self._rng.sample(everyone, 2)
        return min(among, key=lambda number: (self._outstanding[number], self._rng.random()))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What came out. Latencies in milliseconds; goodput is the share of rows finished within a second."""

    policy: str
    p50_ms: float
    p99_ms: float
    mean_ms: float
    goodput: float
    rings: int = 0


class Simulation:
    """One scenario under one policy."""

    def __init__(self, scenario: Scenario, policy: str) -> None:
        self._scenario = scenario
        self._policy = policy
        self._rng = random.Random(scenario.seed)  # noqa: S311 - a simulation
        self._clock = Clock()
        self._shared = SharedQueue(self._clock)
        self._rows: list[Row] = []
        self._devices: list[Device] = [self._device(number) for number in range(scenario.devices)]
        self._dispatchers: list[Dispatcher] = []
        self._own: OwnQueues | None = None
        if policy in PUSH:
            self._own = OwnQueues(policy, self._devices, self._rng)
            for device in self._devices:
                device.source = self._own
        else:
            self._start_dispatchers(BalancerPolicy(policy))

    def run(self) -> Figures:
        """Let it happen. The first quarter is for learning and is not counted."""
        scenario = self._scenario
        per_second = scenario.load * sum(1 / device.rate.one_s for device in self._devices)
        at = self._rng.expovariate(per_second)
        while at < scenario.seconds:
            self._clock.at(at, self._arrive)
            at += self._rng.expovariate(per_second)
        self._clock.run(scenario.seconds + LEASE_S)
        return self._figures()

    def _device(self, number: int) -> Device:
        scenario = self._scenario
        # Speeds are spread evenly on a logarithmic scale, in an order that says nothing.
        one_s = scenario.fastest_s * scenario.spread ** self._rng.random()
        if number < 2:
            one_s = scenario.fastest_s * (scenario.spread if number == 0 else 1.0)
        rate = Rate(
            fixed_s=one_s * scenario.fixed_share, item_s=one_s * (1 - scenario.fixed_share), load_s=scenario.load_s
        )
        return Device(
            number=number,
            clock=self._clock,
            rate=rate,
            pace=Pace(paced=self._policy == BalancerPolicy.LEARNED, clock=lambda: self._clock.now),
            holds=self._rng.random() < scenario.holding,
            faults=[fault for fault in scenario.faults if fault.device == number],
            source=self._shared,
            on_finished=self._finished,
            on_idle=self._idle,
        )

    def _start_dispatchers(self, policy: BalancerPolicy) -> None:
        devices = {device.queue: device for device in self._devices}
        for number in range(self._scenario.dispatchers):
            rng = random.Random(self._scenario.seed * 1000 + number)  # noqa: S311 - a simulation
            self._dispatchers.append(Dispatcher(number, self._clock, create_balancer(policy, rng), devices))
        self._refresh()
        self._pace()

    def _refresh(self) -> None:
        """Read the workers' rows, as every web process does each second."""
        views = [
            WorkerView(worker_id=each.number, queue=each.queue, held=_held(each), rates=each.pace.book.rates())
            for each in self._live()
        ]
        for dispatcher in self._dispatchers:
            dispatcher.balancer.update(views, self._clock.now)
        self._clock.after(REFRESH_S, self._refresh)

    def _pace(self) -> None:
        """Read the peers, as every worker does with its heartbeat."""
        peers = {device.number: Peer(_held(device), device.pace.book.rates()) for device in self._live()}
        for device in self._devices:
            others = [peer for number, peer in peers.items() if number != device.number]
            if device.pace.paced and device.number in peers:
                mine = peers[device.number]
                rules = claim_rules(mine.held, mine.rates, others, {VERSION: VERSION_ID})
                device.pace.follow(rules, fair_share(mine.held, mine.rates, others))
        # A thousand workers read each other every ten seconds; see `tasks.peers`.
        self._clock.after(max(HEARTBEAT_S, 0.01 * len(peers)), self._pace)

    def _live(self) -> list[Device]:
        """Those whose lease holds: one that has been stopped for longer than its lease is gone."""
        now = self._clock.now
        dead = {f.device for f in self._scenario.faults if f.stopped and f.begins_s + LEASE_S <= now < f.ends_s}
        return [device for device in self._devices if device.number not in dead]

    def _arrive(self) -> None:
        row = Row(self._clock.now, len(self._rows) % self._scenario.dispatchers, len(self._rows))
        self._rows.append(row)
        if self._own is not None:
            self._own.accept(row)
            return
        self._shared.rows.append(row)
        self._dispatchers[row.dispatcher].accept(row)

    def _finished(self, device: Device, rows: list[Row]) -> None:
        for row in rows:
            row.finished_at = row.finished_at or self._clock.now + MESSAGE_S
        if self._own is not None:
            self._own.note_finished(device, rows)
        for dispatcher in self._dispatchers:
            own = [row for row in rows if row.dispatcher == dispatcher.number]
            if own:
                self._clock.after(MESSAGE_S, lambda to=dispatcher, own=own: to.forget(device, own))  # type: ignore[misc]

    def _idle(self, device: Device) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.hear_idle(device.queue)

    def _figures(self) -> Figures:
        counted = [row for row in self._rows if row.arrived_at >= self._scenario.seconds / 4]
        end = self._clock.now
        latencies = sorted((row.finished_at or end) - row.arrived_at for row in counted)
        return Figures(
            policy=self._policy,
            p50_ms=1000 * latencies[len(latencies) // 2],
            p99_ms=1000 * latencies[int(len(latencies) * 0.99)],
            mean_ms=1000 * sum(latencies) / len(latencies),
            goodput=sum(latency <= 1.0 for latency in latencies) / len(latencies),
        )


def _held(device: Device) -> frozenset[str]:
    return frozenset({VERSION}) if device.holds else frozenset()


def scenarios(most_devices: int) -> dict[str, Scenario]:
    """What the command runs, by a line that says what it is."""
    stop = Fault(device=1, begins_s=10.0, ends_s=14.0, stopped=True)
    slow = Fault(device=1, begins_s=8.0, ends_s=16.0, slowed=20.0)
    found = {
        "2 devices, one 10 times slower, load 10 %": Scenario(devices=2, load=0.1),
        "2 devices, one 10 times slower, load 50 %": Scenario(devices=2, load=0.5),
        "2 devices, one 10 times slower, load 90 %": Scenario(devices=2, load=0.9),
        "8 devices, 10x spread, load 30 %": Scenario(devices=8, load=0.3),
        "8 devices, the fastest becomes 20 times slower for 8 s": Scenario(devices=8, load=0.3, faults=[slow]),
        "8 devices, the fastest is stopped for 4 s": Scenario(devices=8, load=0.3, faults=[stop]),
        "8 devices, a quarter holds the model": Scenario(devices=8, load=0.15, holding=0.25),
        "100 devices, 10x spread, 8 dispatchers, load 50 %": Scenario(devices=100, load=0.5, dispatchers=8),
        "1,000 devices, 10x spread, 8 dispatchers, load 50 %": Scenario(
            devices=1000, load=0.5, dispatchers=8, seconds=16.0, fastest_s=0.1
        ),
    }
    return {name: scenario for name, scenario in found.items() if scenario.devices <= most_devices}


@click.command()
@click.option("--devices", type=int, default=1000, show_default=True, help="Leave out scenarios with more.")
@click.option("--policy", "policies", multiple=True, type=click.Choice(POLICIES), help="Only these.")
def main(devices: int, policies: Sequence[str]) -> None:
    """Compare policies on devices of unequal speed."""
    for name, scenario in scenarios(devices).items():
        figures = [Simulation(scenario, policy).run() for policy in policies or POLICIES]
        _print(name, figures)


def _print(name: str, figures: Sequence[Figures]) -> None:
    table = Table(name, "p50", "p99", "mean", "mean, ratio", "within 1 s", box=None, pad_edge=False)
    for each in figures:
        table.add_row(
            each.policy,
            f"{each.p50_ms:,.1f} ms",
            f"{each.p99_ms:,.1f} ms",
            f"{each.mean_ms:,.1f} ms",
            f"{each.mean_ms / figures[0].mean_ms:.2f}",
            f"{each.goodput:.1%}",
        )
    Console(width=130).print(table)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
