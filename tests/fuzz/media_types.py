"""Tells schemathesis how to write the media types that it does not know; loaded by it through SCHEMATHESIS_HOOKS."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context: Any, value: Any) -> bytes:
    """Write a list as one line of JSON for each member, and what is already text as it is."""
    if isinstance(value, bytes | str):
        return _encode(value)
    values = value if isinstance(value, list) else [value]
    return b"".join(_encode(json.dumps(each)) + b"\n" for each in values)


@schemathesis.serializer("application/x-safetensors")
def write_bytes(_context: Any, value: Any) -> bytes:
    """Write what schemathesis made up; hardly ever a file that a reader takes."""
    return _encode(value if isinstance(value, bytes | str) else json.dumps(value))


def _encode(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
