"""The items of a similarity model's index: put, read, list, remove. An index is its key's own, an admin's too."""

from typing import Any

from flask import Response, make_response, request, url_for
from flask.views import MethodView

from schemas import indexed_items as schemas
from schemas import predictions as prediction_schemas
from schemas.enums import AuditAction, Scope
from schemas.prediction_arguments import PredictionHeadersSchema
from store.database import open_session
from store.errors import ObjectMissingError, UnknownItemError
from store.indexed_items import (
    IndexEntry,
    count_indexed_items,
    get_indexed_item,
    list_indexed_items,
    remove_indexed_item,
)
from store.replies import publish
from webapp.answering import answer
from webapp.audit import audit
from webapp.auth import principal, require
from webapp.blueprint import Blueprint
from webapp.indexes import check_item_names, resolve_index
from webapp.input_documents import IMAGE_URL, PICTURE, URL_EXAMPLE
from webapp.openapi import QUEUED_HEADERS, REPLAYED_HEADERS
from webapp.pages import next_cursor
from webapp.problems.admission import OF_ADMISSION
from webapp.problems.documented import problems
from webapp.problems.items import INVALID_ITEM_NAME, NO_INDEX, UNKNOWN_INDEXED_ITEM
from webapp.problems.models import UNKNOWN_MODEL
from webapp.problems.outages import OBJECTS_UNAVAILABLE
from webapp.problems.predictions import IDEMPOTENCY_KEY_REUSED, INVALID_INPUT, INVALID_OPTION
from webapp.problems.requests import INVALID_HEADER, INVALID_PAGE, MALFORMED_BODY, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from webapp.requests import put_item
from webapp.services import services

# What each format's file begins with; RIFF is what WebP is packed in.
SIGNATURES = {b"\xff\xd8": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}

PHOTO = {"type": "string", "format": "binary", "description": "The bytes as they were put."}

#: As for a prediction, but only pictures; generators make a class of each title, so these are its own.
PUT_BODY: dict[str, Any] = {
    "required": True,
    "description": "A picture as a form part, as bytes, as base64 or by its URL.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "title": "IndexedItemForm",
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP."}},
            }
        },
        "application/json": {
            "schema": {
                "title": "IndexedItemInput",
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
                "properties": {
                    "input": {"type": "string", "description": "The picture as base64."},
                    "image_url": IMAGE_URL,
                },
            },
            "examples": {
                "base64": {"summary": "The picture itself.", "value": {"input": "iVBORw0KGgo…"}},
                "url": {"summary": "A picture that is fetched for you.", "value": {"image_url": URL_EXAMPLE}},
            },
        },
        **{name: {"schema": PICTURE["schema"]} for name in ("image/jpeg", "image/png", "image/webp")},
    },
}

blp = Blueprint(
    "indexed_items",
    __name__,
    url_prefix="/v1/models",
    description="What a similarity model finds: the items that you put into its index, with a photo each.",
)


@blp.route("/<string:model>/items")
class IndexedItemListViews(MethodView):
    """All items of an index."""

    @problems(UNKNOWN_MODEL, NO_INDEX, INVALID_PAGE)
    @blp.doc(operationId="list_indexed_items")
    @require(Scope.READ)
    @blp.arguments(schemas.IndexedItemPageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.IndexedItemPageSchema, description="A page.", example=schemas.ITEMS_EXAMPLE)
    def get(self, query: dict[str, Any], model: str) -> dict[str, Any]:
        """List the items of an index.

        Your key's own, in the order in which they were first put.
        """
        version, caller, limit = resolve_index(services(), model), principal(), query["limit"]
        with services().reading(caller.api_key_id) as session:
            rows = list_indexed_items(
                session, version, api_key_id=caller.api_key_id, after=query["cursor"], limit=limit
            )
            count = count_indexed_items(session, model_id=version.model_id, api_key_id=caller.api_key_id)
        return {
            "count": count,
            "data": [_item(model, row) for row in rows],
            "next_cursor": next_cursor(rows, limit),
        }


@blp.route("/<string:model>/items/<string:catalog>/<string:external_id>")
class IndexedItemViews(MethodView):
    """One item of an index."""

    @problems(UNKNOWN_MODEL, UNKNOWN_INDEXED_ITEM, NO_INDEX)
    @blp.doc(operationId="get_indexed_item")
    @require(Scope.READ)
    @blp.response(200, schemas.IndexedItemSchema, description="The item.", example=schemas.ITEM_EXAMPLE)
    def get(self, model: str, catalog: str, external_id: str) -> dict[str, Any]:
        """Read an item of an index.

        Tells which photo stands for it, and whether searches find it.
        """
        return _item(model, _find(model, catalog, external_id))

    @problems(
        MALFORMED_BODY,
        INVALID_HEADER,
        UNKNOWN_MODEL,
        NO_INDEX,
        IDEMPOTENCY_KEY_REUSED,
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INVALID_OPTION,
        INVALID_INPUT,
        INVALID_ITEM_NAME,
        OBJECTS_UNAVAILABLE,
        *OF_ADMISSION,
    )
    @blp.alt_response(
        202,
        schema=prediction_schemas.QueuedPredictionSchema,
        description="Accepted; not searchable yet.",
        example=prediction_schemas.QUEUED_EXAMPLE,
        headers=QUEUED_HEADERS | REPLAYED_HEADERS,
    )
    @blp.doc(operationId="put_indexed_item", requestBody=PUT_BODY)
    @require(Scope.PREDICT)
    @blp.arguments(schemas.IndexedItemPutQueryArgsSchema(), location="query")
    @blp.arguments(PredictionHeadersSchema(), location="headers")
    @blp.response(
        200,
        prediction_schemas.PredictionSchema,
        description="The finished prediction that placed it.",
        example=schemas.PUT_EXAMPLE,
        headers=REPLAYED_HEADERS,
    )
    def put(
        self, query: dict[str, Any], headers: dict[str, Any], model: str, catalog: str, external_id: str
    ) -> Response:
        """Put an item into an index.

        Adds it, or replaces its photo. The embedding is computed like a prediction, which is what is answered: stored
        before anything is answered, and waited for as `Prefer` says. Of several requests for one item the one that
        was accepted last wins. An item whose photo cannot be used stays as it was.
        """
        check_item_names(catalog, external_id)
        ticket = put_item(
            services(),
            request,
            principal(),
            model=model,
            catalog=catalog,
            external_id=external_id,
            query=query,
            headers=headers,
        )
        return answer(services(), ticket)

    @problems(UNKNOWN_MODEL, UNKNOWN_INDEXED_ITEM, NO_INDEX)
    @blp.doc(operationId="delete_indexed_item")
    @require(Scope.PREDICT)
    @blp.response(204, description="It is found no more.")
    def delete(self, model: str, catalog: str, external_id: str) -> None:
        """Remove an item from an index.

        No search that begins after the answer finds it. Requests that were still to put it are cancelled.
        """
        version = resolve_index(services(), model)
        with open_session(services().database) as session:
            canceled = remove_indexed_item(
                session, version, api_key_id=principal().api_key_id, catalog=catalog, external_id=external_id
            )
            audit(session, AuditAction.REMOVE_INDEXED_ITEM, f"models/{model}/items/{catalog}/{external_id}")
        publish(services().redis, canceled)


@blp.route("/<string:model>/items/<string:catalog>/<string:external_id>/photo")
class IndexedItemPhotoViews(MethodView):
    """The photo of an item of an index."""

    @problems(UNKNOWN_MODEL, UNKNOWN_INDEXED_ITEM, NO_INDEX, OBJECTS_UNAVAILABLE)
    @blp.doc(operationId="get_indexed_item_photo")
    @require(Scope.READ)
    @blp.response(200, PHOTO, content_type="image/*", description="The photo.", example="the bytes of a JPEG file")
    def get(self, model: str, catalog: str, external_id: str) -> Response:
        """Read the photo of an item of an index.

        As it was put: JPEG, PNG or WebP.
        """
        entry = _find(model, catalog, external_id)
        try:
            photo = services().objects.get(entry.photo_sha256)
        except ObjectMissingError as error:
            raise UnknownItemError(f"the photo of item {external_id!r} is gone; put the item again") from error
        response = make_response(photo)
        response.content_type = next(
            (kind for signature, kind in SIGNATURES.items() if photo.startswith(signature)), "application/octet-stream"
        )
        return response


def _find(model: str, catalog: str, external_id: str) -> IndexEntry:
    version = resolve_index(services(), model)
    with services().reading(principal().api_key_id) as session:
        return get_indexed_item(
            session, version, api_key_id=principal().api_key_id, catalog=catalog, external_id=external_id
        )


def _item(model: str, entry: IndexEntry) -> dict[str, Any]:
    address = "indexed_items.IndexedItemPhotoViews"
    return {
        "catalog": entry.catalog,
        "external_id": entry.external_id,
        "photo_sha256": entry.photo_sha256,
        "photo_url": url_for(address, model=model, catalog=entry.catalog, external_id=entry.external_id),
        "put_at": entry.put_at,
        "indexed": entry.indexed,
    }
