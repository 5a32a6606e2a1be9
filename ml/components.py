"""Connected parts of a label image, without a library for it: runs of equal pixels in rows, joined by union-find.

A 128 x 128 mask of a few garments has a few hundred runs, so this takes well under a millisecond.

Shapes: H height, W width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint8]
"""``[H, W]`` uint8; 0 is background."""


@dataclass(frozen=True, slots=True)
class Component:
    """Pixels of one label that touch, corners included.

    Args:
        label: Above 0.
        area_px: Number of pixels.
        box: Left, top, right, bottom in pixels; right and bottom are the first column and row outside.
        runs: ``[N, 3]``: the row, the first column, and the first column outside, of each run.
    """

    label: int
    area_px: int
    box: tuple[int, int, int, int]
    runs: npt.NDArray[np.int64]


def find_components(labels_hw: Labels) -> list[Component]:
    """All connected parts of all labels above 0, the largest first."""
    runs, run_labels = _find_runs(labels_hw)
    roots = _join(runs, run_labels, labels_hw.shape[1])
    found = [_describe(int(run_labels[root]), runs[roots == root]) for root in np.unique(roots)]
    return sorted(found, key=lambda component: -component.area_px)


def erase(labels_hw: Labels, component: Component) -> None:
    """Set a part's pixels to 0, in place."""
    for row, start, stop in component.runs:
        labels_hw[row, start:stop] = 0


def _find_runs(labels_hw: Labels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Runs ``[N, 3]`` in reading order, and their labels."""
    height, width = labels_hw.shape
    # An empty column at either side ends the runs of every row.
    padded = np.zeros((height, width + 2), dtype=np.int16)
    padded[:, 1:-1] = labels_hw
    flat = padded.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # Every pixel between two borders is alike, so the first tells; the last border only ends a run.
    starts, stops = borders[:-1], borders[1:]
    filled = flat[starts] > 0
    starts, stops = starts[filled], stops[filled]
    rows = starts // (width + 2)
    offset = rows * (width + 2) + 1
    return np.stack([rows, starts - offset, stops - offset], axis=1), flat[starts].astype(np.uint8)


def _join(runs: npt.NDArray[np.int64], run_labels: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.int64]:
    """For each run, the index of the first run of its part."""
    stride = width + 2
    starts, stops = runs[:, 0] * stride + runs[:, 1], runs[:, 0] * stride + runs[:, 2]
    # Those in the next row that share a column or a corner with this run.
    firsts = np.searchsorted(stops, starts + stride, side="left").tolist()
    lasts = np.searchsorted(starts, stops + stride, side="right").tolist()
    parents, names = list(range(len(runs))), run_labels.tolist()
    for run, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        for below in range(first, last):
            if names[below] == names[run]:
                upper, lower = sorted((_root(parents, run), _root(parents, below)))
                parents[lower] = upper
    return np.array([_root(parents, run) for run in range(len(runs))], dtype=np.int64)


def _root(parents: list[int], run: int) -> int:
    while parents[run] != run:
        # Halving the path keeps later look-ups short.
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


def _describe(label: int, runs: npt.NDArray[np.int64]) -> Component:
    rows, starts, stops = runs.T
    box = (int(starts.min()), int(rows.min()), int(stops.max()), int(rows.max()) + 1)
    return Component(label, int((stops - starts).sum()), box, runs)
