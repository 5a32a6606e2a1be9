"""Every operation of the API, asked well and badly by schemathesis: `python -m tests.fuzz.operations --count 50000`.

Requests are made from the OpenAPI document: its examples, every border of its schemas, then values at random, valid and
invalid. What comes back must be declared there: no other status, type of content, header or shape, and no 5xx.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from tests.running import ROOT, RunningStack

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
DOCUMENT = ROOT / "docs" / "openapi.json"

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)

#: With these a client may take its own key away, so they come last.
OF_KEYS = ("update_key", "rotate_key", "revoke_key")
KEYS_SHARE = 0.05

#: It is the stream of a training that may take minutes.
TIMEOUT_S = 60

SUCCESS = 200

CLIENTS = 4

#: Of what schemathesis says at its end; each failure is told with a command that repeats it.
TOLD_LINES = 400


@dataclass(frozen=True)
class Findings:
    """What became of requests.

    Attributes:
        cases: Requests.
        kinds: How they were answered: accepted, no such thing, in conflict, rejected.
        told: What schemathesis says, where an answer was not as declared.
    """

    cases: int
    kinds: Counter[str]
    told: str


def fuzz(stack: RunningStack, count: int, seed: int, choice: Sequence[str]) -> Findings:
    """Ask operations, with about so many requests in all; ``choice`` holds options that choose them."""
    report = stack.var_dir / "operations.json"
    command = [
        str(SCHEMATHESIS),
        "run",
        str(DOCUMENT),
        f"--url={stack.url}",
        f"--header=Authorization: Bearer {stack.admin_key}",
        f"--checks={','.join(CHECKS)}",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={max(1, count // count_operations())}",
        f"--seed={seed}",
        f"--workers={CLIENTS}",
        f"--request-timeout={TIMEOUT_S}",
        "--continue-on-failure",
        "--no-shrink",
        "--suppress-health-check=all",
        "--warnings=off",
        "--report=json",
        f"--report-json-path={report}",
        *choice,
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.media_types", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=stack.var_dir, env=environment, capture_output=True, text=True, check=False)
    made = json.loads(report.read_text(encoding="utf-8"))
    kinds = Counter[str]()
    for phases in made["valid_rates"].values():
        for counts in phases.values():
            kinds.update(counts)
    told = "" if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-TOLD_LINES:])
    return Findings(made["test_cases"]["generated"], kinds, told)


def count_operations() -> int:
    """Of the document."""
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    return sum("operationId" in operation for members in paths.values() for operation in members.values())


@click.command()
@click.option("--count", type=int, default=50_000, show_default=True, help="Requests, about.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other requests.")
@click.option("--only", default=None, help="The id of one operation.")
def main(count: int, seed: int, only: str | None) -> None:
    """Start a stack, ask all that its document offers, and compare every answer with it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="operations-") as folder, RunningStack.start(Path(folder)) as stack:
        if only is None:
            found = [fuzz(stack, count, seed, [f"--exclude-operation-id={name}" for name in OF_KEYS])]
        else:
            found = [fuzz(stack, count * count_operations(), seed, [f"--include-operation-id={only}"])]
        answered = stack.predict_xor().status_code
        if only is None:
            of_keys = [f"--include-operation-id={name}" for name in OF_KEYS]
            found.append(fuzz(stack, round(count * KEYS_SHARE), seed, of_keys))
    for each in found:
        click.echo(each.told)
    good = not any(each.told for each in found) and answered == SUCCESS
    kinds = sum((each.kinds for each in found), Counter())
    click.echo(
        f"{sum(each.cases for each in found):,} requests to {count_operations()} operations in "
        f"{time.monotonic() - began:.0f} s; of the valid ones {dict(kinds)}; "
        f"a prediction afterwards: {answered}; verdict: {'good' if good else 'BROKEN'}"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
