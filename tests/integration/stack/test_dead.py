"""`torchqueue dead`."""

import json
from uuid import uuid4

from tests.factories import Rows
from tests.integration.stack.conftest import Torchqueue, assert_refused
from tests.integration.store.test_dead_letters import dead_letter


def test_dead_letters_are_listed(torchqueue: Torchqueue, committed: Rows) -> None:
    prediction_id = dead_letter(committed)

    output = torchqueue("dead", "list").output

    assert str(prediction_id) in output
    assert "worker_crash" in output


def test_dead_letters_are_listed_for_programs(torchqueue: Torchqueue, committed: Rows) -> None:
    prediction_id = dead_letter(committed)

    [letter] = json.loads(torchqueue("dead", "list", "--model=xor", "--json").output)

    assert (letter["id"], letter["crashes"], letter["redriven_as"]) == (str(prediction_id), 2, None)


def test_dead_letters_that_are_named_are_redriven(torchqueue: Torchqueue, committed: Rows) -> None:
    prediction_id = dead_letter(committed)
    dead_letter(committed)

    [made] = json.loads(torchqueue("dead", "redrive", str(prediction_id), "--json").output)

    assert made["id"] == str(prediction_id)
    assert committed.status(made["redriven_as"]) == "queued"


def test_redriving_one_twice_says_the_same(torchqueue: Torchqueue, committed: Rows) -> None:
    prediction_id = str(dead_letter(committed))

    first, second = (torchqueue("dead", "redrive", prediction_id, "--json").output for _ in range(2))

    assert first == second


def test_dead_letters_that_are_selected_are_redriven(torchqueue: Torchqueue, committed: Rows) -> None:
    dead_letter(committed)

    assert "1 asked again" in torchqueue("dead", "redrive", "--model=xor", "--since=2026-01-01").output
    assert "0 asked again" in torchqueue("dead", "redrive", "--model=xor").output


def test_what_is_no_dead_letter_is_refused(torchqueue: Torchqueue, committed: Rows) -> None:
    assert_refused(torchqueue("dead", "redrive", str(committed.add())), ".* is queued: .*")


def test_what_nobody_knows_is_refused(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("dead", "redrive", str(uuid4())), "there is no prediction .*")


def test_naming_and_selecting_at_once_is_refused(torchqueue: Torchqueue, committed: Rows) -> None:
    assert torchqueue("dead", "redrive", str(dead_letter(committed)), "--model=xor").exit_code == 2
