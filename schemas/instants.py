"""Moments that clients name."""

from datetime import UTC, datetime
from typing import Any

from marshmallow import fields


class Instant(fields.AwareDateTime):
    """A moment with its zone, read as UTC: Postgres knows no zone that is 16 hours or more away from it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> datetime:
        found: datetime = super()._deserialize(value, attr, data, **options)
        try:
            return found.astimezone(UTC)
        except OverflowError as error:
            # It is in the first or the last year that there is.
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error
