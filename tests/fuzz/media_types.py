"""Tells schemathesis about the media types that it does not know; loaded by it through SCHEMATHESIS_HOOKS.

It writes requests by them, and reads the stream of a training's events as events: OpenAPI 3.1 has no words for these,
but it understands those of 3.2 (`itemSchema`) already.
"""

import json
from typing import Any

import schemathesis

EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"anyOf": [{"const": "progress"}, {"$ref": "#/components/schemas/TrainingStatus"}]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Training"},
        },
    },
}


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


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Say of what the events of a training consist."""
    events = raw_schema["paths"]["/v1/trainings/{training_id}/events"]["get"]
    # Its own schema is that of the whole text.
    events["responses"]["200"]["content"]["text/event-stream"] = {"itemSchema": EVENT}


def _encode(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
