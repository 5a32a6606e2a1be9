"""Headers that every response carries: walls for browsers, and the id under which a request is found in the logs."""

import structlog
from flask import Flask, Response, g, request
from uuid_utils import uuid7

from webapp.draining import Draining

REQUEST_ID_HEADER = "X-Request-Id"

SECURITY_HEADERS = {
    # Else the server below names itself.
    "Server": "torchqueue",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    # Nothing ever comes from another host, and no script from within a page. Swagger UI's pictures are data URLs.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}


#: Of the answers of a process that is about to end: the client's next request goes to another.
CLOSING = ("Connection", "close")

#: Where a request came by TLS: from then on a browser asks no other way, and nobody between can ask it to.
TRANSPORT_HEADER = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def request_id() -> str:
    """Return the id of the running request. Ours, not the client's: nobody can put a line of theirs into our logs."""
    found: str = g.request_id
    return found


def register_headers(app: Flask, draining: Draining | None) -> None:
    """Name every request, and add the headers after every view."""

    @app.before_request
    def _name() -> None:
        g.request_id = uuid7().hex
        structlog.contextvars.bind_contextvars(request=g.request_id)

    @app.teardown_request
    def _end(_error: BaseException | None) -> None:
        structlog.contextvars.unbind_contextvars("request")

    @app.after_request
    def _add(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.setdefault("request_id", uuid7().hex)
        # Whoever lies about it harms nobody: browsers believe the header by TLS only.
        if request.is_secure or request.headers.get("X-Forwarded-Proto") == "https":
            response.headers.setdefault(*TRANSPORT_HEADER)
        if draining is not None and draining.is_on():
            response.headers.set(*CLOSING)
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response
