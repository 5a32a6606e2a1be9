"""Commands that run beside a stack: keys, models, migrations, trainings, health."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy import func

from schemas.enums import Scope, WorkerRole
from schemas.names import QueueName
from stack.embedded import free_port
from stack.state import ProcessState, StackState
from store.database import open_session
from store.errors import InvalidKeyError
from store.keys import KeyLimits, verify_key
from store.models import get_version
from store.promotion import archive
from store.settings import Settings
from tasks.life import WorkerLife
from tests.broker import PREFIX, waiting_messages
from tests.factories import BUNDLED_MODELS, Rows, add_model
from tests.integration.stack.conftest import Torchqueue, assert_refused


def test_a_new_key_is_shown_once_and_works(torchqueue: Torchqueue, database: Database) -> None:
    output = torchqueue("keys", "create", "shop").output

    assert _scopes(database, output.split()[-1]) == {Scope.PREDICT, Scope.READ}
    assert "shown this once" in output


def test_a_new_key_may_do_what_was_asked(torchqueue: Torchqueue, database: Database) -> None:
    created = torchqueue("keys", "create", "shop", "--scope=train", "--scope=feedback", "--json").output

    assert _scopes(database, json.loads(created)["key"]) == {Scope.TRAIN, Scope.FEEDBACK}


def test_a_new_key_may_expire(torchqueue: Torchqueue, database: Database) -> None:
    created = torchqueue("keys", "create", "shop", "--expires-in-days=1e-9", "--json").output

    with pytest.raises(InvalidKeyError):
        _scopes(database, json.loads(created)["key"])


@pytest.mark.parametrize("option", ["--scope=everything", "--expires-in-days=0"])
def test_an_option_that_makes_no_sense_makes_no_key(torchqueue: Torchqueue, option: str) -> None:
    assert torchqueue("keys", "create", "shop", option).exit_code == 2


def test_keys_are_listed_without_their_secrets(torchqueue: Torchqueue) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)

    listed = torchqueue("keys", "list").output

    assert created["id"] in listed
    assert created["key"].split("_")[2] not in listed


def test_keys_are_listed_for_programs(torchqueue: Torchqueue) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)

    last = json.loads(torchqueue("keys", "list", "--json").output)[-1]

    assert (last["id"], last["name"], last["revoked"]) == (created["id"], "shop", None)


def test_a_revoked_key_works_no_more(torchqueue: Torchqueue, database: Database) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)

    assert torchqueue("keys", "revoke", created["id"]).output == f"key {created['id']} is revoked\n"
    with pytest.raises(InvalidKeyError):
        _scopes(database, created["key"])


def test_an_unknown_key_cannot_be_revoked(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("keys", "revoke", "nobody"), "there is no API key with the id 'nobody'; .*")


def test_models_are_listed_with_a_star_for_the_champion(torchqueue: Torchqueue) -> None:
    lines = torchqueue("models", "list").output.splitlines()

    kinds = {"diamond-price": "regression", "fashion": "classification", "xor": "classification"}
    listed = [line.split()[:4] for line in lines[1:]]
    assert [words[0] for words in listed] == BUNDLED_MODELS
    assert all([name, kind, "1", "*"] in listed for name, kind in kinds.items())


def test_models_are_listed_for_programs(torchqueue: Torchqueue) -> None:
    first = json.loads(torchqueue("models", "list", "--json").output)[0]

    assert (first["model"], first["version"], first["champion"]) == (BUNDLED_MODELS[0], 1, True)


@pytest.mark.usefixtures("committed")
def test_a_version_can_be_promoted(torchqueue: Torchqueue, database: Database) -> None:
    with open_session(database) as session:
        add_model(session, "one")

    assert torchqueue("models", "promote", "one", "1").output == "one version 1 answers now\n"


@pytest.mark.usefixtures("committed")
def test_the_champion_is_changed_brought_back_and_all_of_it_listed(torchqueue: Torchqueue, database: Database) -> None:
    _add_two_versions(database)

    assert torchqueue("models", "promote", "one", "1", "--reason=older").output == "one version 1 answers now\n"
    assert json.loads(torchqueue("models", "rollback", "one", "--reason=newer", "--json").output) == {
        "model": "one",
        "version": 2,
        "state": "champion",
    }

    rows = json.loads(torchqueue("models", "decisions", "one", "--limit=2", "--json").output)
    assert [(row["action"], row["version"], row["actor"], row["reason"]) for row in rows] == [
        ("rollback", 2, "command line", "newer"),
        ("promote", 1, "command line", "older"),
    ]
    [last, *_] = torchqueue("models", "decisions", "one").output.splitlines()[1:]
    assert last.split()[2:] == ["rollback", "2", "command", "line", "newer"]


@pytest.mark.usefixtures("committed")
def test_versions_are_listed_with_their_state(torchqueue: Torchqueue, database: Database) -> None:
    _add_two_versions(database)
    with open_session(database) as session:
        archive(session, version=get_version(session, "one", 1), reason="too slow", actor="tests")

    lines = torchqueue("models", "versions", "one").output.splitlines()

    assert [line.split() for line in lines[1:]] == [
        ["2", "champion", "imported", "-"],
        ["1", "archived", "imported", "-", "too", "slow"],
    ]
    states = [row["state"] for row in json.loads(torchqueue("models", "versions", "one", "--json").output)]
    assert states == ["champion", "archived"]


@pytest.mark.usefixtures("committed")
def test_a_version_can_challenge(torchqueue: Torchqueue, database: Database) -> None:
    _add_two_versions(database)

    output = torchqueue("models", "promote", "one", "1", "--alias=challenger").output

    assert output == "one version 1 is the challenger now\n"
    assert "challenger" in torchqueue("models", "versions", "one").output


@pytest.mark.usefixtures("committed")
def test_a_promotion_that_workers_still_load_is_told_as_such(
    torchqueue: Torchqueue, committed: Rows, database: Database
) -> None:
    _add_two_versions(database)
    committed.worker()

    result = torchqueue("models", "promote", "one", "1", "--wait=0")

    assert result.output == "one version 1 answers once the workers have loaded it\n"


@pytest.mark.usefixtures("committed")
def test_a_version_that_failed_cannot_be_promoted(torchqueue: Torchqueue, database: Database) -> None:
    _add_two_versions(database)
    with open_session(database) as session:
        failed = get_version(session, "one", 1)
        failed.failed_at, failed.failure = func.now(), "it is too large"

    assert_refused(torchqueue("models", "promote", "one", "1"), "version 1 of 'one' failed .*it is too large.*")


def test_a_first_champion_cannot_be_gone_back_from(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "rollback", "xor"), "model 'xor' had no champion before .*")


@pytest.mark.parametrize(
    ("model", "line"), [("nope", "there is no model 'nope'; .*"), ("xor", "model 'xor' has no .*")]
)
def test_what_is_unknown_cannot_be_promoted(torchqueue: Torchqueue, model: str, line: str) -> None:
    assert_refused(torchqueue("models", "promote", model, "99"), line)


def test_a_database_that_is_up_to_date_stays_as_it_is(torchqueue: Torchqueue) -> None:
    assert torchqueue("migrate").output.strip() == "· the database is up to date; imported no model"


@pytest.mark.usefixtures("committed")
def test_a_training_can_be_left_to_its_worker(torchqueue: Torchqueue, valkey: redis.Redis) -> None:
    # Whatever else rang for a training before.
    valkey.delete(f"{PREFIX}{QueueName.TRAINING}")

    result = torchqueue("train", "xor", "--queue", "--seed=3")

    [(_, message)] = waiting_messages(valkey, QueueName.TRAINING)
    assert (result.exit_code, message["model"]) == (0, "xor")
    assert message["training_id"] in result.output
    valkey.delete(f"{PREFIX}{QueueName.TRAINING}")


@pytest.mark.usefixtures("committed")
def test_a_training_runs_here_and_says_what_came_of_it(torchqueue: Torchqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training_process.NICENESS", 0)

    result = torchqueue("train", "xor", "--epochs=1", "--feedback=none", env={"COLUMNS": "200"})

    assert result.exit_code == 0, result.output
    assert "epoch 1/1  loss" in result.stderr
    assert "xor version 2 is registered" in result.output


def test_a_model_that_is_unknown_cannot_be_trained(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("train", "nope"), "there is no model 'nope'; .*")


@pytest.mark.usefixtures("committed")
def test_a_second_training_of_a_model_is_one_line(torchqueue: Torchqueue) -> None:
    torchqueue("train", "xor", "--queue")

    assert_refused(torchqueue("train", "xor"), "a training of 'xor' is under way; .*")


@pytest.mark.usefixtures("committed")
def test_a_training_that_nobody_hears_of_is_one_line(torchqueue: Torchqueue) -> None:
    result = torchqueue("train", "xor", "--queue", env={"TORCHQUEUE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})

    assert_refused(result, "training .* is queued, but the broker did not take its message; does the stack run\\?")


def test_a_database_that_is_away_is_one_line(torchqueue: Torchqueue) -> None:
    away = f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/none"

    assert_refused(torchqueue("keys", "list", env={"TORCHQUEUE_DATABASE_URL": away}), "Postgres does not answer: .*")


@pytest.mark.usefixtures("life")
def test_a_worker_that_holds_its_lease_is_healthy(torchqueue: Torchqueue) -> None:
    assert torchqueue("healthcheck", "maintenance").exit_code == 0
    assert torchqueue("healthcheck", "maintenance", "--device=cpu:0").exit_code == 0


@pytest.mark.usefixtures("life")
@pytest.mark.parametrize("words", [["inference"], ["maintenance", "--device=cuda:0"]])
def test_a_worker_that_is_not_there_is_not_healthy(torchqueue: Torchqueue, words: list[str]) -> None:
    assert_refused(torchqueue("healthcheck", *words), f"no {words[0]} worker on this host holds a lease")


def test_a_command_reads_where_the_servers_are_from_what_the_stack_wrote(
    torchqueue: Torchqueue, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a command reads into the environment is undone with this.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    addresses = {"DATABASE": settings.database_url, "REDIS": settings.redis_url}
    (tmp_path / "stack.env").write_text("".join(f"TORCHQUEUE_{name}_URL='{url}'\n" for name, url in addresses.items()))

    result = torchqueue("models", "list", env=dict.fromkeys(f"TORCHQUEUE_{name}_URL" for name in addresses))

    assert (result.exit_code, "fashion" in result.output) == (0, True)


class Replacement:
    """Stands for `exec`: notes what the process would become, and ends it."""

    def __init__(self) -> None:
        self.argv: list[str] = []

    def __call__(self, _path: str, argv: list[str]) -> None:
        self.argv = argv
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        (["web", "--port=80"], ["webapp.server", "--port=80", "--processes=1", "--grace=5"]),
        (["worker", "training", "--device=cpu:1"], ["tasks.worker", "training", "--device=cpu:1"]),
        (["beat"], ["tasks.beat"]),
        (["flower"], ["tasks.flower"]),
    ],
)
def test_a_command_becomes_its_process(
    torchqueue: Torchqueue, monkeypatch: pytest.MonkeyPatch, words: list[str], becomes: list[str]
) -> None:
    replacement = Replacement()
    monkeypatch.setattr(os, "execv", replacement)

    torchqueue(*words)

    assert replacement.argv[0] == sys.executable
    assert set(becomes) <= set(replacement.argv)


@pytest.mark.parametrize(("options", "expected"), [([], []), (["--follow"], ["-F"])])
def test_the_end_of_a_log_is_printed(
    torchqueue: Torchqueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], expected: list[str]
) -> None:
    replacement = Replacement()
    monkeypatch.setattr(os, "execvp", replacement)
    web = ProcessState(name="web", state="ready", pid=1, created_at=1.0, restarts=0, url="", log="/var/web.log")
    StackState(pid=1, url="", ready=True, processes=[web]).write(tmp_path)

    torchqueue("logs", "web", *options)

    assert replacement.argv == ["tail", "-n50", *expected, "/var/web.log"]


@pytest.fixture
def life(database: Database, committed: Rows) -> Iterator[WorkerLife]:  # noqa: ARG001 - removes what the test commits
    """A maintenance worker of this process."""
    life = WorkerLife(
        database, name="maintenance@here", role=WorkerRole.MAINTENANCE, device="cpu:0", queue="maintenance", held=list
    )
    life.begin()
    yield life
    life.end()


def _scopes(database: Database, key: str) -> frozenset[Scope]:
    with open_session(database) as session:
        return verify_key(session, key).scopes


def _add_two_versions(database: Database) -> None:
    """Register a model whose second version answers."""
    with open_session(database) as session:
        add_model(session, "one")
        add_model(session, "one", number=2)


def test_a_key_is_rotated_and_shown_once(torchqueue: Torchqueue, database: Database) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)

    rotated = json.loads(torchqueue("keys", "rotate", created["id"], "--grace=1h", "--json").output)

    assert rotated["grace_s"] == 3600
    assert _scopes(database, rotated["key"]) == _scopes(database, created["key"])


def test_a_rotation_without_grace_ends_the_old_secret(torchqueue: Torchqueue, database: Database) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)

    torchqueue("keys", "rotate", created["id"], "--grace=0s")

    with pytest.raises(InvalidKeyError):
        _scopes(database, created["key"])


def test_limits_are_set_and_taken_away(torchqueue: Torchqueue, database: Database) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--burst=5", "--max-queued=9", "--json").output)

    torchqueue("keys", "update", created["id"], "--burst=none", "--rate-per-minute=60", "--scope=read")

    with open_session(database) as session:
        caller = verify_key(session, created["key"])
    assert caller.limits == KeyLimits(rate_per_minute=60, max_queued=9)
    assert caller.scopes == {Scope.READ}


def test_a_key_is_shown_with_its_limits_and_without_its_secret(torchqueue: Torchqueue) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--max-concurrent=3", "--json").output)

    shown = torchqueue("keys", "show", created["id"], "--json").output

    assert json.loads(shown)["max_concurrent"] == 3
    assert created["key"].split("_")[2] not in shown


@pytest.mark.parametrize(
    "words",
    [
        ("update", "ID"),
        ("update", "ID", "--burst=0"),
        ("update", "ID", "--burst=few"),
        ("rotate", "ID", "--grace=soon"),
    ],
)
def test_a_change_that_says_nothing_or_nonsense_is_refused(torchqueue: Torchqueue, words: tuple[str, ...]) -> None:
    assert torchqueue("keys", *words).exit_code == 2


def test_a_key_that_does_not_exist_is_refused_in_a_line(torchqueue: Torchqueue) -> None:
    for command in ("show", "rotate", "revoke"):
        assert_refused(torchqueue("keys", command, "nobody"), "there is no API key with the id 'nobody'.*")


def test_what_commands_do_is_in_the_audit_log(torchqueue: Torchqueue) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)
    torchqueue("keys", "revoke", created["id"])

    told = json.loads(torchqueue("audit", "--json", "--limit=2").output)

    assert [(entry["action"], entry["actor"]) for entry in told] == [
        ("revoke_key", "command line"),
        ("create_key", "command line"),
    ]
    assert {entry["subject"] for entry in told} == {f"keys/{created['id']}"}


def test_the_audit_log_is_shown_to_people(torchqueue: Torchqueue) -> None:
    created = json.loads(torchqueue("keys", "create", "shop", "--json").output)

    shown = torchqueue("audit", "--action=create_key", "--limit=1", env={"COLUMNS": "200"}).output

    assert "command line" in shown
    assert f"keys/{created['id']}" in shown
