"""`store.logs`: one JSON object a line."""

import errno
import json
import os
import sys
from collections.abc import Iterator
from io import StringIO

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


class FullFile(StringIO):
    """On a disk that is full until it is freed."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def test_what_a_full_disk_refuses_is_lost_and_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    file = FullFile()
    monkeypatch.setattr(sys, "stderr", file)
    configure_logging("INFO", "web")

    structlog.get_logger().warning("database_away")
    file.full = False
    structlog.get_logger().info("database_back")

    assert [json.loads(line)["event"] for line in file.getvalue().splitlines()] == ["database_back"]


def test_events_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "web")

    structlog.get_logger().info("started")

    assert capsys.readouterr().err == ""
