"""Data is posted to a running stack, its training is followed as it goes, and the worker that runs it is killed."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.running import RunningStack

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1)]

#: Enough that an epoch is more than a moment.
ROWS = 12_000

EPOCHS = 12

#: A new worker process begins with importing torch.
PATIENCE_S = 180.0


def test_a_training_is_followed_while_its_worker_dies_and_the_next_prediction_uses_it(stack: RunningStack) -> None:
    told, killed = [], False
    for event in _events(stack, _post_data(stack)):
        told.append(event)
        if not killed and _epochs(told)[-1:] > [1]:
            stack.kill("training")
            killed = True

    name, training = told[-1]
    assert killed
    assert (name, training["attempt"]) == ("succeeded", 2), training
    # What was done before the kill is not done again, but for the epoch that was running.
    assert all(later >= before - 1 for before, later in itertools.pairwise(_epochs(told)))
    _check_answers(stack, training["version"])


def _post_data(stack: RunningStack) -> str:
    pairs = PAIRS * (ROWS // len(PAIRS))
    body = {"inputs": pairs, "targets": [a ^ b for a, b in pairs], "epochs": EPOCHS, "promote": True}
    response = stack.client.post("/v1/models/xor/trainings", json=body)
    assert response.status_code == httpx.codes.ACCEPTED, response.text
    return response.headers["Location"]


def _epochs(told: list[tuple[str, dict[str, Any]]]) -> list[int]:
    return [training["progress"]["epoch"] for _, training in told if training["progress"] is not None]


def _events(stack: RunningStack, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and data of each event, as it comes."""
    with stack.client.stream("GET", f"{path}/events", timeout=PATIENCE_S) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def _check_answers(stack: RunningStack, version: int) -> None:
    """Ask for all pairs, and make the champion of the other tests answer again."""
    try:
        for a, b in PAIRS:
            answer = stack.predict_xor(a, b).json()
            assert (answer["version"], int(answer["result"]["label"])) == (version, a ^ b)
    finally:
        stack.client.post("/v1/models/xor/rollback", json={"reason": "the test is over"}).raise_for_status()
