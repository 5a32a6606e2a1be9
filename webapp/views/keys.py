"""API keys, and the audit log of what was done with them and everything else."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from flask import url_for
from flask.views import MethodView

from schemas import audit as audit_schemas
from schemas import keys as schemas
from schemas.enums import AuditAction, Scope
from store import keys as store
from store.audit import list_actions
from store.database import open_session
from store.replies import publish_keys
from store.tables.api_key import ApiKey
from store.tables.audit_entry import AuditEntry
from webapp.audit import audit
from webapp.auth import require
from webapp.blueprint import Blueprint
from webapp.openapi import KEY_HEADERS
from webapp.pages import next_cursor
from webapp.problems.documented import problems
from webapp.problems.keys import INVALID_KEY_FIELDS, KEY_STATE, UNKNOWN_KEY
from webapp.problems.requests import INVALID_PAGE, MALFORMED_REQUEST
from webapp.services import services

LIMITS = tuple(field.name for field in fields(store.KeyLimits))

SHOWN = ("name", "scopes", "created_at", "expires_at", "revoked_at", "rotated_at", "last_used_at", *LIMITS)

blp = Blueprint("keys", __name__, url_prefix="/v1", description="Who may call, and who did what.")


@blp.route("/keys")
class KeyViews(MethodView):
    """All keys."""

    @problems(INVALID_PAGE)
    @blp.doc(operationId="list_keys")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.KeyPageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.KeyPageSchema, description="A page.", example=schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List keys.

        Oldest first, without their secrets, those that are revoked or expired too.
        """
        limit = query["limit"]
        with open_session(services().database) as session:
            rows = store.list_keys(session, after=query["cursor"], limit=limit)
        return {
            "data": [_present(row) for row in rows],
            "next_cursor": next_cursor(rows, limit),
        }

    @problems(MALFORMED_REQUEST, INVALID_KEY_FIELDS)
    @blp.doc(operationId="create_key")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.NewKeySchema, example=schemas.NEW_EXAMPLE)
    @blp.response(
        201,
        schemas.CreatedKeySchema,
        description="The new key, shown this once.",
        example=schemas.CREATED_EXAMPLE,
        headers=KEY_HEADERS,
    )
    def post(self, wanted: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Make a key.

        A tenant of its own: it sees none of the predictions of other keys. The answer holds its secret, of which only
        a hash is stored.
        """
        limits = store.KeyLimits(**{name: wanted[name] for name in LIMITS})
        with open_session(services().database) as session:
            row, key = store.create_key(session, name=wanted["name"], scopes=wanted["scopes"], limits=limits)
            row.expires_at = wanted["expires_at"]
            session.flush()
            session.refresh(row)
            audit(session, AuditAction.CREATE_KEY, _subject(row), after=_small(row))
        return {**_present(row), "key": key}, 201, {"Location": url_for("keys.KeyByIdViews", key_id=row.public_id)}


@blp.route("/keys/<string:key_id>")
class KeyByIdViews(MethodView):
    """One key."""

    @problems(UNKNOWN_KEY)
    @blp.doc(operationId="get_key")
    @require(Scope.ADMIN)
    @blp.response(200, schemas.KeySchema, description="The key.", example=schemas.SHOWN)
    def get(self, key_id: str) -> dict[str, Any]:
        """Read a key.

        Without its secret, which nobody can read.
        """
        with open_session(services().database) as session:
            return _present(store.get_key(session, key_id))

    @problems(MALFORMED_REQUEST, UNKNOWN_KEY, INVALID_KEY_FIELDS)
    @blp.doc(operationId="update_key")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.KeyChangesSchema, example={"max_queued": 1000, "expires_at": None})
    @blp.response(200, schemas.KeySchema, description="The key as it is now.", example=schemas.SHOWN)
    def patch(self, changes: dict[str, Any], key_id: str) -> dict[str, Any]:
        """Change a key.

        What it may do, how much and how long; what is left out stays. Every process follows at once, or within 5
        seconds where Valkey is away.
        """
        if "scopes" in changes:
            changes["scopes"] = [str(scope) for scope in changes["scopes"]]
        with open_session(services().database) as session:
            before = _small(store.get_key(session, key_id, lock=True))
            row = store.update_key(session, key_id, changes)
            session.refresh(row)
            audit(session, AuditAction.UPDATE_KEY, _subject(row), before=before, after=_small(row))
        publish_keys(services().redis, [key_id])
        return _present(row)


@blp.route("/keys/<string:key_id>/rotate")
class KeyRotationViews(MethodView):
    """Another secret for a key."""

    @problems(MALFORMED_REQUEST, UNKNOWN_KEY, KEY_STATE, INVALID_KEY_FIELDS)
    @blp.doc(operationId="rotate_key")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.RotationSchema, example={"grace_s": 86_400})
    @blp.response(
        200, schemas.CreatedKeySchema, description="The key with its new secret.", example=schemas.ROTATED_EXAMPLE
    )
    def post(self, wish: dict[str, Any], key_id: str) -> dict[str, Any]:
        """Give a key another secret.

        The tenant and all its data stay. The secret of until now works for the grace, so that clients can be changed
        one after the other.
        """
        grace_s = wish["grace_s"]
        with open_session(services().database) as session:
            row, key = store.rotate_key(session, key_id, grace=timedelta(seconds=grace_s))
            audit(session, AuditAction.ROTATE_KEY, _subject(row), after={"grace_s": grace_s})
        publish_keys(services().redis, [key_id])
        return {**_present(row), "key": key}


@blp.route("/keys/<string:key_id>/revoke")
class KeyRevocationViews(MethodView):
    """The end of a key."""

    @problems(UNKNOWN_KEY)
    @blp.doc(operationId="revoke_key")
    @require(Scope.ADMIN)
    @blp.response(200, schemas.KeySchema, description="The revoked key.", example=schemas.REVOKED_EXAMPLE)
    def post(self, key_id: str) -> dict[str, Any]:
        """Revoke a key.

        For good, with every secret that it ever had; its data stay. Every process refuses it at once, or within 5
        seconds where Valkey is away. Revoking twice is fine.
        """
        with open_session(services().database) as session:
            row = store.revoke_key(session, key_id)
            audit(session, AuditAction.REVOKE_KEY, _subject(row))
        publish_keys(services().redis, [key_id])
        return _present(row)


@blp.route("/audit")
class AuditViews(MethodView):
    """The audit log."""

    @problems(INVALID_PAGE)
    @blp.doc(operationId="list_audit")
    @require(Scope.ADMIN)
    @blp.arguments(audit_schemas.AuditPageQueryArgsSchema(), location="query")
    @blp.response(200, audit_schemas.AuditPageSchema, description="A page.", example=audit_schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List who did what.

        Newest first, with the key and the address it came from. Nothing in it ever changes. Why something was decided
        about a model, and by which figures, is in `GET /v1/models/{model}/decisions`.
        """
        action, limit = query["action"], query["limit"]
        with open_session(services().database) as session:
            found = list_actions(
                session, limit=limit, before_id=query["cursor"], action=None if action is None else str(action)
            )
        return {
            "data": [_present_action(entry, public_id) for entry, public_id in found],
            "next_cursor": next_cursor([entry for entry, _ in found], limit),
        }


def _subject(row: ApiKey) -> str:
    return f"keys/{row.public_id}"


def _present(row: ApiKey) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in SHOWN}
    return {"id": row.public_id, **shown, "scopes": [Scope(scope) for scope in row.scopes]}


def _small(row: ApiKey) -> Mapping[str, Any]:
    """What of a key may change, as JSON."""
    values = {name: getattr(row, name) for name in sorted(store.CHANGEABLE)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _present_action(entry: AuditEntry, public_id: str | None) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "action": AuditAction(entry.action),
        "actor": entry.actor,
        "key": public_id,
        "subject": entry.subject,
        "remote_address": entry.remote_address,
        "request_id": entry.request_id,
        "before": entry.before,
        "after": entry.after,
        "created_at": entry.created_at,
    }
