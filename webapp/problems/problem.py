"""An error as an operation of the API documents it."""

from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import HTTPException

from webapp.errors import HTTP_SLUGS, HTTP_TITLES, KINDS, Kind

# What `webapp.errors` answers to an exception that nobody foresaw.
UNEXPECTED = Kind(500, "internal", "Internal Server Error")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An error as an operation documents it.

    Attributes:
        name: Of the example, and within the name of the shared response.
        error: What is raised; `webapp.errors` maps it to HTTP.
        detail: The sentence of the example.
        field: The part of the request at fault, where the error names one.
    """

    name: str
    error: type[Exception]
    detail: str
    field: str | None = None

    @property
    def kind(self) -> Kind:
        """How `webapp.errors` answers it."""
        if issubclass(self.error, HTTPException):
            error = self.error()
            assert error.code is not None, "only errors with a status are documented"
            return Kind(error.code, HTTP_SLUGS[error.code], HTTP_TITLES.get(error.code, error.name))
        return KINDS.get(self.error, UNEXPECTED)

    @property
    def example(self) -> dict[str, Any]:
        """The whole document."""
        kind = self.kind
        detail = kind.detail or self.detail
        found: dict[str, Any] = {"type": kind.slug, "title": kind.title, "status": kind.status, "detail": detail}
        return found if self.field is None else found | {"field": self.field}
