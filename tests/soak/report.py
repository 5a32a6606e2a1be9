"""Judges a soak: whether anything grows, by the slope of a line and its confidence interval; a table and a picture.

What a fault adds is told apart from what the work between faults adds: a reconnection after an outage may fill a pool
or leave the heap larger, once, where a leak grows with every answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from tests.soak.sampling import ProcessSample, Sample

#: The first part of each life is left out: caches fill.
WARM_UP_SHARE = 0.25

#: Fewer samples of one life say nothing.
LEAST_SAMPLES = 12

#: What may be added in an hour without being called a leak, by figure.
TOLERATED_AN_HOUR = {"rss_mb": 1.0, "fds": 1.0, "threads": 1.0}

#: What a fault may leave behind, on average. A Celery worker keeps 0.1 MiB of each connection that it lost.
TOLERATED_A_FAULT = {"rss_mb": 1.0, "fds": 0.5, "threads": 0.5}

#: Samples of which the change is put down to a fault: the one after it, and the next.
OF_A_FAULT = 2

#: Two-sided 95 % of a normal; lives have dozens of samples.
Z95 = 1.96

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Slope:
    """How fast a figure of one process grows.

    Attributes:
        process: Its name.
        figure: Of `ProcessSample`.
        samples: Of its longest life, without the warm-up.
        first: At the begin of these.
        last: At their end.
        a_fault: What a fault adds, on average.
        an_hour: Slope without the steps at faults.
        least: Lower end of its 95 % interval.
        most: Upper end.
    """

    process: str
    figure: str
    samples: int
    first: float
    last: float
    a_fault: float
    an_hour: float
    least: float
    most: float

    @property
    def verdict(self) -> str:
        """`grows` where the lower end, or what a fault leaves, is more than tolerated; `flat` where it may be zero."""
        if self.least > TOLERATED_AN_HOUR[self.figure] or self.a_fault > TOLERATED_A_FAULT[self.figure]:
            return "grows"
        return "flat" if self.least <= 0 else "grows within tolerance"


def slopes(samples: Sequence[Sample]) -> list[Slope]:
    """Judge every process and figure that was seen for long enough."""
    names = sorted({name for sample in samples for name in sample.processes})
    found = []
    for name in names:
        life = _longest_life(samples, name)
        life = life[int(len(life) * WARM_UP_SHARE) :]
        if len(life) >= LEAST_SAMPLES:
            found += [_slope(name, figure, life) for figure in TOLERATED_AN_HOUR]
    return found


def write_report(samples: Sequence[Sample], folder: Path, verdicts: Sequence[str]) -> str:
    """Write `report.md` and `soak.png`; returns the text.

    Args:
        samples: In order.
        folder: Where both go.
        verdicts: Of the faults, one line each.
    """
    _draw(samples, folder / "soak.png")
    text = "\n".join([*_summary(samples), "", *_slope_table(slopes(samples)), "", "## Faults", "", *verdicts, ""])
    (folder / "report.md").write_text(text)
    return text


@dataclass(frozen=True)
class _Moment:
    """One process at one moment; ``faults`` were done within the last samples."""

    hours: float
    process: ProcessSample
    faults: int


def _longest_life(samples: Sequence[Sample], name: str) -> list[_Moment]:
    lives: dict[int, list[_Moment]] = {}
    for number, sample in enumerate(samples):
        if name in sample.processes:
            process = sample.processes[name]
            recent = samples[max(0, number - OF_A_FAULT + 1) : number + 1]
            moment = _Moment(sample.at_s / HOUR_S, process, sum(bool(each.fault) for each in recent))
            lives.setdefault(process.pid, []).append(moment)
    return max(lives.values(), key=len, default=[])


def _slope(process: str, figure: str, life: Sequence[_Moment]) -> Slope:
    """Fit a line by least squares; neighbours in time are alike, so the error is widened by their correlation."""
    values = np.array([getattr(moment.process, figure) for moment in life], dtype=float)
    of_faults = np.array([moment.faults > 0 for moment in life[1:]])
    steps = np.diff(values)
    y = np.concatenate([[0.0], np.cumsum(np.where(of_faults, 0.0, steps))])
    hours = np.array([moment.hours for moment in life])
    x = hours - hours.mean()
    slope = float((x * (y - y.mean())).sum() / (x**2).sum())
    rest = y - y.mean() - slope * x
    spread = float((rest**2).sum())
    alike = float((rest[1:] * rest[:-1]).sum() / spread) if spread > 0 else 0.0
    wider = math.sqrt((1 + max(0.0, min(alike, 0.95))) / (1 - max(0.0, min(alike, 0.95))))
    error = math.sqrt(spread / (len(y) - 2) / float((x**2).sum())) * wider
    return Slope(
        process=process,
        figure=figure,
        samples=len(life),
        first=float(values[0]),
        last=float(values[-1]),
        a_fault=float(steps[of_faults].sum()) / max(1.0, sum(moment.faults for moment in life[1:]) / OF_A_FAULT),
        an_hour=slope,
        least=slope - Z95 * error,
        most=slope + Z95 * error,
    )


def _summary(samples: Sequence[Sample]) -> list[str]:
    p99 = [sample.p99_ms for sample in samples if sample.p99_ms is not None]
    quarter = max(1, len(p99) // 4)
    first, last = np.median(p99[:quarter]), np.median(p99[-quarter:])
    dead = [sample.dead_tuples for sample in samples if sample.dead_tuples is not None]
    ages = [sample.queue_age_s for sample in samples if sample.queue_age_s is not None]
    return [
        "# Soak",
        "",
        f"{samples[-1].at_s / 60:.1f} minutes, {sum(sample.answers for sample in samples):,} answers.",
        "",
        f"- p99, median of samples: {first:.1f} ms in the first quarter, {last:.1f} ms in the last",
        f"- oldest row in the queue: {max(ages):.2f} s at most, {np.median(ages):.3f} s as a rule",
        f"- dead tuples: {max(dead):,} at most, {dead[-1]:,} at the end",
    ]


def _slope_table(found: Sequence[Slope]) -> list[str]:
    lines = [
        "| process | figure | samples | first | last | a fault | an hour | 95 % | verdict |",
        "|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    lines += [
        f"| {s.process} | {s.figure} | {s.samples} | {s.first:.1f} | {s.last:.1f} | {s.a_fault:+.2f} | "
        f"{s.an_hour:+.2f} | {s.least:+.2f} to {s.most:+.2f} | {s.verdict} |"
        for s in found
    ]
    return lines


def _draw(samples: Sequence[Sample], path: Path) -> None:
    minutes = [sample.at_s / 60 for sample in samples]
    figure, axes = plt.subplots(5, 1, figsize=(11, 14), sharex=True)
    names = sorted({name for sample in samples for name in sample.processes})
    for axis, attribute in zip(axes[:3], ("rss_mb", "fds", "threads"), strict=True):
        for name in names:
            seen = [
                (m, getattr(s.processes[name], attribute))
                for m, s in zip(minutes, samples, strict=True)
                if name in s.processes
            ]
            axis.plot([at for at, _ in seen], [value for _, value in seen], label=name, linewidth=1)
        axis.set_ylabel(attribute)
    axes[0].legend(fontsize=7, ncols=4)
    axes[3].plot(minutes, [sample.p99_ms or math.nan for sample in samples], linewidth=1)
    axes[3].set_ylabel("p99 ms")
    axes[3].set_yscale("log")
    axes[4].plot(minutes, [math.nan if s.dead_tuples is None else s.dead_tuples for s in samples], linewidth=1)
    axes[4].set_ylabel("dead tuples")
    axes[4].set_xlabel("minutes; grey: a fault")
    for axis in axes:
        for minute, sample in zip(minutes, samples, strict=True):
            if sample.fault:
                axis.axvline(minute, color="0.8", linewidth=1)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
