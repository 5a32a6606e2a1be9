"""The web server: granian, with an end that no client notices. `python -m webapp.server --port 8000`.

SIGTERM makes readiness answer 503 and every answer close its connection, so that load balancers and clients go
elsewhere, while requests are served as ever. When the grace is over, granian stops listening and finishes what runs.
A second signal ends the grace.
"""

import argparse
import multiprocessing
import os
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from granian.constants import Interfaces, RuntimeModes
from granian.log import LogLevels
from granian.server import Server

from webapp.draining import FLAG_VARIABLE, GRACE_VARIABLE, DrainFlag

#: Requests that may wait for their answers in one web process; further ones are left in the system's backlog.
WAITING_REQUESTS = 4_096

#: Makes what a web process runs.
MODULE, FACTORY = "webapp.app", "serve"

#: What runs when listening ends may take so long, in whole seconds; waits for answers are cut short before.
FINISH_WITHIN_S = 12


class DrainingServer(Server):  # type: ignore[misc, valid-type]  # Which class it is depends on how Python was built.
    """Granian's server, which goes on for a while after it was told to stop.

    Args:
        flag: Tells the web processes.
        grace_s: How long it goes on, in seconds.
        options: Granian's.
    """

    def __init__(self, flag: DrainFlag, grace_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._flag = flag
        self._grace_s = grace_s

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """Begin to leave; the second time, or without a grace, end at once."""
        leaving = self._flag.is_set()
        self._flag.set()
        if leaving or not self._grace_s:
            super().signal_handler_interrupt(*args, **kwargs)
            return
        end = threading.Timer(self._grace_s, super().signal_handler_interrupt)
        end.daemon = True
        end.start()


def serve(host: str, port: int, processes: int, grace_s: float) -> None:
    """Serve until told to stop."""
    if multiprocessing.get_start_method() == "fork":
        # Once for all processes that answer, and for those that take the place of a dead one.
        import_module(MODULE)
    with tempfile.TemporaryDirectory(prefix="torchqueue-web-") as folder:
        path = Path(folder) / "drain"
        flag = DrainFlag.create(path)
        os.environ[FLAG_VARIABLE] = str(path)
        os.environ[GRACE_VARIABLE] = str(grace_s)
        DrainingServer(
            flag,
            grace_s,
            target=f"{MODULE}:{FACTORY}",
            factory=True,
            address=host,
            port=port,
            workers=processes,
            # Without the events of a server's life, of which we use none.
            interface=Interfaces.ASGINL,
            # One thread reads and writes sockets; more of them take the interpreter's cores (14 % fewer requests a
            # second).
            runtime_mode=RuntimeModes.st,
            # A request that waits costs a little memory and no thread.
            backpressure=WAITING_REQUESTS,
            workers_kill_timeout=FINISH_WITHIN_S,
            websockets=False,
            log_level=LogLevels.warning,
            respawn_failed_workers=True,
            respawn_interval=0.5,
        ).serve()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m webapp.server", description="Serve the API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--grace", type=float, default=0.0, help="seconds of serving after a signal to stop")
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port, arguments.processes, arguments.grace)


if __name__ == "__main__":
    main()
