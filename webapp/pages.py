"""Where the page after this one begins."""

from collections.abc import Sequence
from typing import Any, Protocol


class Identified(Protocol):
    """An entry of a list; the next page begins behind the id of the last one."""

    @property
    def id(self) -> Any:
        """As the cursor names it."""


def next_cursor(rows: Sequence[Identified], limit: int) -> str | None:
    """Return the cursor of the next page, or None when there is none: only a full page may have a next."""
    return str(rows[-1].id) if len(rows) == limit else None
