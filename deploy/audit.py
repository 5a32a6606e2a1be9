"""Look the pinned packages up among known vulnerabilities: `python deploy/audit.py`, which `make audit` runs.

Fails for a vulnerability that is known, never because an advisory service cannot be reached: then it says so.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: Hash-pinned, so that what is looked up is what is installed. The peers are installed for a benchmark alone.
LOCKS = ("runtime", "embedded", "dev")

TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of one list of packages.

    Attributes:
        name: Of the list.
        looked_up: Packages that the service knew.
        unknown: Packages that it could not say anything about.
        found: One line for each vulnerability.
        unreachable: Why the service was of no use; empty: it was.
    """

    name: str
    looked_up: int = 0
    unknown: int = 0
    found: Sequence[str] = field(default_factory=list)
    unreachable: str = ""

    def __str__(self) -> str:
        """Say it in a line, and each vulnerability in another."""
        if self.unreachable:
            return f"{self.name}: not audited, the advisory service cannot be used from here: {self.unreachable}"
        unknown = f", {self.unknown} unknown to the service" if self.unknown else ""
        head = f"{self.name}: {self.looked_up} packages looked up{unknown}, {len(self.found)} vulnerabilities"
        return "\n".join([head, *[f"  {line}" for line in self.found]])


def read_pip_audit(name: str, report: str, complaint: str) -> Verdict:
    """Read what pip-audit wrote.

    Where it cannot reach the service it either writes nothing, or says of every package that nobody knows it.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        return Verdict(name=name, unreachable=_last_line(complaint))
    known = [package for package in packages if "skip_reason" not in package]
    if packages and not known:
        return Verdict(name=name, unreachable=str(packages[0]["skip_reason"]))
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability.get('fix_versions', ())) or 'no version yet'}"
        for package in known
        for vulnerability in package.get("vulns", ())
    ]
    return Verdict(name=name, looked_up=len(known), unknown=len(packages) - len(known), found=found)


def read_npm_audit(report: str, complaint: str) -> Verdict:
    """Read what `npm audit --json` wrote."""
    try:
        said: Mapping[str, Any] = json.loads(report)
        count = int(said["metadata"]["dependencies"]["total"])
    except (ValueError, KeyError):
        return Verdict(name="npm", unreachable=_last_line(complaint))
    found = [f"{name}: {each['severity']}, {each['range']}" for name, each in said["vulnerabilities"].items()]
    return Verdict(name="npm", looked_up=count, found=found)


def audit_lock(name: str) -> Verdict:
    """Look up the packages of one lock."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # By the pins and their hashes alone: nothing is resolved, downloaded or run.
        done = _run(
            sys.executable,
            "-m",
            "pip_audit",
            "--disable-pip",
            "--require-hashes",
            f"--requirement=requirements/{name}.txt",
            "--format=json",
            f"--output={report}",
            "--progress-spinner=off",
        )
        return read_pip_audit(name, report.read_text() if report.exists() else "", done)


def audit_npm() -> Verdict:
    """Look up the packages that check the OpenAPI document."""
    try:
        done = subprocess.run(
            ["npm", "audit", "--json"],  # noqa: S607 - wherever npm is
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Verdict(name="npm", unreachable=str(error))
    return read_npm_audit(done.stdout, done.stderr)


def main() -> int:
    """Print a verdict for each list; 1 when something vulnerable is pinned."""
    verdicts = [*map(audit_lock, LOCKS), audit_npm()]
    for verdict in verdicts:
        print(verdict)
    return int(any(verdict.found for verdict in verdicts))


def _run(*command: str) -> str:
    """Run a command; returns what it complained about."""
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and words of ours
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S:.0f} s"
    return done.stderr


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


if __name__ == "__main__":
    sys.exit(main())
