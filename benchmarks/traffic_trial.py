"""Splits of traffic on a real stack: `python -m benchmarks.traffic_trial`.

The same two questions that `benchmarks.traffic_simulation` asks thousands of times are asked here of real processes,
through the public API alone: predictions go to a split of two versions of `xor`, words of feedback follow, and somebody
looks at the comparison after every hundred of them.

First both versions are equally good: how often does anything ever say that they differ? Then one is worse: how many
right answers does a split that is learned from feedback lose, and how many a fixed one?
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any, Self

import click
import httpx
from rich.console import Console
from rich.table import Table

from schemas.enums import TrafficPolicy, Verdict
from stack.bootstrap import BUNDLED
from tests.running import RunningStack

MODEL = "/v1/models/xor"

CLIENTS = 12

ROUND = 100
"""Predictions between two looks."""

ROUNDS = 4
"""Looks at one experiment of equal versions."""

SETTLE_S = 6.0
"""Every web process follows within five seconds; the check of shares counts nothing that was drawn before."""

LEARN_S = 1.5
"""Shares are learned about once a second."""

ACCURACY = 0.9
WORSE = 0.6

MOST_ALARMS = 0.05
"""Of all experiments."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered, and by which version."""

    prediction: str
    version: int
    label: str


class Trial:
    """Asks two versions of `xor` on a running stack, the champion and a copy of it.

    Args:
        stack: With one model alone.
        seed: Of the inputs and of what is said of the answers.
    """

    def __init__(self, stack: RunningStack, seed: int) -> None:
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        headers = {"Authorization": f"Bearer {stack.admin_key}"}
        self._client = httpx.Client(base_url=stack.url, headers=headers, timeout=30, limits=limits)
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._rng = random.Random(seed)  # noqa: S311 - nothing secret
        self.champion = int(self._send("GET", MODEL)["champion"])
        weights = (BUNDLED / "xor" / "weights.safetensors").read_bytes()
        self.other = int(self._send("POST", f"{MODEL}/versions", files={"weights": weights})["version"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._client.close()

    def count_alarms(self) -> str | None:
        """Tell one experiment of equal versions from its beginning; returns what was ever said to be wrong."""
        self._split(TrafficPolicy.FIXED)
        accuracy = {self.champion: ACCURACY, self.other: ACCURACY}
        for _ in range(ROUNDS):
            self._judge(self._ask(ROUND), accuracy)
            found = self._send("GET", f"{MODEL}/comparison")
            if alarm := _find_alarm(found):
                return alarm
        return None

    def count_lost(self, policy: TrafficPolicy, requests: int) -> float:
        """How many right answers a split loses while one version is worse, by which version answered."""
        self._split(policy)
        accuracy = {self.champion: WORSE, self.other: ACCURACY}
        lost = 0.0
        for _ in range(requests // ROUND):
            answers = self._ask(ROUND)
            self._judge(answers, accuracy)
            lost += sum(ACCURACY - accuracy[answer.version] for answer in answers)
            time.sleep(LEARN_S)
        return lost

    def _split(self, policy: TrafficPolicy) -> None:
        """Begin anew: what an earlier split has shown counts no more."""
        self._send("DELETE", f"{MODEL}/traffic")
        weights = {str(self.champion): 50, str(self.other): 50}
        self._send("PUT", f"{MODEL}/traffic", json={"policy": policy, "weights": weights})
        time.sleep(SETTLE_S)

    def _ask(self, count: int) -> list[Answer]:
        inputs = [[self._rng.randint(0, 1), self._rng.randint(0, 1)] for _ in range(count)]
        return list(self._pool.map(self._ask_one, inputs))

    def _ask_one(self, xor: Sequence[int]) -> Answer:
        told = self._send("POST", f"{MODEL}/predictions", json={"input": xor}, headers={"Prefer": "wait=30"})
        return Answer(told["id"], told["version"], told["result"]["label"])

    def _judge(self, answers: Sequence[Answer], accuracy: Mapping[int, float]) -> None:
        """Say of so many answers of each version that they were right, at random."""
        lines = [
            {"prediction": answer.prediction, "label": self._draw_truth(answer, accuracy[answer.version])}
            for answer in answers
        ]
        content = "".join(f"{json.dumps(line)}\n" for line in lines)
        told = self._send(
            "POST", f"{MODEL}/feedback", content=content, headers={"Content-Type": "application/x-ndjson"}
        )
        assert not told["refused"], told

    def _draw_truth(self, answer: Answer, accuracy: float) -> str:
        return answer.label if self._rng.random() < accuracy else str(1 - int(answer.label))

    def _send(self, method: str, path: str, **options: Any) -> Any:
        response = self._client.request(method, path, **options)
        response.raise_for_status()
        return response.json() if response.content else None


def _find_alarm(comparison: Mapping[str, Any]) -> str | None:
    """What a comparison of equal versions says that it should not."""
    if comparison["sample_ratio"]["off"]:
        return "sample ratio"
    if comparison["policy"] != TrafficPolicy.FIXED:
        return "guards"
    verdicts = {each["verdict"] for each in comparison["comparisons"]}
    return "verdict" if verdicts & {Verdict.BETTER, Verdict.WORSE} else None


@contextmanager
def running_trial(seed: int) -> Iterator[Trial]:
    """Start a stack with `xor` alone."""
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        models = Path(folder) / "models"
        copytree(BUNDLED / "xor", models / "xor")
        with RunningStack.start(Path(folder) / "var", f"--models={models}") as stack, Trial(stack, seed) as trial:
            yield trial


@click.command()
@click.option("--experiments", type=click.IntRange(1), default=60, show_default=True, help="With equal versions.")
@click.option("--requests", type=click.IntRange(ROUND), default=2_000, show_default=True, help="To unequal ones.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(experiments: int, requests: int, seed: int) -> None:
    """Try splits on a real stack; ends with an error where a promise does not hold."""
    with running_trial(seed) as trial:
        alarms = [alarm for _ in range(experiments) if (alarm := trial.count_alarms())]
        lost = {policy: trial.count_lost(policy, requests) for policy in (TrafficPolicy.FIXED, TrafficPolicy.LEARNED)}
    table = Table("", "", box=None, pad_edge=False)
    asked = f"of {experiments} experiments of {ROUNDS * ROUND} requests each, looked at {ROUNDS} times"
    table.add_row("false alarms, both versions equal", f"{len(alarms)} {asked} {' '.join(alarms)}")
    for policy, count in lost.items():
        table.add_row(f"right answers lost by a {policy} split", f"{count:.0f} of {requests:,} requests")
    Console(width=120).print(table)
    held = len(alarms) <= MOST_ALARMS * experiments and lost[TrafficPolicy.LEARNED] < lost[TrafficPolicy.FIXED]
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
