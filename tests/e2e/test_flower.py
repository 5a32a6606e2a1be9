"""Flower as an operator sees it: workers by device, tasks with prediction ids in their arguments."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page

from tests.running import RunningStack, wait_until


@pytest.fixture
def flower(stack: RunningStack) -> Iterator[httpx.Client]:
    """A client of Flower's API with its password."""
    with httpx.Client(base_url=stack.flower_url, auth=stack.flower_auth, timeout=10.0) as client:
        yield client


def rings(flower: httpx.Client) -> list[str]:
    """The arguments of the doorbells that Flower knows."""
    tasks = flower.get("/api/tasks", params={"taskname": "run_predictions"}).json()
    return [task["kwargs"] for task in tasks.values()]


def test_flower_asks_for_a_password(stack: RunningStack) -> None:
    assert httpx.get(f"{stack.flower_url}/api/workers").status_code == 401


def test_flower_names_the_workers_by_device(flower: httpx.Client) -> None:
    def names() -> set[str]:
        return {name.partition("@")[0] for name in flower.get("/api/workers", params={"refresh": 1}).json()}

    wait_until(lambda: {"cpu-0", "training", "maintenance"} <= names())


def test_flower_shows_prediction_ids_in_the_arguments_of_a_task(stack: RunningStack, flower: httpx.Client) -> None:
    prediction = stack.predict_xor().json()["id"]
    wait_until(lambda: any(prediction in kwargs for kwargs in rings(flower)))


def test_the_tasks_page_shows_a_prediction_in_a_browser(stack: RunningStack, page: Page) -> None:
    prediction = stack.predict_xor().json()["id"]
    page.goto(f"{stack.flower_url}/tasks")
    page.get_by_role("searchbox").fill(prediction)
    page.get_by_text("run_predictions").first.wait_for()
    assert prediction in page.inner_text("#tasks-table")


def test_the_workers_page_shows_the_device_in_a_browser(stack: RunningStack, page: Page) -> None:
    page.goto(f"{stack.flower_url}/workers")
    page.get_by_text("cpu-0@").first.wait_for()


@pytest.mark.parametrize(
    "path",
    [
        "/api/worker/shutdown/cpu-0@here",
        "/api/worker/pool/shrink/cpu-0@here",
        "/api/task/apply/run_predictions",
        "/api/task/async-apply/run_predictions",
        "/api/task/send-task/run_predictions",
        "/api/task/revoke/0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
    ],
)
def test_flower_can_stop_no_worker_and_send_no_task(flower: httpx.Client, path: str) -> None:
    assert flower.post(path, json={}).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/", "/tasks", "/api/tasks", "/api/queues/length"])
def test_flower_tells_nothing_without_the_password(stack: RunningStack, path: str) -> None:
    assert httpx.get(f"{stack.flower_url}{path}").status_code in {401, 404}
