"""How right the versions of a model were, by the feedback on their predictions within a span of time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from store import feedback_sql as sql
from store.intervals import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Feedback, counted.

    Attributes:
        feedback: How many predictions have some.
        judged: Of how many it is known whether they were right.
        correct: How many of these were.
        measured: Of how many it is known by how much they were off.
        total_error: By how much in all.
    """

    feedback: int = 0
    judged: int = 0
    correct: int = 0
    measured: int = 0
    total_error: float = 0.0

    @classmethod
    def sum(cls, tallies: "Iterable[Tally]") -> "Tally":
        """Add up."""
        rows = list(tallies)
        return cls(**{name: sum(getattr(row, name) for row in rows) for name in cls.__slots__})

    def figures(self) -> dict[str, Any]:
        """Tell what follows from it; a figure that nothing is known of is None."""
        accuracy = self.correct / self.judged if self.judged else None
        interval = list(wilson_interval(self.correct, self.judged)) if self.judged else None
        return {
            "feedback": self.feedback,
            "correct": self.correct,
            "accuracy": accuracy,
            "accuracy_interval": interval,
            "mean_absolute_error": self.total_error / self.measured if self.measured else None,
        }


def read_accuracy(
    connection: Connection,
    versions: Sequence[int],
    *,
    since: datetime,
    until: datetime,
    steps: int = 1,
) -> Mapping[int, Mapping[int, Tally]]:
    """Count the feedback on predictions that were accepted within a span, by version and step of the span.

    Args:
        connection: To read with.
        versions: Their ids.
        since: Beginning of the span.
        until: Its end, which no longer belongs to it.
        steps: Parts that it is divided into, of equal length.

    Returns:
        By version and number of the step, from 0 on; what has no feedback is left out.
    """
    step_s = (until - since) / steps / timedelta(seconds=1)
    found: dict[int, dict[int, Tally]] = {}
    rows = sql.ACCURACY.run(connection, versions=list(versions), since=since, until=until, step_s=step_s)
    for row in rows:
        # By rounding the last moment may fall into a step beyond the last.
        step = min(row.step, steps - 1)
        by_step = found.setdefault(row.model_version_id, {})
        by_step[step] = Tally.sum([by_step.get(step, Tally()), _tally(row)])
    return found


def _tally(row: Row[Any]) -> Tally:
    return Tally(
        feedback=row.feedback,
        judged=row.judged,
        correct=row.correct,
        measured=row.measured,
        total_error=row.total_error or 0.0,
    )
