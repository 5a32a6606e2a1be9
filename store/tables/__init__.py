"""The tables. They name each other by text, so whoever imports one has all."""

from store.tables.registry import metadata

__all__ = ["metadata"]
