"""`store.redaction`: what must not be read in a log."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from store.logs import configure_logging
from store.redaction import redact

KEY = "tq_aB3dE5fG7h_" + "s" * 43 + "_0123abcd"
SECRET = "s" * 43
PASSWORD = "hunter2pass"

HOLDING = [
    f"the key {KEY} is refused",
    f"GET /v1/models?key={KEY}",
    KEY,
    f"cut off: tq_aB3dE5fG7h_{SECRET[:20]}",
    f"Authorization: Bearer {SECRET}",
    f"{{'Authorization': 'Bearer {SECRET}'}}",
    json.dumps({"headers": {"authorization": f"Basic {SECRET}"}}),
    json.dumps({"error": json.dumps({"authorization": f"Basic {SECRET}"})}),
    f"whsec_{SECRET}",
    f"postgresql+psycopg2://torchqueue:{SECRET}@postgres:5432/torchqueue",
    f"redis://:{SECRET}@127.0.0.1:6379/0",
    f"connection to host=db password={SECRET} failed",
    f'{{"password": "{SECRET}"}}',
]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    hook, factory = sys.excepthook, logging.getLogRecordFactory()
    yield
    sys.excepthook = hook
    logging.setLogRecordFactory(factory)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("text", HOLDING)
def test_a_secret_is_taken_out(text: str) -> None:
    assert SECRET not in redact(text)
    assert SECRET[:20] not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "a prediction of model 'fashion' failed",
        "http://127.0.0.1:8000/v1/predictions/0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
        "key tq_aB3dE5fG7h was revoked",
        "postgresql+psycopg2://postgres@/torchqueue?host=/tmp/run",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_which_key_it_was_can_still_be_read() -> None:
    assert "tq_aB3dE5fG7h_" in redact(KEY)


@pytest.mark.parametrize("text", HOLDING)
def test_json_stays_json(text: str) -> None:
    assert json.loads(redact(json.dumps({"event": text})))


def test_an_event_loses_the_secrets_of_all_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "web")

    structlog.get_logger().info("refused", key=KEY, error=ValueError(f"redis://:{PASSWORD}@localhost"))

    written = capsys.readouterr().err
    assert json.loads(written)["event"] == "refused"
    assert SECRET not in written
    assert PASSWORD not in written


def test_what_libraries_log_loses_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    configure_logging("INFO", "web")

    logging.getLogger("kombu").error("cannot connect to %s", f"redis://:{PASSWORD}@localhost")

    assert "cannot connect" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_traceback_that_a_library_logs_loses_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    configure_logging("INFO", "web")

    logging.getLogger("celery").error("failed", exc_info=ValueError(f"redis://:{PASSWORD}@localhost"))

    assert "ValueError" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("where", ["fail()", "t = threading.Thread(target=fail); t.start(); t.join()"])
def test_a_process_does_not_tell_its_secrets_when_it_dies(where: str) -> None:
    program = (
        "import threading\nfrom store.logs import configure_logging\nconfigure_logging('INFO', 'web')\n"
        f"def fail(): raise ValueError('redis://:' + 'hunter2' + 'pass' + '@localhost')\n{where}"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "ValueError" in done.stderr
    assert PASSWORD not in done.stderr
