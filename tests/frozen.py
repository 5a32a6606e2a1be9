"""A Valkey of a test's own that can be stopped in its tracks: it takes connections and says nothing."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.embedded import prepare_valkey
from tests.running import wait_until


class OwnValkey:
    """A running Valkey.

    Args:
        folder: For its files.
    """

    def __init__(self, folder: Path) -> None:
        server = prepare_valkey(folder)
        self.url = server.url
        self._process = subprocess.Popen(
            server.argv, user=server.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(server.is_ready)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it answer nothing while the block runs."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(5)
