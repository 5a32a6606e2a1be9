"""What a request of the hot operation says beside its body, read from its environment, without Flask."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from marshmallow import EXCLUDE, Schema, ValidationError

from schemas.prediction_arguments import STICKY_HEADER, PredictionHeadersSchema, PredictionQueryArgsSchema

PATH = re.compile(r"/v1/models/([\w.-]+)/predictions")
PATH_END = "/predictions"

QUERY = PredictionQueryArgsSchema(unknown=EXCLUDE)
HEADERS = PredictionHeadersSchema()

NO_HEADERS: dict[str, Any] = HEADERS.load({})

#: As the environment of a request has it.
STICKY_VARIABLE = f"HTTP_{STICKY_HEADER.upper().replace('-', '_')}"

#: Different queries that are remembered.
QUERIES = 1_024


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a request says beside its body."""

    model: str
    query: dict[str, Any]
    headers: dict[str, Any]


def is_hot(method: str, path: str) -> bool:
    """Whether a request may be the hot operation; `read_arguments` looks closely."""
    return method == "POST" and path.endswith(PATH_END)


def read_arguments(environ: Mapping[str, Any]) -> Arguments | None:
    """Tell what is asked; None when Flask must say what is wrong with it."""
    match = PATH.fullmatch(environ["PATH_INFO"])
    if match is None:
        return None
    try:
        query = dict(_read_query(environ.get("QUERY_STRING", "")))
        headers = _read_headers(environ)
    except ValidationError:
        return None
    return Arguments(match.group(1), query, headers)


@lru_cache(maxsize=QUERIES)
def _read_query(text: str) -> dict[str, Any]:
    """Read a query. Most clients send one of a few, so what was read is remembered; the caller copies it."""
    pairs = parse_qsl(text, keep_blank_values=True)
    if len(dict(pairs)) != len(pairs):
        raise ValidationError("a repeated argument")
    return _load(QUERY, dict(pairs))


def _read_headers(environ: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "Prefer": environ.get("HTTP_PREFER"),
        "Idempotency-Key": environ.get("HTTP_IDEMPOTENCY_KEY"),
        STICKY_HEADER: environ.get(STICKY_VARIABLE),
    }
    present = {name: value for name, value in given.items() if value is not None}
    return _load(HEADERS, present) if present else dict(NO_HEADERS)


def _load(schema: Schema, given: Mapping[str, str]) -> dict[str, Any]:
    loaded: dict[str, Any] = schema.load(given)
    return loaded
