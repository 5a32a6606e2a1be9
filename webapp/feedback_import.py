"""Bulk feedback: lines into groups, each stored by a few statements and one commit, and the report of it all."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Engine as Database

from store.errors import StoreError
from store.feedback import Change, Model, record_feedback
from store.models import ServedVersion
from webapp.errors import WebError, slug_of
from webapp.feedback_lines import Line

#: Lines of one commit: its cost is shared by so many, and an item can be forgotten between two.
GROUP = 1_000

#: Refused lines that the report names.
ERRORS_SHOWN = 100

REFUSED = "refused"


def import_feedback(
    database: Database, lines: Iterator[Line], version: ServedVersion, *, api_key_id: int | None, recorded_by: int
) -> dict[str, Any]:
    """Store the good lines, group by group, and report the others.

    Args:
        database: To write to.
        lines: Read as they are needed.
        version: Of the model that they are for.
        api_key_id: The tenant whose predictions may be corrected; None for any.
        recorded_by: The key that sends them.

    Returns:
        What `BulkFeedbackSchema` tells.
    """
    counts: Counter[str] = Counter()
    errors: list[dict[str, Any]] = []
    while group := list(islice(lines, GROUP)):
        refused = [(line.number, line.error) for line in group if line.error is not None]
        good = [(line.number, line.correction) for line in group if line.correction is not None]
        with database.begin() as connection:
            outcomes = record_feedback(
                connection,
                [correction for _, correction in good],
                api_key_id=api_key_id,
                recorded_by=recorded_by,
                model=Model(version.model_id, version.model),
            )
        for (number, _), outcome in zip(good, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                refused.append((number, outcome))
            else:
                counts[outcome] += 1
        counts[REFUSED] += len(refused)
        refused.sort(key=lambda each: each[0])
        errors += [_error(number, error) for number, error in refused[: ERRORS_SHOWN - len(errors)]]
    return {
        "rows": counts.total(),
        **{change.value: counts[change] for change in Change},
        REFUSED: counts[REFUSED],
        "errors": errors,
    }


def _error(number: int, error: StoreError | WebError) -> dict[str, Any]:
    return {"line": number, "type": slug_of(error), "detail": str(error)}
