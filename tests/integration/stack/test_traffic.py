"""`torchqueue models traffic` and `models compare`, beside real servers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database

from store.database import open_session
from store.promotion import set_challenger
from tests.factories import add_version, clean
from tests.integration.stack.conftest import Torchqueue, assert_refused

NAME = "commanded"


@pytest.fixture(autouse=True)
def model(database: Database) -> Iterator[None]:
    """A model of three versions."""
    with open_session(database) as session:
        for number in (1, 2, 3):
            add_version(session, NAME, promoted=number == 1)
    yield
    clean(database)


@pytest.fixture
def traffic(torchqueue: Torchqueue) -> Any:
    """Run the command and read its JSON."""

    def run(*options: str) -> dict[str, Any]:
        result = torchqueue("models", "traffic", NAME, *options, "--json")
        assert result.exit_code == 0, result.output
        read: dict[str, Any] = json.loads(result.output)
        return read

    return run


def test_a_split_is_shown_for_people(torchqueue: Torchqueue) -> None:
    output = torchqueue("models", "traffic", NAME, "--split", "1=95,2=5", "--shadow", "3", "--sticky", "item").output

    assert "commanded: fixed 1=95, 2=5; shadows 3; champion 1, sticky item" in output
    assert "95.00%" in output


def test_a_split_is_kept(traffic: Any) -> None:
    traffic("--split", "1=95,2=5")

    found = traffic()
    assert (found["policy"], found["weights"]) == ("fixed", {"1": 95.0, "2": 5.0})


def test_learning_begins_with_champion_and_challenger(traffic: Any, database: Database) -> None:
    with open_session(database) as session:
        set_challenger(session, name=NAME, number=3, actor="tests", reason="try it")

    found = traffic("--learned")
    assert (found["policy"], found["weights"]) == ("learned", {"1": 1.0, "3": 1.0})


def test_learning_may_begin_with_other_shares(traffic: Any) -> None:
    assert traffic("--learned", "--split", "1=9,2=1")["arms"][1]["probability"] == 0.1


def test_a_shadow_alone_splits_nothing(traffic: Any) -> None:
    found = traffic("--shadow", "2")

    assert (found["policy"], found["arms"], found["shadows"]) == ("none", [], [2])


def test_off_ends_the_split(traffic: Any) -> None:
    traffic("--split", "1=95,2=5")

    assert (traffic("--off")["arms"], traffic()["policy"]) == ([], "none")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--split", "1=0,2=0"], "the shares of 'commanded' sum up to nothing; .*"),
        (["--split", "1=1,9=1"], "model 'commanded' has no version 9; .*"),
    ],
)
def test_a_bad_split_is_refused_in_one_line(torchqueue: Torchqueue, options: list[str], line: str) -> None:
    assert_refused(torchqueue("models", "traffic", NAME, *options), line)


@pytest.mark.parametrize("options", [["--split", "1:95"], ["--split", "a=1"], ["--off", "--learned"]])
def test_options_that_make_no_sense_change_nothing(torchqueue: Torchqueue, traffic: Any, options: list[str]) -> None:
    assert torchqueue("models", "traffic", NAME, *options).exit_code == 2
    assert traffic()["policy"] == "none"


def test_versions_are_compared_for_people(torchqueue: Torchqueue, traffic: Any) -> None:
    traffic("--split", "1=95,2=5", "--shadow", "3")

    output = torchqueue("models", "compare", NAME).output
    assert [word for word in ("1 *", "shadow 3", "undecided", "agrees") if word not in output] == []


def test_versions_are_compared_for_programs(torchqueue: Torchqueue, traffic: Any) -> None:
    traffic("--split", "1=95,2=5")

    found = json.loads(torchqueue("models", "compare", NAME, "--since", "2026-01-01T00:00:00+0000", "--json").output)
    assert [each["version"] for each in found["versions"]] == [1, 2]
    assert found["since"] == "2026-01-01T00:00:00+00:00"


def test_an_unknown_model_is_not_compared(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "compare", "nobody"), "there is no model 'nobody'; .*")
