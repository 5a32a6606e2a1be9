"""The public API, as the story uses it: nothing here looks behind it."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import httpx

from benchmarks.story.photos import MODEL, Photo, dump_json

#: Photos in flight; more would only wait.
CLIENTS = 12
TIMEOUT_S = 90.0
POLL_S = 0.5

#: A web process remembers for so long which version answers.
SETTLE_S = 1.5


class StoryError(Exception):
    """Raised when something did not come that the story needs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a photo was answered, and by whom."""

    prediction: str
    version: int
    label: str | None


class Api:
    """A client of one model.

    Args:
        url: Of the stack.
        key: An admin's.
    """

    def __init__(self, url: str, key: str) -> None:
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, limits=limits)
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._client.close()

    def ask(self, photos: Sequence[Photo], version: int | None = None) -> list[Answer]:
        """Ask about photos, several at a time; answers in order."""
        query = {} if version is None else {"version": str(version)}
        return list(self._pool.map(lambda photo: self._ask(photo, query), photos))

    def label(self, labels: Mapping[str, str], source: str) -> None:
        """Say what photos really show, by id of their prediction."""
        lines = [dump_json({"prediction": each, "label": label, "source": source}) for each, label in labels.items()]
        headers = {"Content-Type": "application/x-ndjson"}
        told = self._send("POST", f"/v1/models/{MODEL}/feedback", content="".join(lines), headers=headers)
        if told["refused"]:
            raise StoryError(f"{told['refused']} labels were refused: {told['errors'][0]}")

    def get(self, path: str = "", **query: Any) -> Any:
        """Read something of the model."""
        return self._send("GET", f"/v1/models/{MODEL}{path}", params=query)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Replace the model's settings."""
        self._send("PUT", f"/v1/models/{MODEL}", json=settings)

    def split(self, weights: Mapping[int, float], reason: str) -> None:
        """Share the traffic, and wait until every web process follows."""
        given = {"policy": "fixed", "weights": {str(each): share for each, share in weights.items()}, "reason": reason}
        self._send("PUT", f"/v1/models/{MODEL}/traffic", json=given)
        time.sleep(SETTLE_S)

    def promote(self, version: int, reason: str) -> None:
        """Make a version the champion, and wait until it answers everywhere."""
        headers = {"Prefer": "wait=60"}
        self._send("POST", f"/v1/models/{MODEL}/versions/{version}/promote", json={"reason": reason}, headers=headers)
        self.await_champion(version)

    def train(self, options: Mapping[str, Any]) -> str:
        """Ask for a training; returns its id."""
        return str(self._send("POST", f"/v1/models/{MODEL}/trainings", json=dict(options))["id"])

    def await_champion(self, version: int) -> None:
        """Wait until a version answers everywhere."""
        wait_for(lambda: self.get()["champion"] == version, 120, f"version {version} to answer")
        time.sleep(SETTLE_S)

    def await_training(self, chosen: Callable[[Mapping[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Wait until a training is finished; returns it.

        Raises:
            StoryError: It failed, or did not come in time.
        """

        def finished() -> dict[str, Any] | None:
            found = next((each for each in self.get("/trainings")["data"] if chosen(each)), None)
            return found if found is not None and found["finished_at"] is not None else None

        training: dict[str, Any] = wait_for(finished, timeout_s, "a training")
        if training["status"] != "succeeded":
            raise StoryError(f"the training ended as {training['status']}: {training['error']}")
        return training

    def await_verdict(self, version: int) -> dict[str, Any]:
        """Wait until the gate has spoken."""
        verdict: dict[str, Any] = wait_for(
            lambda: self.get(f"/versions/{version}")["gate"], 300, f"the verdict on version {version}"
        )
        return verdict

    def _ask(self, photo: Photo, query: Mapping[str, str]) -> Answer:
        headers = {"Content-Type": "image/png", "Prefer": "wait=60"}
        path = f"/v1/models/{MODEL}/predictions"
        told = self._send("POST", path, params=query, content=photo.data, headers=headers)
        result = told["result"]
        return Answer(told["id"], told["version"], None if result is None else result["label"])

    def _send(self, method: str, path: str, **options: Any) -> Any:
        response = self._client.request(method, path, **options)
        if response.is_error:
            raise StoryError(f"{method} {path} was answered {response.status_code}: {response.text}")
        return response.json() if response.content else None


def wait_for(look: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Look again and again until there is something; returns it.

    Raises:
        StoryError: There was nothing in time.
    """
    until = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > until:
            raise StoryError(f"{what} did not come within {timeout_s:.0f} s")
        time.sleep(POLL_S)
    return found
