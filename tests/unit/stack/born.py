"""What a zygote bears in tests: tells of itself, then ends as it is told."""

import atexit
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from uuid_utils import uuid7


def main() -> None:
    """Do what the first argument says."""
    atexit.register(lambda: say("at its end"))
    order = sys.argv[1]
    if order == "tell":
        say(json.dumps(_tell()))
    elif order == "leave":
        # As when a process that has others is killed.
        orphan = subprocess.Popen(["sleep", "0.2"])
        say(orphan.pid)
    elif order == "fail":
        raise ValueError("no good")
    elif order == "exit":
        sys.exit(3)
    elif order == "stay":
        time.sleep(60)


def say(word: object) -> None:
    """Write a line."""
    sys.stdout.write(f"{word}\n")


def _tell() -> dict[str, object]:
    return {
        "argv": sys.argv,
        "environment": dict(os.environ),
        "session": os.getsid(0),
        "parent": os.getppid(),
        "files": len([*Path("/proc/self/fd").iterdir()]),
        "torch": "torch" in sys.modules,
        "drawn": [str(uuid7())[-8:], random.random()],
    }


if __name__ == "__main__":
    main()
