"""`store.logs`: one JSON object a line."""

import json
from collections.abc import Iterator

import pytest
import structlog

from store.logs import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_an_event_is_one_line_of_json_that_names_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "web")

    structlog.get_logger().info("started", port=8000)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["process"], line["level"], line["port"]) == ("started", "web", "info", 8000)


def test_a_traceback_stays_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "web")

    structlog.get_logger().error("failed", exc_info=ValueError("broken"))

    assert "ValueError: broken" in json.loads(capsys.readouterr().err)["exception"]


def test_events_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "web")

    structlog.get_logger().info("started")

    assert capsys.readouterr().err == ""
