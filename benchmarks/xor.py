"""What the backend costs over the bare network: `xor` (2-8-1, the smallest model), by the queue and inline."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.backend import count_rows, load_model, resident_mib, running_backend, web_mib, write_xor
from benchmarks.report import Figure, Unit, at_least, at_most
from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.engine import Engine
from ml.spec import ModelSpec
from schemas.enums import Placement
from schemas.model_settings import ModelSettings
from store.database import create_database, open_session
from store.models import configure
from tests.running import RunningStack

CONNECTIONS = 64
FORWARDS = 2_000

#: Options of `torchqueue up` under which the web processes answer models of this placement themselves.
INLINE_OPTIONS = ("--inline",)
#: By then every web process has seen the placement and loaded the model.
INLINE_WARM_UP_S = 5
JSON = "application/json"

QUEUE_PER_SECOND = 2_000
INLINE_PER_SECOND = 5_000
ADDED_P50_MS, ADDED_P99_MS = 4.0, 10.0
WEB_MIB, WORKER_MIB = 143.0, 667.0


def measure_forward_ms() -> tuple[float, float]:
    """Time the bare network: decode and forward of one item in this process; p50 and p99, milliseconds."""
    bundle = read_bundle(BUNDLED_DIRECTORY / "xor")
    engine = Engine("cpu:0")
    engine.load(ModelSpec.from_config("xor", 1, bundle.config), bundle.weights)
    times = []
    for _ in range(FORWARDS):
        started = time.perf_counter()
        engine.compute(("xor", 1), engine.decode(("xor", 1), [[0.0, 1.0]]))
        times.append((time.perf_counter() - started) * 1000)
    engine.close()
    times.sort()
    return times[FORWARDS // 2], times[int(FORWARDS * 0.99)]


def measure_queue(seconds: float) -> list[Figure]:
    """Measure the way through Postgres, Celery and a worker, and a lone request on it."""
    with TemporaryDirectory() as folder, running_backend() as stack:
        body = write_xor(Path(folder))
        lone = load_model(stack, "xor", [body], JSON, connections=1, seconds=seconds)
        before = count_rows(stack)
        crowd = load_model(stack, "xor", [body], JSON, connections=CONNECTIONS, seconds=seconds, warm_up_s=1)
        stored = count_rows(stack) - before
        forward_p50, forward_p99 = measure_forward_ms()
        note = f"p50 {crowd.p50_ms:.0f} ms, p99 {crowd.p99_ms:.0f} ms; {stored:,} rows stored, {crowd.failures} failed"
        return [
            Figure(
                name=f"xor, queue, committed, {CONNECTIONS} connections",
                value=crowd.good_per_second,
                unit=Unit.PER_SECOND,
                wanted=at_least(QUEUE_PER_SECOND),
                note=note,
            ),
            Figure(
                name="added p50 over the bare forward, one connection",
                value=lone.p50_ms - forward_p50,
                unit=Unit.MS,
                wanted=at_most(ADDED_P50_MS),
                note=f"forward {forward_p50:.2f} ms",
            ),
            Figure(
                name="added p99 over the bare forward, one connection",
                value=lone.p99_ms - forward_p99,
                unit=Unit.MS,
                wanted=at_most(ADDED_P99_MS),
                note=f"forward {forward_p99:.2f} ms",
            ),
            _memory("memory of a web process", web_mib(stack), WEB_MIB),
            _memory("memory of the CPU worker", resident_mib(stack.pid("cpu-0")), WORKER_MIB),
        ]


def measure_inline(seconds: float) -> list[Figure]:
    """Measure the placement in which the web processes compute, every row committed before its answer."""
    with TemporaryDirectory() as folder, running_backend(*INLINE_OPTIONS) as stack:
        place_inline(stack)
        load = load_model(
            stack,
            "xor",
            [write_xor(Path(folder))],
            JSON,
            connections=CONNECTIONS,
            seconds=seconds,
            warm_up_s=INLINE_WARM_UP_S,
        )
        return [
            Figure(
                name=f"xor, inline, committed, {CONNECTIONS} connections",
                value=load.good_per_second,
                unit=Unit.PER_SECOND,
                wanted=at_least(INLINE_PER_SECOND),
                note=f"p50 {load.p50_ms:.0f} ms, p99 {load.p99_ms:.0f} ms; {load.failures} failed",
            )
        ]


def place_inline(stack: RunningStack) -> None:
    """Let the web processes answer `xor` themselves. They load it when they are asked first."""
    database = create_database(stack.settings["TORCHQUEUE_DATABASE_URL"], application="benchmark")
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings(placement=Placement.INLINE))
    database.dispose()


def _memory(name: str, value: float, most: float) -> Figure:
    return Figure(name=name, value=value, unit=Unit.MIB, wanted=at_most(most))
