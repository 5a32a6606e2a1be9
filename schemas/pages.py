"""Lists that are read page by page: which page is asked for, and where the next one begins."""

from marshmallow import Schema, fields, validate

#: Entries of a page, unless a request says otherwise, and at most.
PAGE_LENGTH = 50
LONGEST_PAGE = 500

#: Postgres' bigint holds no more.
LARGEST_NUMBER = 2**63 - 1

CURSOR = {"description": "`next_cursor` of the page before."}


def limit_field(description: str) -> fields.Integer:
    """Make the argument that says how long a page may be."""
    return fields.Integer(
        load_default=PAGE_LENGTH,
        validate=validate.Range(min=1, max=LONGEST_PAGE),
        metadata={"description": description},
    )


def number_cursor_field(*, least: int, load_default: int | None = None) -> fields.Integer:
    """Make the argument that says behind which entry a page begins, where entries are numbered."""
    return fields.Integer(
        load_default=load_default, validate=validate.Range(min=least, max=LARGEST_NUMBER), metadata=CURSOR
    )


def next_cursor_field(description: str = "Send it as `cursor` for the next page; null at the end.") -> fields.String:
    """Make the member of an answer that says where the next page begins."""
    return fields.String(required=True, allow_none=True, metadata={"description": description})


class PageQueryArgsSchema(Schema):
    """Which page."""

    cursor = fields.UUID(load_default=None, metadata=CURSOR)
    limit = limit_field("Length of a page.")


class NumberedPageQueryArgsSchema(Schema):
    """Which page, where entries are numbered."""

    cursor = number_cursor_field(least=1)
    limit = limit_field("Most on a page.")
