"""`torchqueue feedback` and `items forget`, beside an API that answers."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine as Database

from store import ledger
from store.database import open_session
from store.feedback import get_feedback
from store.ledger_rows import Answer
from tests.factories import ANSWER, TENANT, Rows, clean_rows, submission
from tests.integration.stack.conftest import Torchqueue, assert_refused


@pytest.fixture
def answered(committed: Rows) -> str:
    """The id of a prediction that was answered about an item, stored with its answer so that no worker takes it."""
    asked = submission(committed.version, catalog="shop", external_id="42")
    ledger.record(committed.connection, [(asked, Answer(result=ANSWER, elapsed_ms=1.0))])
    return str(asked.id)


@pytest.fixture(autouse=True)
def _empty(database: Database) -> None:
    clean_rows(database)


def test_a_file_of_feedback_is_stored(torchqueue: Torchqueue, running: Path, answered: str, database: Database) -> None:
    file = running / "words.ndjson"
    file.write_text(f'{{"prediction": "{answered}", "label": "0"}}\n')

    result = torchqueue("feedback", str(file), "--model", "xor", "--var", str(running))

    assert result.output == "1 lines: 1 new, 0 revised, 0 known already, 0 refused\n"
    with open_session(database) as session:
        assert get_feedback(session, UUID(answered), api_key_id=TENANT)[1].label == "0"


def test_refused_lines_are_named_and_fail_the_command(torchqueue: Torchqueue, running: Path, answered: str) -> None:
    file = running / "words.csv"
    file.write_text(f"prediction,label\n{answered},1\n{answered},sock\n")

    result = torchqueue("feedback", str(file), "--model", "xor", "--json", "--var", str(running))

    report = json.loads(result.output)
    assert (result.exit_code, report["rows"], report["created"], report["refused"]) == (1, 2, 1, 1)
    assert [(each["line"], each["type"]) for each in report["errors"]] == [(3, "invalid-label")]


def test_a_file_for_an_unknown_model_is_refused(torchqueue: Torchqueue, running: Path) -> None:
    (running / "words.csv").write_text("prediction,label\n1,1\n")

    result = torchqueue("feedback", str(running / "words.csv"), "--model", "nope", "--var", str(running))

    assert_refused(result, "there is no model 'nope'.*")


def test_an_item_is_forgotten_once(torchqueue: Torchqueue, running: Path, answered: str) -> None:  # noqa: ARG001
    words = ("items", "forget", "shop", "42", "--var", str(running))

    gone = json.loads(torchqueue(*words, "--yes", "--json").output)

    assert (gone["predictions"], gone["versions"]) == (1, [])
    assert_refused(torchqueue(*words, "--yes"), "nothing is known of item '42' in catalog 'shop' .*")


def test_an_item_is_forgotten_only_after_a_yes(torchqueue: Torchqueue, running: Path, answered: str) -> None:  # noqa: ARG001
    words = ("items", "forget", "shop", "42", "--var", str(running))

    assert torchqueue(*words).exit_code == 1
    assert "1 predictions" in torchqueue(*words, "--yes").output
