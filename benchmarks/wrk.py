"""The closed-loop load: wrk, with as many requests as a server answers over so many connections."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TO_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}

RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
COUNT = re.compile(r"(\d+) requests in")
PERCENTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", re.MULTILINE)
REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
BROKEN = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")

# Every request is made once, when wrk starts; sending picks the next. A thread of wrk starts at its own place.
SCRIPT = """
local headers = {}
%(headers)s
local requests = {}
for _, path in ipairs({%(paths)s}) do
  local file = assert(io.open(path, "rb"))
  table.insert(requests, file:read("*a"))
  file:close()
end
local current = 0
local formatted = {}
function init(args)
  for i, body in ipairs(requests) do
    formatted[i] = wrk.format("POST", nil, headers, body)
  end
end
function request()
  current = current %% #formatted + 1
  return formatted[current]
end
"""


class WrkMissingError(Exception):
    """Raised when the load generator is not installed."""


class WrkOutputError(Exception):
    """Raised when wrk printed something else than a report."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk saw at one number of connections. Times in milliseconds.

    Attributes:
        connections: Kept open and busy.
        requests: Answered.
        per_second: Answered a second.
        p50_ms: Median time to an answer.
        p99_ms: 99th percentile of it.
        failures: Answers that were no success, and connections that broke or timed out.
    """

    connections: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failures: int

    @property
    def good_per_second(self) -> float:
        """Rate of the answers that were a success."""
        return self.per_second * max(0, self.requests - self.failures) / max(1, self.requests)


def require_wrk() -> None:
    """Check that wrk is installed.

    Raises:
        WrkMissingError: It is not.
    """
    if shutil.which("wrk") is None:
        raise WrkMissingError("wrk makes the load: install it, e.g. `apt-get install wrk`")


def write_script(path: Path, bodies: Sequence[Path], headers: Mapping[str, str]) -> Path:
    """Write a script for wrk that sends the files' contents in turn; returns it."""
    lines = "\n".join(f"headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    paths = ", ".join(json.dumps(str(body)) for body in bodies)
    path.write_text(SCRIPT % {"headers": lines, "paths": paths})
    return path


def send_load(url: str, script: Path, *, connections: int, seconds: float, timeout_s: int = 30) -> Load:
    """Load a server.

    Raises:
        WrkOutputError: wrk printed no report, e.g. because nobody listens.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={timeout_s}s"]
    found = subprocess.run([*command, "--latency", f"-s{script}", url], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise WrkOutputError(found.stderr.strip() or found.stdout.strip())
    return parse_report(found.stdout, connections)


def parse_report(printed: str, connections: int) -> Load:
    """Read what wrk printed.

    Raises:
        WrkOutputError: It is no report.
    """
    rate, count = RATE.search(printed), COUNT.search(printed)
    if rate is None or count is None:
        raise WrkOutputError(f"wrk printed no report: {printed.strip()!r}")
    percentiles = {int(rank): float(value) * TO_MS[unit] for rank, value, unit in PERCENTILE.findall(printed)}
    refused, broken = REFUSED.search(printed), BROKEN.search(printed)
    failures = int(refused.group(1)) if refused else 0
    failures += sum(map(int, broken.groups())) if broken else 0
    return Load(
        connections=connections,
        requests=int(count.group(1)),
        per_second=float(rate.group(1)),
        p50_ms=percentiles.get(50, 0.0),
        p99_ms=percentiles.get(99, 0.0),
        failures=failures,
    )
