"""`/docs` in a real browser, with the Content-Security-Policy that the service sends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.running import SAMPLES, RunningStack

ROOT = Path(__file__).resolve().parents[2]
PHOTO = SAMPLES / "sneaker-02.jpg"

ANSWER_LIMIT_MS = 20_000

# Subjects of which one operation is opened.
OPENED = ("predictions", "models", "webhooks")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a fresh page."""
    opened = browser.new_page()
    yield opened
    opened.close()


def document() -> dict[str, Any]:
    """Read the snapshot of the document."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    return found


def test_docs_list_every_operation_without_another_host_or_a_complaint(stack: RunningStack, page: Page) -> None:
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{stack.url}/docs")
    page.wait_for_selector(".opblock")
    # A form with a file, a body with a choice of schemas, and a webhook; each takes Swagger UI seconds of a processor.
    for subject in OPENED:
        section = page.locator(f".opblock-tag-section:has(#operations-tag-{subject})")
        section.locator(".opblock-summary-control").last.click()
        section.locator(".opblock-body").wait_for()
    shown = [label.inner_text() for label in page.locator(".opblock-summary-operation-id").all()]
    paths = [*document()["paths"].values(), *document()["webhooks"].values()]
    assert shown == [each["operationId"] for path in paths for each in path.values()]
    assert [url for url in requested if not url.startswith((f"{stack.url}/", "data:"))] == []
    assert complaints == []


def test_photo_is_classified_from_the_docs(stack: RunningStack, page: Page) -> None:
    page.goto(f"{stack.url}/docs")
    page.click(".btn.authorize")
    page.fill(".modal-ux input", stack.admin_key)
    page.click(".modal-ux .modal-btn.auth.authorize")
    page.click(".modal-ux .btn-done")
    operation = page.locator("#operations-predictions-create_prediction")
    operation.locator(".opblock-summary-control").click()
    operation.locator("input[type=file]").set_input_files(PHOTO)
    operation.locator("button.execute").click()
    answer = operation.locator(".live-responses-table .highlight-code code").first
    answer.wait_for(timeout=ANSWER_LIMIT_MS)
    assert json.loads(answer.inner_text())["result"]["label"] == "Sneaker"
