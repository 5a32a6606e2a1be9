"""Masks: which pixel of a picture belongs to what, as a picture."""

from typing import Any
from uuid import UUID

from flask import Response, make_response, request
from flask.views import MethodView

from schemas.enums import Scope
from schemas.prediction_arguments import MaskHeadersSchema
from store.errors import ObjectMissingError
from store.predictions import get_prediction
from store.tables.prediction import Prediction
from webapp.auth import caller_session, require, visible_to
from webapp.blueprint import Blueprint
from webapp.errors import NoMaskError
from webapp.openapi import MASK_HEADERS
from webapp.problems.documented import problems
from webapp.problems.outages import OBJECTS_UNAVAILABLE
from webapp.problems.predictions import NO_MASK, UNKNOWN_PREDICTION
from webapp.problems.requests import UNKNOWN_PATH
from webapp.services import services

blp = Blueprint("masks", __name__, url_prefix="/v1", description="What a segmentation saw, pixel by pixel.")

CONTENT_TYPE = "image/png"

MASK = {"type": "string", "format": "binary", "description": "An indexed PNG."}

# A finished prediction never changes, so neither does its mask; but it is one tenant's, and no shared cache's.
CACHE_CONTROL = "private, max-age=31536000, immutable"


@blp.route("/predictions/<uuid:prediction_id>/mask")
class PredictionMaskViews(MethodView):
    """The mask of one prediction."""

    @problems(UNKNOWN_PREDICTION, NO_MASK, UNKNOWN_PATH, OBJECTS_UNAVAILABLE)
    @blp.alt_response(304, description="The caller has this mask already.", headers=MASK_HEADERS)
    @blp.doc(operationId="get_prediction_mask")
    @require(Scope.READ)
    @blp.arguments(MaskHeadersSchema(), location="headers")
    @blp.response(
        200, MASK, content_type=CONTENT_TYPE, description="The mask.", example="(bytes)", headers=MASK_HEADERS
    )
    def get(self, headers: dict[str, Any], prediction_id: UUID) -> Response:  # noqa: ARG002 - Flask parses entity tags
        """Read the mask of a segmentation.

        An indexed PNG with the shape of the picture, at most as large as the network's input: each pixel is an index
        into the model's labels, 0 the background. The palette shows the indices as the colours of the result's
        `legend`. Scale it to the picture without smoothing.
        """
        with caller_session() as session:
            digest = _mask_digest(get_prediction(session, prediction_id, api_key_id=visible_to()))
        response = make_response(b"", 304) if digest in request.if_none_match else _read(prediction_id, digest)
        response.set_etag(digest)
        response.headers["Cache-Control"] = CACHE_CONTROL
        return response


def _mask_digest(row: Prediction) -> str:
    mask = (row.result or {}).get("mask")
    if mask is not None:
        return str(mask["sha256"])
    if row.result is not None:
        raise NoMaskError(f"prediction {row.id} is of model {row.version.model.name!r}, whose results have no mask")
    raise NoMaskError(f"prediction {row.id} is {row.status}; it has no mask{'' if row.finished_at else ' yet'}")


def _read(prediction_id: UUID, digest: str) -> Response:
    try:
        response = make_response(services().objects.get(digest))
    except ObjectMissingError as error:
        raise NoMaskError(f"the mask of prediction {prediction_id} is no longer stored") from error
    response.content_type = CONTENT_TYPE
    return response
