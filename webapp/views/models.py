"""Models and their versions."""

from typing import Any

from flask.views import MethodView

from schemas import models as schemas
from schemas.enums import Scope
from schemas.model_settings import EXAMPLE as SETTINGS_EXAMPLE
from schemas.model_settings import ModelSettings, ModelSettingsSchema
from store import models
from store.database import open_session
from store.headlines import find_headline
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tunings import present_tuning
from tasks.cron import check_schedule
from webapp.auth import require
from webapp.blueprint import Blueprint
from webapp.presenters import present_verdict
from webapp.problems import (
    INVALID_MODEL_SETTINGS,
    INVALID_SETTING,
    MALFORMED_REQUEST,
    UNKNOWN_MODEL,
    UNKNOWN_PATH,
    UNKNOWN_VERSION,
    problems,
)
from webapp.services import services
from webapp.training_presenter import retraining_state

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
            return {"data": [_model(model) for model in models.list_models(session)]}


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
            return {**_model(found), "retraining": retraining_state(session, found)}

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
            return _model(models.configure(session, name=model, settings=wanted))


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
            return {"data": [_version(version) for version in models.list_versions(session, model)]}


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
            return _version(models.get_version(session, model, version))


def _model(model: Model) -> dict[str, Any]:
    champion = model.champion
    return {
        "name": model.name,
        "kind": model.kind,
        "description": model.description,
        "champion": None if champion is None else champion.number,
        "input": None if champion is None else champion.config["input"],
        "settings": ModelSettings.load(model.settings).dump(),
        "metric": None if champion is None else _metric(model.kind, champion.metrics),
        "created_at": model.created_at,
    }


def _metric(kind: str, metrics: dict[str, Any]) -> dict[str, Any] | None:
    found = find_headline(kind, metrics)
    return None if found is None else {"name": found[0], "value": found[1]}


def _version(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.model.name,
        "version": version.number,
        "source": version.source,
        "config": version.config,
        "weights_sha256": version.weights_sha256,
        "weights_bytes": version.weights_bytes,
        "metrics": version.metrics,
        "tunings": [present_tuning(row) for row in version.tunings],
        "gate": None if version.verdict is None else present_verdict(version.verdict),
        "created_at": version.created_at,
    }
