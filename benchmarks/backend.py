"""The backend under measurement: a stack of its own, the load on it, and what it stored."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
from sqlalchemy import text

from benchmarks.wrk import Load, send_load, write_script
from tests.running import RunningStack

WARM_UP_S = 5
MEBIBYTE = 1024 * 1024

#: A first load waits here until the worker has loaded, tuned and warmed up a new model.
FIRST_ANSWER_TIMEOUT_S = 600.0

#: A stack goes on working after it says ready: further processes start, and idle models are measured. It has settled
#: when the machine was this quiet, percent of all processors, for so many seconds; one that never is has its limit.
QUIET_PERCENT = 15.0
QUIET_S = 8
SETTLE_LIMIT_S = 240.0
TUNING_LIMIT_S = 300.0

#: Asks for an answer that was computed now, where the backend can tell one from a remembered one.
FRESH = "no_cache"


@contextmanager
def running_backend(*options: str) -> Iterator[RunningStack]:
    """Start a stack in a folder that is removed afterwards; options are those of `torchqueue up`."""
    with (
        TemporaryDirectory(prefix="torchqueue-bench-") as folder,
        RunningStack.start(Path(folder) / "var", *options) as stack,
    ):
        wait_until_settled()
        yield stack


def wait_until_settled() -> None:
    """Wait until the machine has nothing left to do, so that a start is not measured along with what follows it."""
    until, quiet_s = time.monotonic() + SETTLE_LIMIT_S, 0
    while quiet_s < QUIET_S and time.monotonic() < until:
        quiet_s = quiet_s + 1 if psutil.cpu_percent(1.0) < QUIET_PERCENT else 0


def prediction_url(stack: RunningStack, model: str) -> str:
    """Return where a model is asked, without its result cache."""
    path = stack.client.get("/openapi.json").json()["paths"]["/v1/models/{model}/predictions"]["post"]
    known = {parameter["name"] for parameter in path.get("parameters", [])}
    query = f"?{FRESH}=true" if FRESH in known else ""
    return f"{stack.url}/v1/models/{model}/predictions{query}"


def headers(stack: RunningStack, content_type: str) -> dict[str, str]:
    """Return what a request needs beside its body."""
    return {"Authorization": f"Bearer {stack.admin_key}", "Content-Type": content_type}


def wait_for_model(stack: RunningStack, model: str, body: bytes, content_type: str) -> str:
    """Ask until the model has answered once; returns its label."""
    response = httpx.post(
        prediction_url(stack, model),
        content=body,
        headers={**headers(stack, content_type), "Prefer": "wait=60"},
        timeout=FIRST_ANSWER_TIMEOUT_S,
    )
    answer = response.raise_for_status().json()
    while answer["status"] in ("queued", "processing"):
        answer = stack.client.get(
            f"/v1/predictions/{answer['id']}", headers={"Prefer": "wait=60"}, timeout=FIRST_ANSWER_TIMEOUT_S
        ).json()
    assert answer["status"] == "succeeded", answer["error"]
    return str(answer["result"]["label"])


def wait_until_tuned(stack: RunningStack, model: str) -> None:
    """Wait until a worker has measured how the first version runs fastest, which it does while it idles."""
    until = time.monotonic() + TUNING_LIMIT_S
    while time.monotonic() < until:
        tunings = stack.client.get(f"/v1/models/{model}/versions/1").raise_for_status().json()["tunings"]
        if any(tuning["complete"] for tuning in tunings):
            return
        time.sleep(1)
    raise TimeoutError(f"no worker has tuned {model} within {TUNING_LIMIT_S:.0f} s")


def load_model(
    stack: RunningStack,
    model: str,
    bodies: Sequence[Path],
    content_type: str,
    *,
    connections: int,
    seconds: float,
    warm_up_s: float = WARM_UP_S,
) -> Load:
    """Load a model with files in turn, after a warm-up of the same kind."""
    script = write_script(stack.var_dir / "load.lua", bodies, headers(stack, content_type))
    url = prediction_url(stack, model)
    send_load(url, script, connections=connections, seconds=warm_up_s)
    return send_load(url, script, connections=connections, seconds=seconds)


def count_rows(stack: RunningStack) -> int:
    """Count what Postgres holds."""
    with stack.open_database().connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM predictions")).scalar_one())


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, MiB."""
    return float(psutil.Process(pid).memory_info().rss) / MEBIBYTE


def web_mib(stack: RunningStack) -> float:
    """Return the resident memory of the largest web process, MiB."""
    return max(resident_mib(child.pid) for child in psutil.Process(stack.pid("web")).children())


def write_xor(folder: Path) -> Path:
    """Write the body of a request to `xor`."""
    path = folder / "xor.json"
    path.write_text(json.dumps({"input": [0, 1]}))
    return path
