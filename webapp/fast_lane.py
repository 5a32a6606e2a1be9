"""The one hot operation without Flask's dispatch: `POST /v1/models/{model}/predictions` when nothing is unusual.

Routing, contexts, hooks and argument schemas cost a small request more than all that is done for it. This middleware
does the same work by the same functions as the view; whatever it will not take, and every refusal, goes through Flask,
which alone knows how to refuse. Flask's own view stays the contract, and a test compares both.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson
from flask import Flask, Request, Response, g
from marshmallow import EXCLUDE, Schema, ValidationError

from schemas.enums import Scope
from schemas.predictions import STICKY_HEADER, PredictionHeadersSchema, PredictionQueryArgsSchema
from webapp.auth import authenticate, read_key
from webapp.headers import SECURITY_HEADERS
from webapp.metrics import REQUESTS
from webapp.requests import answer, ask, finished_body
from webapp.services import Services
from webapp.tickets import Ticket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = re.compile(r"/v1/models/([\w.-]+)/predictions")

#: What the view is called in the metrics.
ENDPOINT = "predictions.PredictionCreateViews"

QUERY = PredictionQueryArgsSchema(unknown=EXCLUDE)
HEADERS = PredictionHeadersSchema()

#: As WSGI hands it over.
STICKY_VARIABLE = f"HTTP_{STICKY_HEADER.upper().replace('-', '_')}"

RESPONSE_HEADERS = [("Content-Type", "application/json"), *SECURITY_HEADERS.items()]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a request says beside its body."""

    model: str
    query: dict[str, Any]
    headers: dict[str, Any]


class FastLane:
    """WSGI middleware in front of a Flask application.

    Args:
        app: Answers what this does not.
        services: Collaborators of its views.
    """

    def __init__(self, app: Flask, services: Services) -> None:
        self._app = app
        self._next: WSGIApplication = app.wsgi_app
        self._services = services
        self._succeeded = REQUESTS.labels(ENDPOINT, 200)
        self._no_query = QUERY.load({})
        self._no_headers = HEADERS.load({})

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        arguments = self._read_arguments(environ)
        if arguments is None:
            return self._next(environ, start_response)
        started = time.perf_counter()
        try:
            ticket = self._ask(environ, arguments)
            body = finished_body(ticket)
        # Every error is answered by Flask's own handlers, the last of which takes any.
        except Exception as error:  # noqa: BLE001
            return self._in_flask(environ, start_response, started, partial(self._refuse, error))
        if body is None:
            return self._in_flask(environ, start_response, started, lambda: answer(self._services, ticket))
        data = orjson.dumps(body)
        start_response("200 OK", [*RESPONSE_HEADERS, ("Content-Length", str(len(data)))])
        self._succeeded.observe(time.perf_counter() - started)
        return [data]

    def _ask(self, environ: "WSGIEnvironment", arguments: Arguments) -> Ticket:
        key = read_key(environ.get("HTTP_AUTHORIZATION", ""))
        caller = authenticate(self._services.keys, key, Scope.PREDICT)
        # Closed at the end, as Flask would: the parts of a form are files.
        with closing(self._request(environ)) as request:
            return ask(
                self._services,
                request,
                caller,
                model=arguments.model,
                query=arguments.query,
                headers=arguments.headers,
            )

    def _read_arguments(self, environ: "WSGIEnvironment") -> Arguments | None:
        """Tell what is asked; None when it is another operation, or when Flask must say what is wrong with it."""
        match = PATH.fullmatch(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if match is None:
            return None
        try:
            query = self._read_query(environ.get("QUERY_STRING", ""))
            headers = self._read_headers(environ)
        except ValidationError:
            return None
        return Arguments(match.group(1), query, headers)

    def _read_query(self, text: str) -> dict[str, Any]:
        if not text:
            return dict(self._no_query)
        pairs = parse_qsl(text, keep_blank_values=True)
        if len(dict(pairs)) != len(pairs):
            raise ValidationError("a repeated argument")
        return _load(QUERY, dict(pairs))

    def _read_headers(self, environ: "WSGIEnvironment") -> dict[str, Any]:
        given = {
            "Prefer": environ.get("HTTP_PREFER"),
            "Idempotency-Key": environ.get("HTTP_IDEMPOTENCY_KEY"),
            STICKY_HEADER: environ.get(STICKY_VARIABLE),
        }
        present = {name: value for name, value in given.items() if value is not None}
        return _load(HEADERS, present) if present else dict(self._no_headers)

    def _request(self, environ: "WSGIEnvironment") -> Request:
        """The request with the limits that Flask would give it."""
        request = Request(environ)
        request.max_content_length = self._app.config["MAX_CONTENT_LENGTH"]
        request.max_form_parts = self._app.config["MAX_FORM_PARTS"]
        request.max_form_memory_size = self._app.config["MAX_FORM_MEMORY_SIZE"]
        return request

    def _in_flask(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        started: float,
        respond: Callable[[], Any],
    ) -> Iterable[bytes]:
        with self._app.request_context(environ):
            g.started_at = started
            try:
                response = self._app.make_response(respond())
            # For the same reason as above.
            except Exception as error:  # noqa: BLE001
                response = self._refuse(error)
            return self._app.process_response(response)(environ, start_response)

    def _refuse(self, error: Exception) -> Response:
        response: Response = self._app.make_response(self._app.handle_user_exception(error))
        return response


def _load(schema: Schema, given: Mapping[str, str]) -> dict[str, Any]:
    loaded: dict[str, Any] = schema.load(given)
    return loaded
