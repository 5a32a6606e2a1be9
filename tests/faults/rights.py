"""What this process may do to its machine, found out without leaving a trace: in namespaces of its own."""

import shutil
import subprocess
from collections.abc import Sequence

TIMEOUT_S = 10.0


def why_not(namespace: str, command: Sequence[str], text: str = "") -> str | None:
    """Try a command in a fresh namespace, say `--mount` or `--net`; returns why it cannot be done here, or None."""
    for tool in ("unshare", command[0]):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    tried = subprocess.run(
        ["unshare", namespace, *command], input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    return None if tried.returncode == 0 else f"{command[0]} is not allowed"
