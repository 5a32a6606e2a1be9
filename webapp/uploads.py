"""Uploaded versions: read from the form, tried in a process of its own, and only then stored and registered."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from flask import Request
from sqlalchemy.orm import Session

from schemas.decisions import LONGEST_REASON
from schemas.enums import AuditAction, DecisionAction
from store.database import open_session
from store.decisions import record_decision
from store.models import check_kind, get_model, register_version
from store.settings import without_secrets
from store.tables.model_version import ModelVersion
from webapp.audit import audit
from webapp.errors import InvalidInputError, MalformedBodyError, NotReadyError, UnsupportedMediaError
from webapp.inputs import MULTIPART_TYPE
from webapp.services import Services

log = structlog.get_logger()

SOURCE = "uploaded"

#: Loads torch, so it is named here and never imported.
CHECKER_MODULE = "tasks.checking"

#: Longest that trying a model may take. Loading torch takes seconds, the rest depends on the model.
CHECK_TIMEOUT_S = 120.0

#: A request waits so long for the one before it; each check takes the memory of a worker.
TURN_TIMEOUT_S = 30.0

#: Labels of a thousand classes are as large as this; Flask's own limit is for forms that people fill in.
MAX_CONFIG_BYTES = 4 * 1024 * 1024

#: What the configuration says about another file, and not about how weights are read.
ABOUT_ANOTHER_FILE = ("name", "sha256", "metrics", "description")

# One at a time in a web process.
_turn = threading.Lock()

UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "description": "The weights, and how they are read where that differs from the champion's.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "title": "ModelVersionForm",
                "type": "object",
                "required": ["weights"],
                "properties": {
                    "weights": {
                        "type": "string",
                        "format": "binary",
                        "description": "Safetensors, or a torch.export archive. Never a pickle.",
                    },
                    "config": {
                        "type": "string",
                        "description": "A JSON object as a version's `config`; the champion's without it.",
                    },
                    "reason": {"type": "string", "description": "For the log of decisions."},
                },
            }
        }
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What a form brought."""

    weights: bytes
    config: Mapping[str, Any] | None
    reason: str


def read_upload(request: Request, max_bytes: int) -> Upload:
    """Read the form of a new version.

    Raises:
        UnsupportedMediaError: It is no form.
        MalformedBodyError: It holds no weights, or its configuration is no JSON object.
        InvalidInputError: The reason cannot be kept.
        RequestEntityTooLarge: It is larger than `max_bytes`.
    """
    if request.mimetype != MULTIPART_TYPE:
        raise UnsupportedMediaError("send multipart/form-data with the file of the weights as its part `weights`")
    request.max_content_length = max_bytes
    request.max_form_memory_size = MAX_CONFIG_BYTES
    part = request.files.get("weights")
    weights = b"" if part is None else part.read()
    if not weights:
        raise MalformedBodyError("the form has no file part named `weights`, or it is empty")
    config = request.files.get("config")
    text = request.form.get("config") if config is None else config.read()
    reason = request.form.get("reason", "uploaded").strip()
    if not reason or "\0" in reason or len(reason) > LONGEST_REASON:
        raise InvalidInputError("reason", f"must be 1 to {LONGEST_REASON} characters that say why; or leave it out")
    return Upload(weights=weights, config=None if text is None else _parse_config(text), reason=reason)


def register_upload(services: Services, name: str, upload: Upload, actor: str) -> int:
    """Try an uploaded version and register it as the next of its model.

    Returns:
        Its number.

    Raises:
        UnknownModelError: There is no such model.
        KindMismatchError: The configuration is of another kind than the model.
        InvalidInputError: The file or its configuration cannot be used; nothing was stored.
        NotReadyError: Other uploads are being tried.
        ObjectsUnavailableError: The object store does not answer; nothing was registered.
    """
    with open_session(services.database) as session:
        config, parent_id = _complete(session, name, upload.config)
    checked = try_model(config, upload.weights)
    # Before the row is seen by anybody: a version whose file is missing could not be loaded.
    digest = services.objects.put(upload.weights)
    with open_session(services.database) as session:
        version = register_version(
            session,
            name=name,
            kind=checked["config"]["kind"],
            config=checked["config"],
            weights_sha256=digest,
            weights_bytes=len(upload.weights),
            metrics=checked["metrics"],
            source=SOURCE,
            parent_id=parent_id,
        )
        _record(session, version, upload, actor)
        audit(session, AuditAction.UPLOAD_VERSION, f"models/{name}/versions/{version.number}")
        return version.number


def try_model(config: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
    """Let a process of its own load a model and ask it.

    Returns:
        `config`, complete, and `metrics`.

    Raises:
        InvalidInputError: It cannot be used; names the part at fault.
        NotReadyError: Others are being tried.
    """
    if not _turn.acquire(timeout=TURN_TIMEOUT_S):
        raise NotReadyError("another upload is being tried; send this one again")
    try:
        return _read_verdict(_run_checker(orjson.dumps(config) + b"\n" + weights))
    finally:
        _turn.release()


def _run_checker(given: bytes) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter and module; what is uploaded goes to its input
            [sys.executable, "-m", CHECKER_MODULE],
            input=given,
            capture_output=True,
            timeout=CHECK_TIMEOUT_S,
            # A device belongs to its worker; and without one, a file that harms a driver harms nobody.
            # What reads a stranger's file knows no password.
            env={**without_secrets(os.environ), "CUDA_VISIBLE_DEVICES": ""},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidInputError(
            "weights", f"the model could not be tried within {CHECK_TIMEOUT_S:.0f} s; use `torchqueue models import`"
        ) from error


def _read_verdict(done: "subprocess.CompletedProcess[bytes]") -> dict[str, Any]:
    if done.returncode != 0:
        log.error("upload_check_died", returncode=done.returncode, stderr=done.stderr[-2000:].decode(errors="replace"))
        raise InvalidInputError("weights", f"the process that tried the model died of it (exit {done.returncode})")
    # Whatever a network prints while it is tried stands before it.
    verdict: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "field" in verdict:
        raise InvalidInputError(verdict["field"], verdict["detail"])
    return verdict


def _parse_config(text: str | bytes) -> Mapping[str, Any]:
    try:
        config = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"the part `config` is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise MalformedBodyError("the part `config` must be a JSON object, as a version's `config`")
    if b"\\u0000" in orjson.dumps(config):
        raise InvalidInputError("config", "holds a NUL character, which cannot be stored")
    return config


def _complete(session: Session, name: str, given: Mapping[str, Any] | None) -> tuple[dict[str, Any], int | None]:
    """What the weights are read with, and the id of the version that it is taken from."""
    model = get_model(session, name)
    if given is not None:
        config = {"kind": model.kind, **given}
        if isinstance(config["kind"], str):
            check_kind(session, name, config["kind"])
        if config.setdefault("name", name) != name:
            raise InvalidInputError("config.name", f"must be {name!r}, as the path says, or left out")
        return config, None
    if model.champion is None:
        raise InvalidInputError("config", f"is missing, and {name!r} has no champion whose configuration would do")
    kept = {key: value for key, value in model.champion.config.items() if key not in ABOUT_ANOTHER_FILE}
    return {**kept, "name": name}, model.champion.id


def _record(session: Session, version: ModelVersion, upload: Upload, actor: str) -> None:
    record_decision(
        session,
        model_id=version.model_id,
        version_id=version.id,
        action=DecisionAction.UPLOAD,
        actor=actor,
        reason=upload.reason,
        figures={"weights_bytes": version.weights_bytes, "weights_sha256": version.weights_sha256},
    )
