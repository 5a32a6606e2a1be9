"""Swagger UI at `/docs`, from the wheel that carries it: no other host, and no script within the page."""

from importlib.resources import files

from flask import Blueprint, Flask, Response, send_from_directory

from webapp.openapi import SPEC_PATH

DOCS_PATH = "/docs"

ASSETS = str(files("flask_swagger_ui") / "dist")

PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>torchqueue API</title>
  <link rel="stylesheet" href="{DOCS_PATH}/swagger-ui.css">
  <link rel="icon" type="image/png" sizes="32x32" href="{DOCS_PATH}/favicon-32x32.png">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="{DOCS_PATH}/swagger-ui-bundle.js"></script>
  <script src="{DOCS_PATH}/start.js"></script>
</body>
</html>
"""

# A file of its own, so that the page's Content-Security-Policy need not allow scripts within pages. The plain layout
# has no field for the address of another document, and a validator would send ours to another host.
START = f"""window.ui = SwaggerUIBundle({{
  url: "{SPEC_PATH}",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
}});
"""

blp = Blueprint("docs", __name__, url_prefix=DOCS_PATH)


def register_docs(app: Flask) -> None:
    """Serve the page and its files."""
    app.register_blueprint(blp)


@blp.get("/")
def show_docs() -> str:
    """Show the page."""
    return PAGE


@blp.get("/start.js")
def start_docs() -> Response:
    """Send the script that starts Swagger UI."""
    return Response(START, content_type="text/javascript; charset=utf-8")


@blp.get("/<path:name>")
def send_asset(name: str) -> Response:
    """Send a file of Swagger UI."""
    return send_from_directory(ASSETS, name)
