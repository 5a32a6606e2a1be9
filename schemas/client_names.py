"""Names that clients make up: of catalogs, items and requests."""

from marshmallow import validate

#: Longest of them: catalog, external id, idempotency key.
NAME_LENGTH = 255

# Postgres text holds any character but this one.
WITHOUT_NUL = validate.ContainsNoneOf("\x00", error="must not contain a NUL character")
NAME = [validate.Length(min=1, max=NAME_LENGTH), WITHOUT_NUL]

# An item is read under a path made of its two names.
WITHOUT_SLASH = validate.ContainsNoneOf("/", error="must not contain a slash: it is part of a path")
ITEM_NAME = [*NAME, WITHOUT_SLASH]
