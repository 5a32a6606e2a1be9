"""A whole stack tells a receiver, the one of docs/webhooks.md, what happened."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from werkzeug.serving import make_server

from tests.running import ROOT, RunningStack, wait_until

Events = dict[str, dict[str, Any]]


@pytest.fixture
def webhook(stack: RunningStack, receiver_port: int) -> Iterator[dict[str, Any]]:
    """An endpoint at the receiver, told of every prediction that succeeds."""
    body = {"url": f"http://127.0.0.1:{receiver_port}/hooks", "events": ["prediction.succeeded"]}
    made = stack.client.post("/v1/webhooks", json=body)
    assert made.status_code == 201, made.text
    yield made.json()
    stack.client.delete(made.headers["Location"])


@pytest.fixture
def events(webhook: dict[str, Any], receiver_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """What the receiver of the documentation accepted, while it runs."""
    monkeypatch.setenv("WEBHOOK_SECRET", webhook["secret"])
    module: dict[str, Any] = {"__name__": "receiver"}
    exec(receiver_source(), module)  # noqa: S102 - our own documentation
    server = make_server("127.0.0.1", receiver_port, module["app"], threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield module["events"]
    server.shutdown()
    thread.join()
    server.server_close()


def receiver_source() -> str:
    """Read the program of docs/webhooks.md."""
    [source] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL)
    return str(source)


def subjects(events: Events) -> set[str]:
    return {event["data"]["id"] for event in events.values()}


def test_a_prediction_that_ends_is_told_and_verified(stack: RunningStack, events: Events) -> None:
    prediction = stack.predict_xor().json()["id"]

    wait_until(lambda: prediction in subjects(events))

    [event] = [each for each in events.values() if each["data"]["id"] == prediction]
    assert (event["type"], event["data"]["status"], event["data"]["model"]) == (
        "prediction.succeeded",
        "succeeded",
        "xor",
    )


def test_every_attempt_can_be_read_afterwards(stack: RunningStack, webhook: dict[str, Any], events: Events) -> None:
    asked = stack.client.post(f"/v1/webhooks/{webhook['id']}/test")
    wait_until(lambda: asked.json()["id"] in events)

    location = asked.headers["Location"]
    wait_until(lambda: stack.client.get(location).json()["state"] == "delivered")
    [attempt] = stack.client.get(location).json()["attempts_made"]
    assert (attempt["status_code"], attempt["error"]) == (204, None)


def test_a_delivery_worker_that_is_killed_under_load_loses_nothing(stack: RunningStack, events: Events) -> None:
    accepted = set()
    for index in range(60):
        accepted.add(stack.predict_xor().json()["id"])
        if index in (20, 40):
            killed = stack.kill("delivery")
            stack.wait_for("delivery", other_than=killed)

    wait_until(lambda: accepted <= subjects(events))


def test_the_receiver_refuses_what_another_signed(webhook: dict[str, Any], events: Events) -> None:
    body, now = "{}", datetime.now(UTC)
    forged = Webhook("whsec_" + "b3RoZXIgc2VjcmV0LCBhdCBsZWFzdCAyNCBieXRlcw==").sign("1", now, body)
    headers = {"webhook-id": "1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": forged}

    assert httpx.post(webhook["url"], content=body, headers=headers).status_code == 400
    assert "1" not in events
