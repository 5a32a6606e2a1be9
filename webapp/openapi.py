"""The OpenAPI document: one for clients and their generators, readable at `/docs` without any other host."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response
from flask_smorest import Api, Blueprint
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.exceptions import HTTPException

from schemas.problems import CONTENT_TYPE, ProblemSchema
from webapp.errors import handle_http_exception
from webapp.version import VERSION

SPEC_PATH = "/openapi.json"
DOCS_PATH = "/docs"

DESCRIPTIONS = {
    400: "The request is malformed; `detail` says where.",
    401: "The API key is missing or not valid.",
    403: "The API key's scopes do not include this.",
    404: "There is no such thing, or it is another key's.",
    409: "The state of the resource forbids it.",
    413: "The body is too large.",
    415: "The body's content type or format is none that is read.",
    422: "The request is well formed, but cannot be answered; `field` names the part at fault.",
    503: "Not now: nothing was accepted; try again after `Retry-After` seconds.",
}

RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "example": 1}}}

CONFIG = {
    "API_TITLE": "torchqueue",
    "API_VERSION": VERSION,
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": "/",
    "OPENAPI_JSON_PATH": SPEC_PATH.removeprefix("/"),
}

SPEC_OPTIONS: dict[str, Any] = {
    "info": {
        "summary": "A production backend for PyTorch models.",
        "description": (
            "Send an input to a model and wait for the answer, or come back for it. Every accepted prediction is "
            "stored and ends in exactly one terminal state. Errors are problem documents (RFC 9457)."
        ),
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "servers": [{"url": "/", "description": "This server."}],
    "security": [{"apiKey": []}],
}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class ProblemApi(Api):
    """flask-smorest's API with our errors and without its own error responses in the document."""

    ERROR_SCHEMA = ProblemSchema

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer whatever flask-smorest aborts with as a problem document."""
        return handle_http_exception(error)


def problems(blp: Blueprint, *statuses: int) -> Decorator:
    """Document the errors that an operation may answer with."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        for status in statuses:
            view = blp.alt_response(
                status,
                schema=ProblemSchema,
                description=DESCRIPTIONS[status],
                content_type=CONTENT_TYPE,
                headers=RETRY_AFTER if status == 503 else None,
            )(view)
        return view

    return decorate


def register_docs(app: Flask) -> None:
    """Serve Swagger UI from the wheel that carries it."""
    config = {"app_name": "torchqueue API", "validatorUrl": None, "displayOperationId": True, "persistAuthorization": True}
    app.register_blueprint(get_swaggerui_blueprint(DOCS_PATH, SPEC_PATH, config=config), url_prefix=DOCS_PATH)
