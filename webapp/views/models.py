"""Models and their versions."""

from typing import Any

from flask import request, url_for
from flask.views import MethodView

from schemas import models as schemas
from schemas.enums import AuditAction, Scope
from schemas.model_settings import EXAMPLE as SETTINGS_EXAMPLE
from schemas.model_settings import ModelSettings, ModelSettingsSchema
from store import models
from store.database import open_session
from tasks.cron import check_schedule
from webapp.audit import audit
from webapp.auth import principal, require
from webapp.blueprint import Blueprint
from webapp.model_documents import present_model, present_version
from webapp.openapi import CREATED_HEADERS
from webapp.problems.documented import problems
from webapp.problems.models import (
    INVALID_MODEL_SETTINGS,
    INVALID_SETTING,
    INVALID_WEIGHTS,
    KIND_MISMATCH,
    UNKNOWN_MODEL,
    UNKNOWN_VERSION,
)
from webapp.problems.outages import NOT_READY, OBJECTS_UNAVAILABLE
from webapp.problems.requests import MALFORMED_BODY, MALFORMED_REQUEST, TOO_LARGE, UNKNOWN_PATH, UNSUPPORTED_MEDIA_TYPE
from webapp.services import services
from webapp.training_presenter import retraining_state
from webapp.uploads import UPLOAD_BODY, read_upload, register_upload

blp = Blueprint("models", __name__, url_prefix="/v1/models", description="What can be asked.")


@blp.route("")
class ModelViews(MethodView):
    """All models."""

    @problems()
    @blp.doc(operationId="list_models")
    @require(Scope.READ)
    @blp.response(200, schemas.ModelListSchema, description="All models.", example={"data": [schemas.EXAMPLE]})
    def get(self) -> dict[str, Any]:
        """List models.

        By name, each with the version that answers and what that takes.
        """
        with open_session(services().database) as session:
            return {"data": [present_model(model) for model in models.list_models(session)]}


@blp.route("/<string:model>")
class ModelByNameViews(MethodView):
    """One model."""

    @problems(UNKNOWN_MODEL)
    @blp.doc(operationId="get_model")
    @require(Scope.READ)
    @blp.response(200, schemas.ModelSchema, description="The model.", example=schemas.EXAMPLE)
    def get(self, model: str) -> dict[str, Any]:
        """Read a model.

        Tells the version that answers and what that takes, and what its next training hangs on.
        """
        with open_session(services().database) as session:
            found = models.get_model(session, model)
            return {**present_model(found), "retraining": retraining_state(session, found)}

    @problems(MALFORMED_REQUEST, UNKNOWN_MODEL, INVALID_SETTING, INVALID_MODEL_SETTINGS)
    @blp.doc(operationId="configure_model")
    @require(Scope.ADMIN)
    @blp.arguments(ModelSettingsSchema, example=SETTINGS_EXAMPLE)
    @blp.response(200, schemas.ModelSchema, description="The model as it is served now.", example=schemas.EXAMPLE)
    def put(self, settings: dict[str, Any], model: str) -> dict[str, Any]:
        """Say how a model is served.

        Replaces all settings, for all versions of the model; what is left out gets its default. Every web process
        follows within seconds.
        """
        wanted = ModelSettings.load(settings)
        check_schedule(wanted)
        with open_session(services().database) as session:
            before = models.get_model(session, model).settings
            configured = models.configure(session, name=model, settings=wanted)
            audit(
                session,
                AuditAction.CONFIGURE_MODEL,
                f"models/{model}",
                before=before,
                after=configured.settings,
            )
            return present_model(configured)


@blp.route("/<string:model>/versions")
class ModelVersionViews(MethodView):
    """A model's versions."""

    @problems(UNKNOWN_MODEL)
    @blp.doc(operationId="list_model_versions")
    @require(Scope.READ)
    @blp.response(
        200,
        schemas.ModelVersionListSchema,
        description="All versions of the model.",
        example={"data": [schemas.VERSION_EXAMPLE]},
    )
    def get(self, model: str) -> dict[str, Any]:
        """List a model's versions.

        Newest first. A version never changes; the model's `champion` says which one answers.
        """
        with open_session(services().database) as session:
            return {"data": [present_version(version) for version in models.list_versions(session, model)]}

    @problems(
        MALFORMED_BODY,
        UNKNOWN_MODEL,
        KIND_MISMATCH,
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INVALID_WEIGHTS,
        OBJECTS_UNAVAILABLE,
        NOT_READY,
    )
    @blp.doc(operationId="upload_model_version", requestBody=UPLOAD_BODY)
    @require(Scope.ADMIN)
    @blp.response(
        201,
        schemas.ModelVersionSchema,
        description="The new version.",
        example=schemas.UPLOADED_EXAMPLE,
        headers=CREATED_HEADERS,
    )
    def post(self, model: str) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Upload a version of a model.

        The weights are tried in a process of their own, with the configuration that comes with them or else with the
        champion's. Only what loads, fits and answers is registered; a file that is damaged, of another architecture,
        holds NaN, or is a pickle is refused, and nothing is stored of it. The version answers after its promotion.
        """
        upload = read_upload(request, services().settings.max_upload_bytes)
        number = register_upload(services(), model, upload, principal().name)
        with open_session(services().database) as session:
            document = present_version(models.get_version(session, model, number))
        location = url_for("models.ModelVersionByNumberViews", model=model, version=number)
        return document, 201, {"Location": location}


@blp.route("/<string:model>/versions/<int:version>")
class ModelVersionByNumberViews(MethodView):
    """One version of a model."""

    @problems(UNKNOWN_MODEL, UNKNOWN_VERSION, UNKNOWN_PATH)
    @blp.doc(operationId="get_model_version")
    @require(Scope.READ)
    @blp.response(200, schemas.ModelVersionSchema, description="The version.", example=schemas.VERSION_EXAMPLE)
    def get(self, model: str, version: int) -> dict[str, Any]:
        """Read one version of a model.

        Tells where it comes from, how it reads its input, what was measured of its answers, and how it runs fastest on
        each kind of device.
        """
        with open_session(services().database) as session:
            return present_version(models.get_version(session, model, version))
