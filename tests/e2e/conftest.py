"""Fixtures of the end-to-end tests."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page, sync_playwright

from tests.running import RunningStack

# Containers and CI run as root, where Chromium's sandbox does not start; the rest keeps it from calling home.
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that may take longest where several processes share them, so that none waits in the end."""
    if not hasattr(config, "workerinput"):
        return
    longest: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        marker = item.get_closest_marker("timeout")
        longest[item.path] = max(longest[item.path], 0.0 if marker is None else marker.args[0])
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture
def stack_valkey(stack: RunningStack) -> Iterator[redis.Redis]:
    """A client of the running stack's own Valkey."""
    with redis.Redis.from_url(stack.settings["TORCHQUEUE_REDIS_URL"]) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; Playwright's own download is not needed.

    It ends with its module: Playwright leaves an event loop running in the thread of the tests.
    """
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, stack: RunningStack) -> Iterator[Page]:
    """A fresh page that knows Flower's password."""
    user, password = stack.flower_auth
    context = browser.new_context(http_credentials={"username": user, "password": password})
    yield context.new_page()
    context.close()
