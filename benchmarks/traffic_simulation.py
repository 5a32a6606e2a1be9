"""Splits of traffic, simulated: `python -m benchmarks.traffic_simulation`.

The decisions are made by the code that serves: `webapp.traffic.choose` picks each version, `store.statistics` judges
the feedback and learns from it, `store.guards` stops a split; only the requests and their truth are imitated.
Everything is seeded, so a run is repeated exactly.

First the false alarms: both versions are equally good, and after each answer that is judged somebody looks. How often
does anything ever say that they differ? Beside it what an ordinary test of 5 % says, when one looks as often. Then the
regret: the right answers that were lost by not having asked the better version from the first request on.
"""

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import click
from rich.console import Console
from rich.table import Table

from schemas.enums import StickyKey
from schemas.traffic import Guards, Learning
from store.comparison import Served
from store.guards import find_breach
from store.models import ServedVersion
from store.statistics.sample_ratio import log_evidence_of_mismatch
from store.statistics.sequences import EMPTY, Mean, Proportion
from store.statistics.thompson import BetaPosterior, choice_probabilities
from store.statistics.verdicts import ALPHA, RATIO_ALPHA, log_evidence
from store.traffic import Arm, Split
from webapp.traffic import BITS, choose

#: Right answers of both versions in the experiments without a difference.
ACCURACY = 0.9

#: A mean error is judged once there are dozens; the first look is after so many.
FIRST_LOOK = 100

# Two-sided, 5 %: what a test says that knows of one look only.
ORDINARY_Z = 1.959964

#: Guards look at what was summed up, not at each answer.
GUARDS_EVERY = 50

#: Shares that are learned follow the feedback every so many requests: about once a second.
REFRESH = 100

EQUAL = (0.5, 0.5)
UNEQUAL = (0.95, 0.05)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Two equally good versions.

    Attributes:
        shares: Of the champion and of the other.
        requests: All of them are judged.
        is_learned: The shares follow what was learned, so that they depend on earlier answers.
    """

    shares: tuple[float, float]
    requests: int = 2_000
    is_learned: bool = False


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """What ever said in an experiment that something was wrong."""

    verdict: bool = False
    errors: bool = False
    ratio: bool = False
    guards: bool = False
    ordinary: bool = False


@dataclass(frozen=True, kw_only=True)
class World:
    """A champion and a challenger that differ.

    Attributes:
        accuracies: Of the champion and of the challenger.
        requests: How many come.
        delay: The truth is known so many requests later.
        told: Share of the answers of which the truth ever becomes known.
    """

    accuracies: tuple[float, float]
    requests: int = 10_000
    delay: int = 300
    told: float = 0.5


def run_experiment(experiment: Experiment, seed: int) -> Alarms:
    """Run one experiment without a difference, and look all the time."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    split = make_split(experiment.shares)
    right, counts = [EMPTY, EMPTY], [0, 0]
    errors = [Mean(0, 0.0, 0.0), Mean(0, 0.0, 0.0)]
    found = dict.fromkeys(Alarms.__dataclass_fields__, False)
    is_fixed = not experiment.is_learned
    limit, ratio_limit = -math.log(ALPHA), -math.log(RATIO_ALPHA)
    for number in range(1, experiment.requests + 1):
        chosen = choose(split, draw.getrandbits(BITS)).version.number - 1
        counts[chosen] += 1
        right[chosen] = Proportion(right[chosen].hits + (draw.random() < ACCURACY), right[chosen].trials + 1)
        error = draw.expovariate(1.0)
        seen = errors[chosen]
        errors[chosen] = Mean(seen.trials + 1, seen.total + error, seen.total_of_squares + error * error)
        found["verdict"] |= log_evidence(*right, is_fixed=is_fixed) >= limit
        if min(each.trials for each in errors) >= FIRST_LOOK:
            found["errors"] |= log_evidence(*errors, is_fixed=is_fixed) >= limit
        found["ordinary"] |= _ordinary_test(*right)
        if not experiment.is_learned:
            found["ratio"] |= log_evidence_of_mismatch(counts, experiment.shares) >= ratio_limit
        if number % GUARDS_EVERY == 0:
            found["guards"] |= _guards_stop(right)
        if experiment.is_learned and number % REFRESH == 0:
            split = make_split(_learn(right))
    return Alarms(**found)


def run_world(world: World, shares: tuple[float, float] | None, seed: int) -> float:
    """Return how many right answers were lost, expected.

    Args:
        world: What the versions are like.
        shares: Of a fixed split; None learns them, from equal ones on.
        seed: Of all draws.
    """
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    split = make_split(shares or EQUAL)
    seen = [EMPTY, EMPTY]
    on_the_way: deque[tuple[int, int, bool]] = deque()
    best, lost = max(world.accuracies), 0.0
    for number in range(world.requests):
        if shares is None and number % REFRESH == 0:
            while on_the_way and on_the_way[0][0] <= number:
                _, version, is_right = on_the_way.popleft()
                seen[version] = Proportion(seen[version].hits + is_right, seen[version].trials + 1)
            split = make_split(_learn(seen))
        chosen = choose(split, draw.getrandbits(BITS)).version.number - 1
        lost += best - world.accuracies[chosen]
        is_right = draw.random() < world.accuracies[chosen]
        if draw.random() < world.told:
            on_the_way.append((number + world.delay, chosen, is_right))
    return lost


def make_split(shares: Sequence[float]) -> Split:
    """Make a split of versions 1, 2 and so on."""
    arms = tuple(Arm(_version(number), share) for number, share in enumerate(shares, 1))
    return Split(model="simulated", sticky=StickyKey.NONE, arms=arms, shadows=())


def _version(number: int) -> ServedVersion:
    return ServedVersion(
        model_id=1,
        model_version_id=number,
        model="simulated",
        number=number,
        kind="classification",
        config={},
        weights_sha256="",
    )


def _learn(seen: Sequence[Proportion]) -> tuple[float, float]:
    first, second = choice_probabilities([BetaPosterior.of(each) for each in seen], Learning().floor)
    return first, second


def _guards_stop(right: Sequence[Proportion]) -> bool:
    champion, challenger = (Served(number, number, quality=each) for number, each in enumerate(right, 1))
    return find_breach(Guards(), champion, [challenger]) is not None


def _ordinary_test(one: Proportion, other: Proportion) -> bool:
    """A test of two shares as if this were the only look."""
    if min(one.trials, other.trials) < FIRST_LOOK:
        return False
    pooled = (one.hits + other.hits) / (one.trials + other.trials)
    width = math.sqrt(pooled * (1 - pooled) * (1 / one.trials + 1 / other.trials))
    return width > 0 and abs((one.value or 0.0) - (other.value or 0.0)) > ORDINARY_Z * width


EXPERIMENTS = {
    "fixed 50/50": Experiment(shares=EQUAL),
    "fixed 95/5": Experiment(shares=UNEQUAL),
    "learned": Experiment(shares=EQUAL, is_learned=True),
}

WORLDS = {
    f"{challenger:.0%} against {champion:.0%}": World(accuracies=(champion, challenger))
    for champion, challenger in [(0.8, 0.9), (0.8, 0.85), (0.8, 0.82), (0.8, 0.78), (0.8, 0.75), (0.8, 0.7)]
}

REGRET = "regret"
PARTS = (*EXPERIMENTS, REGRET)

POLICIES: dict[str, tuple[float, float] | None] = {"learned": None, "fixed 95/5": UNEQUAL, "fixed 50/50": EQUAL}


@click.command()
@click.option("--experiments", type=click.IntRange(1), default=1_000, show_default=True, help="Of each kind.")
@click.option("--seeds", type=click.IntRange(2), default=40, show_default=True, help="Of each world and policy.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only these; by default all.")
def main(experiments: int, seeds: int, parts: Sequence[str]) -> None:
    """Count false alarms and regret."""
    console = Console(width=130)
    chosen = parts or PARTS
    wanted = [name for name in EXPERIMENTS if name in chosen]
    if wanted:
        console.print(_alarm_table(experiments, wanted))
    if REGRET in chosen:
        console.print(_regret_table(seeds))


def _alarm_table(experiments: int, wanted: Sequence[str]) -> Table:
    title = f"Ever alarmed, of {experiments:,} experiments without a difference"
    names = ("verdict", "errors", "ratio", "guards", "ordinary")
    table = Table("split", "verdict", "mean error", "sample ratio", "guards", "ordinary test", title=title, box=None)
    for name in wanted:
        alarms = [run_experiment(EXPERIMENTS[name], seed) for seed in range(experiments)]
        table.add_row(name, *(f"{fmean(getattr(each, column) for each in alarms):.1%}" for column in names))
    return table


def _regret_table(seeds: int) -> Table:
    table = Table("challenger", *POLICIES, title=f"Right answers lost of 10,000, mean of {seeds} seeds", box=None)
    totals: dict[str, list[float]] = {name: [] for name in POLICIES}
    for world_name, world in WORLDS.items():
        lost = {name: [run_world(world, shares, seed) for seed in range(seeds)] for name, shares in POLICIES.items()}
        for name, each in lost.items():
            totals[name].append(fmean(each))
        table.add_row(world_name, *(_mean_with_error(each) for each in lost.values()))
    table.add_row("all of them", *(f"{fmean(each):,.0f}" for each in totals.values()))
    return table


def _mean_with_error(lost: Sequence[float]) -> str:
    return f"{fmean(lost):,.0f} ± {1.96 * stdev(lost) / math.sqrt(len(lost)):,.0f}"


if __name__ == "__main__":
    main()
