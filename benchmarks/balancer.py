"""Balancing among real workers of unequal speed: `python -m benchmarks.balancer`.

For each policy a stack of its own with CPU workers is started, and one worker is slowed by stopping and continuing its
process in turn, which needs nothing of the code under test: so it is slower at everything, from hearing the doorbell to
the commit. Then, with another worker, it is stopped for some seconds and continued, and killed. Clients ask `xor` at a
steady rate whatever the answers take, so that a slow answer does not hide the ones behind it. All share this machine's
cores: compare the rows of one run.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.table import Table

from schemas.enums import BalancerPolicy
from tests.running import RunningStack, wait_until

#: A slowed worker runs for so long, then rests ten times as long.
RUNS_S = 0.01
RESTS_S = 0.1

STOPPED_S = 3.0
LEARNING_S = 8.0
CLIENTS = 32

POLICIES = [str(policy) for policy in BalancerPolicy]

SLOW, STOPPED, KILLED = "cpu-0", "cpu-1", "cpu-1"


@dataclass
class Answers:
    """What the clients saw: when each request was sent, by `time.monotonic`, and what it took."""

    sent_at: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def rank_ms(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return 1000 * sorted(self.took_s)[int(share * (len(self.took_s) - 1))]

    def gap_s(self, since: float) -> float:
        """Return for how long after a moment no request was sent that was answered within a tenth of a second."""
        good = [at for at, took in zip(self.sent_at, self.took_s, strict=True) if at >= since and took < 0.1]
        return min(good, default=float("inf")) - since

    def slowest_s(self, since: float) -> float:
        """Return what the slowest request took that was sent after a moment or was under way then."""
        return max(took for at, took in zip(self.sent_at, self.took_s, strict=True) if at + took >= since)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One row of the table."""

    policy: str
    name: str
    answers: Answers
    seconds: float
    note: str = ""


@contextmanager
def slowed(pid: int) -> Iterator[None]:
    """Let a process run for an eleventh of the time."""
    ending = threading.Event()

    def alternate() -> None:
        while not ending.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(RESTS_S)
            os.kill(pid, signal.SIGCONT)
            time.sleep(RUNS_S)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def ask(stack: RunningStack, rate: float, seconds: float, during: Callable[[], None] = lambda: None) -> Answers:
    """Send requests at a steady rate, and do something meanwhile."""
    answers = Answers()
    lock = threading.Lock()
    began = time.monotonic()

    def send(client: httpx.Client, at: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        response = client.post("/v1/models/xor/predictions", json={"input": [0, 1]}, headers={"Prefer": "wait=30"})
        body = response.json()
        with lock:
            # From when it was due, so that a client that is held up by a slow answer does not hide the wait.
            answers.sent_at.append(at)
            answers.took_s.append(time.monotonic() - at)
            if body.get("status") != "succeeded":
                answers.errors.append(f"{response.status_code} {body.get('error') or body.get('title', '')}")

    headers = {"Authorization": f"Bearer {stack.admin_key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60.0) as client, ThreadPoolExecutor(CLIENTS) as pool:
        # Threads wait for their own moment; there are enough of them for every answer that is under way.
        sent = [pool.submit(send, client, began + number / rate) for number in range(int(rate * seconds))]
        during()
        for each in sent:
            each.result()
    return answers


def measure(policy: BalancerPolicy, workers: int, rate: float, seconds: float) -> list[Phase]:
    """Run all phases under one policy."""
    with (
        tempfile.TemporaryDirectory(prefix="torchqueue-bench-") as folder,
        RunningStack.start(
            Path(folder) / "var", f"--workers={workers}", environment={"TORCHQUEUE_BALANCER": policy}
        ) as stack,
    ):
        ask(stack, rate, LEARNING_S)
        phases = [Phase(policy=policy, name="equal workers", answers=ask(stack, rate, seconds), seconds=seconds)]
        with slowed(stack.pid(SLOW)):
            ask(stack, rate, LEARNING_S)
            answers = ask(stack, rate, seconds)
            phases.append(Phase(policy=policy, name="one slowed 11 times", answers=answers, seconds=seconds))
        ask(stack, rate, LEARNING_S)
        phases += [_stop_one(stack, policy, rate, seconds), _kill_one(stack, policy, rate, seconds)]
    return phases


def _stop_one(stack: RunningStack, policy: BalancerPolicy, rate: float, seconds: float) -> Phase:
    def stop() -> None:
        time.sleep(1.0)
        pid = stack.kill(STOPPED, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(pid, signal.SIGCONT)

    answers = ask(stack, rate, seconds, stop)
    return Phase(policy=policy, name=f"one stopped for {STOPPED_S:g} s", answers=answers, seconds=seconds)


def _kill_one(stack: RunningStack, policy: BalancerPolicy, rate: float, seconds: float) -> Phase:
    killed_at: list[float] = []
    killed: list[int] = []

    def kill() -> None:
        time.sleep(1.0)
        killed_at.append(time.monotonic())
        killed.append(stack.kill(KILLED))

    answers = ask(stack, rate, seconds, kill)
    note = f"answering again after {answers.gap_s(killed_at[0]):.2f} s, slowest {answers.slowest_s(killed_at[0]):.2f} s"
    stack.wait_for(KILLED, other_than=killed[0])
    wait_until(lambda: stack.predict_xor().is_success, 10.0)
    return Phase(policy=policy, name="one killed", answers=answers, seconds=seconds, note=note)


@click.command()
@click.option("--workers", type=int, default=2, show_default=True)
@click.option("--rate", type=float, default=40.0, show_default=True, help="Requests a second.")
@click.option("--seconds", type=float, default=15.0, show_default=True, help="For each phase.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(POLICIES),
    help="Only these.",
)
def main(workers: int, rate: float, seconds: float, policies: Sequence[str]) -> None:
    """Compare policies on real workers."""
    phases = [
        phase
        for policy in policies or BalancerPolicy
        for phase in measure(BalancerPolicy(policy), workers, rate, seconds)
    ]
    table = Table("workers", "policy", "p50", "p99", "mean", "answered", "errors", "", box=None, pad_edge=False)
    for phase in sorted(phases, key=lambda each: [first.name for first in phases].index(each.name)):
        answers = phase.answers
        table.add_row(
            phase.name,
            phase.policy,
            f"{answers.rank_ms(0.5):.0f} ms",
            f"{answers.rank_ms(0.99):.0f} ms",
            f"{1000 * sum(answers.took_s) / len(answers.took_s):.0f} ms",
            f"{len(answers.took_s) / phase.seconds:.0f} /s",
            f"{len(answers.errors)} {answers.errors[0] if answers.errors else ''}",
            phase.note,
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
