"""Headers that every response carries."""

from flask import Flask, Response

from webapp.draining import Draining

SECURITY_HEADERS = {
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


def register_headers(app: Flask, draining: Draining | None) -> None:
    """Add them after every view."""

    @app.after_request
    def _add(response: Response) -> Response:
        if draining is not None and draining.is_on():
            response.headers.set(*CLOSING)
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response
