"""The embedded Postgres and Valkey as the fault suite runs them: it kills them often, so nothing backs off."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from stack.embedded import EmbeddedServer, create_database_if_missing, prepare_postgres, prepare_valkey
from tests.running import wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class Server:
    """One embedded server, started with the command line that the stack would use.

    Args:
        described: How to start it.
        log: Where its output goes.
    """

    def __init__(self, described: EmbeddedServer, log: Path) -> None:
        self._described = described
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Under which clients reach it, before and after a restart."""
        return self._described.url

    def start(self) -> None:
        """Start it and wait until it answers. Postgres refuses while what is left of a killed one still runs."""
        wait_until(self._answers, START_TIMEOUT_S)

    def kill(self) -> None:
        """Kill it and all its processes at once, as a power cut would."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to it and to all its processes."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    def stop_immediately(self) -> None:
        """Let Postgres abort without a checkpoint, as `pg_ctl stop -m immediate` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Stop it in order."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_TIMEOUT_S)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._described.argv, user=self._described.user, stdout=log, stderr=log, start_new_session=True
                )
        return self._described.is_ready()


@contextmanager
def running_servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Run Postgres and Valkey in a folder; yields both."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    postgres = Server(prepare_postgres(folder / "postgres"), folder / "log" / "postgres.log")
    valkey = Server(prepare_valkey(folder / "valkey"), folder / "log" / "valkey.log")
    with ExitStack() as cleanup:
        for server in (postgres, valkey):
            cleanup.callback(server.stop)
            server.start()
        create_database_if_missing(postgres.url)
        yield postgres, valkey
