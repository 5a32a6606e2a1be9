"""The OpenAPI document: one for clients and their generators, as the decorated views and the schemas tell it."""

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from apispec import APISpec, BasePlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, Response
from flask_smorest import Api
from marshmallow import fields
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from schemas.predictions import EXAMPLE
from schemas.problems import ProblemSchema
from schemas.trainings import ID as TRAINING_ID
from schemas.webhook_examples import DELIVERY_ID
from schemas.webhook_examples import ID as WEBHOOK_ID
from webapp.auth import SCOPE_ATTRIBUTE
from webapp.error_answers import handle_http_exception
from webapp.problems.documented import problem_responses
from webapp.version import VERSION
from webapp.webhook_documents import WEBHOOKS

SPEC_PATH = "/openapi.json"

#: The scheme that `webapp.app` adds to the document.
KEY_SCHEME = "apiKey"

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
    "security": [{KEY_SCHEME: []}],
    "webhooks": WEBHOOKS,
}

#: Path parameters by name: each means the same in every path. A new one without a description fails at start.
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "model": {"description": "Name of a model.", "example": "fashion"},
    "version": {"description": "Number of one of its versions.", "example": 1},
    "prediction_id": {"description": "Id of a prediction.", "example": EXAMPLE["id"]},
    "webhook_id": {"description": "Id of a webhook endpoint.", "example": WEBHOOK_ID},
    "delivery_id": {"description": "Id of a webhook delivery: its `webhook-id`.", "example": DELIVERY_ID},
    "backtest_id": {"description": "Id of a backtest.", "example": 7},
    "training_id": {"description": "Id of a training.", "example": TRAINING_ID},
    "catalog": {"description": "One of your catalogs, as predictions named it.", "example": "shop"},
    "key_id": {"description": "Id of an API key: the part that may be shown.", "example": "7hQ2mZx0Ta"},
    "external_id": {"description": "Your id within the catalog.", "example": "42"},
}

REPLAYED_HEADERS: dict[str, Any] = {
    "Idempotent-Replayed": {
        "description": "`true` when an earlier request with the same `Idempotency-Key` made this prediction.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}

QUEUED_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the prediction can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/predictions/{EXAMPLE['id']}"]},
    },
    "Retry-After": {
        "description": "Seconds after which reading it is worth while.",
        "schema": {"type": "integer", "minimum": 0, "examples": [1]},
    },
}

CREATED_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the new version can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": ["/v1/models/fashion/versions/2"]},
    }
}

UPCOMING_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the model can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": ["/v1/models/fashion"]},
    },
    "Retry-After": QUEUED_HEADERS["Retry-After"],
}

TRAINING_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the training can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/trainings/{TRAINING_ID}"]},
    },
    "Retry-After": QUEUED_HEADERS["Retry-After"],
}

BACKTEST_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the backtest can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": ["/v1/backtests/1"]},
    },
    "Retry-After": QUEUED_HEADERS["Retry-After"],
}

KEY_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the key can be read, without its secret.",
        "schema": {"type": "string", "format": "uri-reference", "examples": ["/v1/keys/7hQ2mZx0Ta"]},
    }
}

WEBHOOK_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the endpoint can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/webhooks/{WEBHOOK_ID}"]},
    }
}

DELIVERY_HEADERS: dict[str, Any] = {
    "Location": {
        "description": "Where the delivery and its attempts can be read.",
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/webhook-deliveries/{DELIVERY_ID}"]},
    },
    "Retry-After": QUEUED_HEADERS["Retry-After"],
}

MASK_HEADERS: dict[str, Any] = {
    "ETag": {
        "description": "The SHA-256 of the mask, in quotes; `If-None-Match` takes it.",
        "schema": {"type": "string", "examples": [f'"{"ab" * 32}"']},
    },
    "Cache-Control": {
        "description": "A mask never changes; only the caller's own cache may keep it.",
        "schema": {"type": "string", "examples": ["private, max-age=31536000, immutable"]},
    },
}

# How a reader of the document wants to find an operation's parts.
OPERATION_PARTS = (
    "operationId",
    "summary",
    "description",
    "tags",
    "security",
    "parameters",
    "requestBody",
    "responses",
)

# A line break within a paragraph of a docstring; a reader of the document would show it as one.
SOFT_BREAK = re.compile(r"(?<!\n)\n(?!\n)")


class ProblemApi(Api):  # type: ignore[misc]  # flask-smorest carries no types.
    """flask-smorest's API with our errors, and a document that holds what we answer and nothing else."""

    ERROR_SCHEMA = ProblemSchema

    # Every operation lists its own errors, see `webapp.problems`.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        super().__init__(app, spec_kwargs={"extra_plugins": [OperationPlugin(app)]})
        self.ma_plugin.converter.add_attribute_function(refer_to_enum)
        self.ma_plugin.converter.add_attribute_function(limit_properties)

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer whatever flask-smorest aborts with as a problem document."""
        return handle_http_exception(error)

    def _register_pagination_header(self) -> None:
        """Leave flask-smorest's header out: our pages carry their cursor in the body."""


class OperationPlugin(BasePlugin):
    """Completes each operation with what its route and its guard already say.

    Args:
        app: Tells the view behind a rule.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._spec: APISpec | None = None

    def init_spec(self, spec: APISpec) -> None:
        """Remember the document, for the responses that operations share."""
        self._spec = spec

    def path_helper(self, *, operations: Any, parameters: Any, **_: Any) -> None:  # type: ignore[override]  # By name.
        """Describe the parameters of a path, and put them before each operation's own, where a reader expects them."""
        described = [parameter | PATH_PARAMETERS[parameter["name"]] for parameter in parameters]
        for operation in operations.values() if described else ():
            operation["parameters"] = deepcopy(described) + operation.get("parameters", [])
        parameters.clear()

    def operation_helper(self, *, operations: Any, rule: Rule, **_: Any) -> None:  # type: ignore[override]  # By name.
        """Complete the operations of a path."""
        for method, operation in operations.items():
            view = self._view(rule, method)
            scope = getattr(view, SCOPE_ATTRIBUTE, None)
            operation["security"] = [] if scope is None else [{KEY_SCHEME: [scope.value]}]
            described = SOFT_BREAK.sub(" ", operation["description"])
            taken = "Needs no key." if scope is None else f"Needs a key with the scope `{scope.value}`."
            operation["description"] = f"{described}\n\n{taken}"
            operation["responses"] = self._responses(operation["responses"], view)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            ordered = {part: operation[part] for part in OPERATION_PARTS if part in operation}
            operation.clear()
            operation.update(ordered)

    def _view(self, rule: Rule, method: str) -> Callable[..., Any]:
        # All views of the API are classes.
        routed: Any = self._app.view_functions[rule.endpoint]
        view: Callable[..., Any] = getattr(routed.view_class, method)
        return view

    def _responses(self, documented: dict[Any, Any], view: Callable[..., Any]) -> dict[int, Any]:
        assert self._spec is not None, "apispec hands the document over before any path"
        # flask-smorest refers by name to errors of its own, with a content type that is not ours.
        found = {int(status): response for status, response in documented.items() if not isinstance(response, str)}
        for status, (name, response) in problem_responses(view).items():
            if name not in self._spec.components.responses:
                self._spec.components.response(name, response)
            found[status] = {"$ref": f"#/components/responses/{name}"}
        return dict(sorted(found.items()))


def refer_to_enum(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Let fields of one enumeration share one schema, so that a generated client has one class for it."""
    if not isinstance(field, fields.Enum):
        return {}
    name = field.enum.__name__
    if name not in self.spec.components.schemas:
        values = [member.value for member in field.enum]
        self.spec.components.schema(name, {"type": "string", "enum": values, "description": field.enum.__doc__})
    # Generators lose the class when a default stands beside its reference; the description tells it.
    for name_beside in ("type", "enum", "default"):
        ret.pop(name_beside, None)
    reference = {"$ref": f"#/components/schemas/{name}"}
    return {"anyOf": [reference, {"type": "null"}]} if field.allow_none else reference


def limit_properties(_: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Say a mapping's length in an object's words; apispec says it in a string's."""
    if not isinstance(field, fields.Mapping):
        return {}
    words = {"minLength": "minProperties", "maxLength": "maxProperties"}
    return {words[word]: ret.pop(word) for word in (*ret,) if word in words}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the null of a parameter that may be left out: neither a query nor a header can carry one."""
    kept = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if isinstance(kept.get("type"), list):
        [kept["type"]] = [kind for kind in kept["type"] if kind != "null"]
    if "anyOf" in kept:
        [variant] = [variant for variant in kept.pop("anyOf") if variant != {"type": "null"}]
        kept |= variant
    return kept
