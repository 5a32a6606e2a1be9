"""A real stack is used and misused with every secret that it has; none of them is in any of its logs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from tests.running import RunningStack


@pytest.fixture
def secrets(stack: RunningStack) -> Iterator[dict[str, str]]:
    """Every secret of the stack, by what it is: those it made at its start, and those of a key's life."""
    made = stack.client.post("/v1/keys", json={"name": "shop", "scopes": ["predict", "read"]}).json()
    rotated = stack.client.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60}).json()
    yield {
        "admin key": stack.admin_key,
        "first key": made["key"],
        "rotated key": rotated["key"],
        "flower": stack.flower_auth[1],
        "valkey": make_url(stack.settings["TORCHQUEUE_REDIS_URL"]).password or "",
    }
    stack.client.post(f"/v1/keys/{made['id']}/revoke")


def test_no_secret_is_in_any_log(stack: RunningStack, secrets: dict[str, str]) -> None:
    for key in (secrets["first key"], secrets["rotated key"], secrets["admin key"]):
        _use(stack, key)
        _misuse(stack, key)
    httpx.get(f"{stack.flower_url}/api/workers", auth=stack.flower_auth, timeout=10.0)
    with stack.without("valkey"):
        stack.predict_xor()

    logs = _logs(stack.var_dir)

    assert "valkey" in "".join(logs.values()), "nothing was logged about what was broken"
    assert [(name, kind) for name, text in logs.items() for kind, each in secrets.items() if _part(each) in text] == []


def _use(stack: RunningStack, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    assert stack.predict_xor(headers=headers).is_success
    assert stack.client.get("/v1/predictions", headers=headers).is_success


def _misuse(stack: RunningStack, key: str) -> None:
    """Put a key where none belongs, and send requests that fail."""
    with httpx.Client(base_url=stack.url, timeout=10.0) as client:
        for path in (f"/v1/models/{key}", f"/v1/models?key={key}", f"/{key}", f"/v1/predictions/{key}"):
            client.get(path, headers={"Authorization": f"Bearer {key}"})
        client.post("/v1/models/xor/predictions", headers={"Authorization": f"Bearer {key}"}, content=key.encode())
        client.get("/v1/models", headers={"Authorization": f"Bearer {key}x"})
        client.get("/v1/models", headers={"Authorization": f"Basic {key}"})


def _part(secret: str) -> str:
    """What of a secret may not be read. The id of a key may."""
    return secret.split("_")[2] if secret.startswith("tq_") else secret


def _logs(var_dir: Path) -> dict[str, str]:
    files = [*var_dir.rglob("*.log"), *var_dir.rglob("*.log.*")]
    return {str(file.relative_to(var_dir)): file.read_text(errors="replace") for file in files}
