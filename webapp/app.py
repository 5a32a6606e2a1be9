"""The application factory. Nothing connects before it is called; granian calls `serve` in each web process."""

import gc

from flask import Flask, request
from werkzeug.exceptions import NotFound

from store.logs import configure_logging
from store.settings import Settings
from webapp.docs import register_docs
from webapp.error_answers import register_error_handlers
from webapp.fast_lane import FastLane
from webapp.headers import register_headers
from webapp.json import OrjsonProvider
from webapp.metrics import register_metrics
from webapp.openapi import CONFIG, SPEC_OPTIONS, ProblemApi
from webapp.services import EXTENSION, Services
from webapp.views import (
    backtests,
    dead_letters,
    drift,
    feedback,
    health,
    indexed_items,
    items,
    keys,
    masks,
    models,
    predictions,
    promotions,
    status,
    traffic,
    trainings,
    webhook_deliveries,
    webhooks,
)

# Werkzeug parses forms before we see them: a picture needs one part, and no field of it is large.
MAX_FORM_PARTS = 8
MAX_FORM_MEMORY_BYTES = 64_000

BLUEPRINTS = (
    predictions.blp,
    feedback.blp,
    masks.blp,
    items.blp,
    indexed_items.blp,
    models.blp,
    drift.blp,
    trainings.blp,
    backtests.blp,
    dead_letters.blp,
    traffic.blp,
    promotions.blp,
    keys.blp,
    webhooks.blp,
    webhook_deliveries.blp,
    status.blp,
    health.blp,
)


def create_app(settings: Settings, services: Services | None = None) -> Flask:
    """Build the application.

    Args:
        settings: Limits.
        services: Collaborators; None for an application that only tells its own OpenAPI document.
    """
    app = Flask("torchqueue", static_folder=None)
    app.json = OrjsonProvider(app)
    app.config.update(
        CONFIG,
        API_SPEC_OPTIONS=SPEC_OPTIONS,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_MEMORY_BYTES,
    )
    if services is not None:
        app.extensions[EXTENSION] = services
    api = ProblemApi(app)
    api.spec.components.security_scheme(
        "apiKey", {"type": "http", "scheme": "bearer", "description": "`torchqueue keys create` makes one."}
    )
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    register_docs(app)
    register_metrics(app)
    app.before_request(_refuse_nul)
    register_headers(app, None if services is None else services.draining)
    register_error_handlers(app)
    return app


def serve() -> FastLane:
    """Build the ASGI application of one web process from its environment and start its threads."""
    settings = Settings.from_env()
    configure_logging(settings.log_level, "web")
    services = Services(settings).start()
    lane = FastLane(create_app(settings, services), services)
    # All that was imported stays. Looking through it again and again for garbage would hold up requests, each time for
    # a tenth of a second.
    gc.collect()
    gc.freeze()
    return lane


def _refuse_nul() -> None:
    """Postgres' text cannot hold a NUL character, and its driver fails on one: no path with it leads anywhere."""
    if "\0" in request.path:
        raise NotFound
