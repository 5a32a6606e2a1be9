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

#: The first are the same each time; the last has others by another seed.
ALL_PHASES = "examples,coverage,fuzzing"
AT_RANDOM = "fuzzing"

#: With these a client may take its own key away, so they come last.
OF_KEYS = ("update_key", "rotate_key", "revoke_key")

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


def fuzz(stack: RunningStack, count: int, seed: int, names: Sequence[str]) -> list[Findings]:
    """Make at least ``count`` requests in all to the operations of these ``names``.

    Some operations have few requests that differ, so what is still wanting is made by other seeds, as long as these
    find more than one request for each.
    """
    found = [_ask(stack, count, seed, names, ALL_PHASES)]
    while (wanting := count - sum(each.cases for each in found)) > 0 and found[-1].cases > len(names):
        found.append(_ask(stack, wanting, seed + len(found), names, AT_RANDOM))
    return found


def _ask(stack: RunningStack, count: int, seed: int, names: Sequence[str], phases: str) -> Findings:
    report = stack.var_dir / "operations.json"
    command = [
        str(SCHEMATHESIS),
        "run",
        str(DOCUMENT),
        f"--url={stack.url}",
        f"--header=Authorization: Bearer {stack.admin_key}",
        f"--checks={','.join(CHECKS)}",
        *(f"--include-operation-id={name}" for name in names),
        f"--phases={phases}",
        f"--max-examples={max(1, count // len(names))}",
        f"--seed={seed}",
        f"--workers={CLIENTS}",
        f"--request-timeout={TIMEOUT_S}",
        "--continue-on-failure",
        "--no-shrink",
        "--suppress-health-check=all",
        "--warnings=off",
        "--report=json",
        f"--report-json-path={report}",
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.media_types", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=stack.var_dir, env=environment, capture_output=True, text=True, check=False)
    made = json.loads(report.read_text(encoding="utf-8"))
    kinds = Counter[str]()
    for of_operation in made["valid_rates"].values():
        for counts in of_operation.values():
            kinds.update(counts)
    told = "" if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-TOLD_LINES:])
    return Findings(made["test_cases"]["generated"], kinds, told)


def list_operations() -> list[str]:
    """Name all that the document offers."""
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    operations = [operation for members in paths.values() for operation in members.values()]
    return [operation["operationId"] for operation in operations if "operationId" in operation]


@click.command()
@click.option("--count", type=int, default=50_000, show_default=True, help="Requests, at least.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other requests.")
@click.option(
    "--only", default=None, type=click.Choice(list_operations()), metavar="NAME", help="The id of one operation."
)
def main(count: int, seed: int, only: str | None) -> None:
    """Start a stack, ask all that its document offers, and compare every answer with it."""
    began = time.monotonic()
    names = list_operations() if only is None else [only]
    of_keys = [name for name in names if name in OF_KEYS]
    others = [name for name in names if name not in OF_KEYS]
    with tempfile.TemporaryDirectory(prefix="operations-") as folder, RunningStack.start(Path(folder)) as stack:
        found = fuzz(stack, count * len(others) // len(names), seed, others) if others else []
        answered = stack.predict_xor().status_code
        if of_keys:
            found += fuzz(stack, count * len(of_keys) // len(names), seed, of_keys)
    for each in found:
        click.echo(each.told)
    good = not any(each.told for each in found) and answered == SUCCESS
    kinds = sum((each.kinds for each in found), Counter())
    click.echo(
        f"{sum(each.cases for each in found):,} requests to {len(names)} operations in "
        f"{time.monotonic() - began:.0f} s; of the valid ones {dict(kinds)}; "
        f"a prediction afterwards: {answered}; verdict: {'good' if good else 'BROKEN'}"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
