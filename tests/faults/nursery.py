"""Processes by the dozen: one process that has imported all of a worker, and forks a fresh one when asked.

Importing torch takes seconds of processor time, and a suite that kills thousands of workers would do little else. What
is forked is a process like any other: it opens its own connections, registers its own life, runs the entry point that
`python -m tasks.worker` runs, and dies alone.

`python -m tests.faults.nursery` reads one JSON object a line, `{"argv", "environment", "log"}`, and answers
`{"born": pid}`; when a child ends it says `{"ended": pid, "status"}`.
"""

import json
import os
import runpy
import select
import signal
import sys
import traceback
from importlib import import_module
from typing import Any

from store import failpoints

#: What children would import one by one.
WARM = (
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "ml.classification",
    "tasks.beat",
    "tasks.delivery_worker",
    "tasks.inference_worker",
    "tasks.maintenance_worker",
)

LOOK_S = 0.02


def main() -> None:
    """Import, then fork on request until nobody asks any more."""
    for name in WARM:
        import_module(name)
    say({"ready": True})
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], LOOK_S)
        report_ended()
        if not readable:
            continue
        read = os.read(0, 65_536)
        if not read:
            # All children are buried, and a Python full of torch takes its time to tidy up.
            os._exit(0)
        *lines, pending = (pending + read).split(b"\n")
        for line in lines:
            say({"born": fork(json.loads(line))})


def fork(asked: dict[str, Any]) -> int:
    """Fork a child that runs a module; returns its process id."""
    pid = os.fork()
    if pid == 0:
        # Whatever happens in the child must never return into the loop above.
        try:
            live(asked)
        except SystemExit as left:
            os._exit(left.code if isinstance(left.code, int) else 0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def live(asked: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    os.setsid()
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    signal.set_wakeup_fd(-1)
    os.environ.update(asked["environment"])
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    module, *arguments = asked["argv"]
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__")


def report_ended() -> None:
    """Say which children have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        say({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def say(message: dict[str, Any]) -> None:
    """Tell the suite."""
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
