"""JSON by orjson: the standard library's takes a tenth of a small request's time."""

from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider


class OrjsonProvider(JSONProvider):
    """Writes and reads JSON for Flask; fields keep the order that the schemas give them."""

    def dumps(self, obj: Any, **_: Any) -> str:
        """Write as text. Times, UUIDs and enums are written as their usual text."""
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """Read. NaN and infinity are no JSON and are refused."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Make a response of one value, or of keyword arguments."""
        return Response(orjson.dumps(self._prepare_response_obj(args, kwargs)), mimetype="application/json")
