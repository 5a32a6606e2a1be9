"""Models, versions and decisions as the API shows them."""

from typing import Any

from schemas.model_settings import ModelSettings
from store.headlines import find_headline
from store.tables.decision import Decision
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tunings import present_tuning
from webapp.presenters import present_verdict


def present_model(model: Model) -> dict[str, Any]:
    """Show a model, for `ModelSchema`."""
    champion = model.champion
    return {
        "name": model.name,
        "kind": model.kind,
        "description": model.description,
        "champion": _number(champion),
        "challenger": _number(model.challenger),
        "upcoming": _number(model.upcoming),
        "input": None if champion is None else champion.config["input"],
        "settings": ModelSettings.load(model.settings).dump(),
        "metric": None if champion is None else _metric(model.kind, champion.metrics),
        "created_at": model.created_at,
    }


def present_version(version: ModelVersion) -> dict[str, Any]:
    """Show a version, for `ModelVersionSchema`."""
    return {
        "model": version.model.name,
        "version": version.number,
        "source": version.source,
        "parent": _number(version.parent),
        "training_id": version.training_id,
        "aliases": _aliases(version),
        "config": version.config,
        "weights_sha256": version.weights_sha256,
        "weights_bytes": version.weights_bytes,
        "metrics": version.metrics,
        "tunings": [present_tuning(row) for row in version.tunings],
        "gate": None if version.verdict is None else present_verdict(version.verdict),
        "archived_at": version.archived_at,
        "archive_reason": version.archive_reason,
        "failed_at": version.failed_at,
        "failure": version.failure,
        "created_at": version.created_at,
    }


def present_decision(decision: Decision) -> dict[str, Any]:
    """Show a decision, for `DecisionSchema`."""
    return {
        "id": str(decision.id),
        "version": _number(decision.version),
        "action": decision.action,
        "actor": decision.actor,
        "reason": decision.reason,
        "figures": decision.figures,
        "created_at": decision.created_at,
    }


def _number(version: ModelVersion | None) -> int | None:
    return None if version is None else version.number


def _aliases(version: ModelVersion) -> list[str]:
    model = version.model
    held = {"champion": model.champion_id, "challenger": model.challenger_id, "upcoming": model.upcoming_id}
    return [alias for alias, version_id in held.items() if version_id == version.id]


def _metric(kind: str, metrics: dict[str, Any]) -> dict[str, Any] | None:
    found = find_headline(kind, metrics)
    return None if found is None else {"name": found[0], "value": found[1]}
