"""The report of a story: one HTML file that needs nothing else, with its plots drawn into it."""

import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.story.record import Chunk, Record, Step

#: Chunks that one point of a curve looks back on, so that it does not jump.
SMOOTHED = 3

#: With fewer photos of a version a share of right ones says nothing.
LEAST_PHOTOS = 20

SIZE_INCHES = (10.0, 3.6)

#: Steps that the plots show.
MARKED = frozenset({"promotion", "the photos shift", "drift alarms", "recovered", "the gate: promoted"})

#: Rows of titles above a plot, and the height of one as a share of the plot's.
TITLE_ROWS, TITLE_HEIGHT = 3, 0.055

STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "story",
    "axes.spines.top": False,
    "axes.spines.right": False,
}

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>torchqueue: a model that learns</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
svg { width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem;
border-bottom: 1px solid #ddd; } td:first-child { text-align: right; white-space: nowrap; }
</style>
<h1>A model that learns</h1>
<p>$summary</p>
$plots
<h2>What happened</h2>
<table>
<tr><th>photos</th><th>step</th><th>figures</th></tr>
$rows
</table>
</html>
""")

Fill = Callable[[Axes, Sequence[Chunk]], None]
"""Draws what belongs into one plot."""

TITLES = {
    "accuracy": "Accuracy over time, by version",
    "traffic": "Share of the traffic, by version",
    "drift": "Drift: what was measured, as a multiple of what raises an alarm",
}


def write_report(record: Record, folder: Path) -> Path:
    """Write `report.html`, and each plot as a file beside it. Returns the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw(record)
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    body = "\n".join(f"<h2>{TITLES[name]}</h2>\n{svg}" for name, svg in plots.items())
    rows = "\n".join(
        f"<tr><td>{step.photos:,}</td><td>{escape(step.title)}</td><td>{escape(step.detail)}</td></tr>"
        for step in record.steps
    )
    path = folder / "report.html"
    path.write_text(PAGE.substitute(summary=escape(summarize(record)), plots=body, rows=rows), encoding="utf-8")
    return path


def summarize(record: Record) -> str:
    """The figures in a sentence."""
    found = record.figures
    return (
        f"On untouched images: version 1 had {found['version_1']:.1%} right, the champion before the shift "
        f"{found['before_shift']:.1%}; of the first shifted photos {found['first_shifted_photos']:.1%} were right, "
        f"after retraining {found['after_shift']:.1%} of shifted and {found['after_shift_upright']:.1%} of upright "
        f"images. The bad candidate was refused: {found['bad_candidate']}."
    )


def draw(record: Record) -> dict[str, str]:
    """Draw every plot as SVG, by name."""
    with mpl.rc_context(STYLE):
        return {
            "accuracy": _figure(record, _draw_accuracy, "share right"),
            "traffic": _figure(record, _draw_traffic, "share of photos"),
            "drift": _figure(record, _draw_drift, "times the threshold"),
        }


def _figure(record: Record, fill: Fill, label: str) -> str:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    fill(axes, record.chunks)
    _mark_steps(axes, [step for step in record.steps if step.title in MARKED])
    axes.set_xlabel("photos")
    axes.set_ylabel(label)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8, frameon=False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    # What stands before it belongs to a file of its own.
    return out.getvalue()[out.getvalue().index("<svg") :]


def _mark_steps(axes: Axes, steps: Sequence[Step]) -> None:
    """A line for each, its title above it: those after the same photo share one, and neighbours differ in height."""
    titles: dict[int, list[str]] = {}
    for step in steps:
        titles.setdefault(step.photos, []).append(step.title)
    for place, (photos, together) in enumerate(titles.items()):
        axes.axvline(photos, color="#999", linewidth=0.8, linestyle=":")
        height = 1.02 + TITLE_HEIGHT * (place % TITLE_ROWS)
        axes.text(photos, height, ", ".join(together), fontsize=7, transform=axes.get_xaxis_transform())


def _draw_accuracy(axes: Axes, chunks: Sequence[Chunk]) -> None:
    for version in _versions(chunks):
        points = [
            (chunk.photos, right / answered)
            for chunk, answered, right in _rolling(chunks, version)
            if answered >= LEAST_PHOTOS and version in chunk.answered
        ]
        if points:
            axes.plot(*zip(*points, strict=True), label=f"version {version}")
    axes.set_ylim(0, 1)


def _draw_traffic(axes: Axes, chunks: Sequence[Chunk]) -> None:
    versions = _versions(chunks)
    shares = [
        [chunk.answered.get(version, 0) / sum(chunk.answered.values()) for chunk in chunks] for version in versions
    ]
    axes.stackplot(
        [chunk.photos for chunk in chunks], shares, labels=[f"version {version}" for version in versions], alpha=0.8
    )
    axes.set_ylim(0, 1)


def _draw_drift(axes: Axes, chunks: Sequence[Chunk]) -> None:
    for measure in sorted({name for chunk in chunks for name in chunk.drift}):
        points = [(chunk.photos, chunk.drift[measure]) for chunk in chunks if measure in chunk.drift]
        axes.plot(*zip(*points, strict=True), label=measure)
    axes.axhline(1, color="#b00", linewidth=0.8)


def _versions(chunks: Sequence[Chunk]) -> list[int]:
    return sorted({version for chunk in chunks for version in chunk.answered})


def _rolling(chunks: Sequence[Chunk], version: int) -> list[tuple[Chunk, int, int]]:
    """Each chunk with the photos of the version, and the right ones, of it and a few before."""
    found = []
    for end in range(1, len(chunks) + 1):
        recent = chunks[max(0, end - SMOOTHED) : end]
        answered = sum(chunk.answered.get(version, 0) for chunk in recent)
        found.append((recent[-1], answered, sum(chunk.right.get(version, 0) for chunk in recent)))
    return found
