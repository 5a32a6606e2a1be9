"""The `Prefer` header (RFC 7240): how long a client is willing to wait."""

import re

from webapp.errors import InvalidHeaderError

DEFAULT_WAIT_S = 10.0

#: Proxies give up on silent connections soon after.
LONGEST_WAIT_S = 60.0

WAIT = re.compile(r"wait\s*=\s*\"?(\d+)\"?")


def wait_seconds(header: str | None, default_s: float = DEFAULT_WAIT_S) -> float:
    """Return how long to wait for the answer; 0 for `respond-async`. Unknown preferences are ignored, as the RFC says.

    Raises:
        InvalidHeaderError: `wait` is no whole number of seconds.
    """
    wait_s = default_s
    for preference in (header or "").split(","):
        # What follows a semicolon are parameters; none of ours takes any.
        wish = preference.partition(";")[0].strip().lower()
        if wish == "respond-async":
            return 0.0
        if wish.partition("=")[0].strip() == "wait":
            match = WAIT.fullmatch(wish)
            if match is None:
                raise InvalidHeaderError(
                    f"cannot read {preference.strip()!r} in Prefer; it reads `wait=10`, in seconds"
                )
            wait_s = min(float(match.group(1)), LONGEST_WAIT_S)
    return wait_s
