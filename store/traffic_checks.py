"""Whether traffic can be split as it is asked; nothing is changed where it cannot."""

from collections.abc import Sequence

from schemas.enums import TrafficPolicy
from schemas.traffic import TrafficPlan, is_share
from store.errors import TrafficConflictError, TrafficError
from store.models import CHANGING_KINDS
from store.switching import may_answer
from store.tables.model import Model
from store.tables.model_version import ModelVersion


def check_plan(model: Model, plan: TrafficPlan, versions: Sequence[ModelVersion]) -> None:
    """Check a plan against its model.

    Args:
        model: Whose traffic it is.
        plan: To be checked.
        versions: Those of the model that the plan names and that exist.

    Raises:
        TrafficError: The plan makes no sense.
        TrafficConflictError: One of its versions, or the model, cannot take part as it stands.
    """
    if model.champion is None:
        raise TrafficConflictError(f"model {model.name!r} has no champion to compare with; promote a version first")
    if model.kind in CHANGING_KINDS:
        raise TrafficConflictError(
            f"a {model.kind} model keeps its index for its champion alone; compare its versions by a backtest"
        )
    _check_shares(model, plan)
    _check_champion(plan, model.champion)
    _check_shadows(plan, model.champion)
    _check_versions(model, plan, versions)


def _check_shares(model: Model, plan: TrafficPlan) -> None:
    if plan.policy is TrafficPolicy.NONE and plan.weights:
        raise TrafficError("weights", "the policy `none` shares nothing; leave `weights` out, or ask for `fixed`")
    for number, weight in plan.weights.items():
        if not is_share(weight):
            raise TrafficError("weights", f"the share of version {number} is {weight:g}; shares are 0 or more")
    if plan.policy is not TrafficPolicy.NONE and sum(plan.weights.values()) <= 0.0:
        raise TrafficError(
            "weights",
            f"the shares of {model.name!r} sum up to nothing; give its champion and another version more than 0",
        )


def _check_champion(plan: TrafficPlan, champion: ModelVersion) -> None:
    if plan.policy is not TrafficPolicy.NONE and not plan.weights.get(champion.number):
        raise TrafficError(
            "weights",
            f"the champion, version {champion.number}, has no share, and the others are compared with it; give it one, "
            "or promote the version that is to answer everything",
        )


def _check_shadows(plan: TrafficPlan, champion: ModelVersion) -> None:
    if len(set(plan.shadows)) != len(plan.shadows):
        raise TrafficError("shadows", "the same version is named twice")
    both = sorted(set(plan.shadows) & set(plan.weights))
    if both:
        raise TrafficError("shadows", f"version {both[0]} has a share of the answers; a shadow never answers")
    if champion.number in plan.shadows:
        raise TrafficError("shadows", f"version {champion.number} is the champion; a shadow never answers")


def _check_versions(model: Model, plan: TrafficPlan, versions: Sequence[ModelVersion]) -> None:
    known = {version.number: version for version in versions}
    for number in (*plan.weights, *plan.shadows):
        if number not in known:
            field = "weights" if number in plan.weights else "shadows"
            raise TrafficError(
                field, f"model {model.name!r} has no version {number}; GET /v1/models/{model.name}/versions lists them"
            )
        if not may_answer(known[number]):
            state = "failed" if known[number].failed_at is not None else "is archived"
            raise TrafficConflictError(f"version {number} of {model.name!r} {state}; take one that may answer")
