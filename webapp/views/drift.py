"""Drift: how far a model's answers are from what is usual for it."""

from typing import Any

from flask.views import MethodView

from schemas import drift as schemas
from schemas.enums import Scope
from store.database import open_session
from store.drift import read_drift
from webapp.auth import require
from webapp.blueprint import Blueprint
from webapp.problems.documented import problems
from webapp.problems.models import UNKNOWN_MODEL
from webapp.services import services

blp = Blueprint("drift", __name__, url_prefix="/v1/models", description="Whether the world is still what it was.")


@blp.route("/<string:model>/drift")
class DriftViews(MethodView):
    """Drift of one model."""

    @problems(UNKNOWN_MODEL)
    @blp.doc(operationId="get_drift")
    @require(Scope.READ)
    @blp.response(200, schemas.DriftSchema, description="As the last check found it.", example=schemas.EXAMPLE)
    def get(self, model: str) -> dict[str, Any]:
        """Read how far a model's answers have drifted.

        Compares the champion's latest answers and feedback with its first ones since it was promoted; checked within a
        minute of new data. An alarm is raised when a difference matters, is more than chance, and stays. The model's
        settings under `drift` say when.
        """
        with open_session(services().database) as session:
            return read_drift(session, model)
