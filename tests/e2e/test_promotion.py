"""Versions change under load, between real processes: no request fails, and each is answered by one version."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from stack.bootstrap import BUNDLED
from tests.load import Crowd, asking
from tests.running import PATIENCE_S, RunningStack, wait_until

ROUNDS = 3

FOLDER = BUNDLED / "xor"


@dataclass
class Readers(Crowd):
    """Clients that note which version answered what."""

    answers: list[tuple[int, int]] = field(default_factory=list)

    def send(self, client: httpx.Client, pair: tuple[int, int], prefer: str) -> None:
        """Ask once; the label tells whether the version's own network and labels answered."""
        response = client.post("/v1/models/xor/predictions", json={"input": pair}, headers={"Prefer": prefer})
        body = response.json()
        if response.status_code != httpx.codes.OK or body["status"] != "succeeded":
            self.refused.append(response.status_code)
            return
        said_differ = int(body["result"]["label"]) == int(pair[0] != pair[1])
        self.answers.append((body["version"], said_differ))


def test_versions_change_under_load_and_no_request_fails_or_mixes_them(stack: RunningStack) -> None:
    number = _upload_swapped(stack)
    people = Readers(stack)
    with asking(people, clients=4):
        for _ in range(ROUNDS):
            _change(stack, f"versions/{number}/promote")
            _see(people, number)
            _change(stack, "rollback")
            _see(people, 1)

    assert people.refused == []
    assert set(people.answers) == {(1, True), (number, False)}


def _upload_swapped(stack: RunningStack) -> int:
    """Upload the weights of `xor` with swapped labels: a version that is wrong about every pair."""
    config: dict[str, Any] = json.loads((FOLDER / "model.json").read_text())
    kept = {name: value for name, value in config.items() if name not in ("name", "sha256", "metrics", "description")}
    response = stack.client.post(
        "/v1/models/xor/versions",
        files={"weights": (FOLDER / "weights.safetensors").read_bytes()},
        data={"config": json.dumps(kept | {"labels": config["labels"][::-1]})},
        timeout=PATIENCE_S * 4,
    )
    assert response.status_code == httpx.codes.CREATED, response.text
    number: int = response.json()["version"]
    return number


def _change(stack: RunningStack, path: str) -> None:
    response = stack.client.post(f"/v1/models/xor/{path}", json={"reason": "a test"}, headers={"Prefer": "wait=30"})
    assert response.status_code == httpx.codes.OK, response.text


def _see(people: Readers, number: int) -> None:
    """Wait until the version answers."""
    wait_until(lambda: bool(people.answers) and people.answers[-1][0] == number)
