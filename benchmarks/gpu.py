"""The engine against the raw loop on a GPU: `python -m benchmarks.gpu`; without one the same with small sizes.

Each loop is measured in turn with the other, in one process, on the same device with the same network, so that their
ratio holds on a noisy machine. The raw loop is what one would write by hand: pinned buffer, forward, strongest label;
with decoding it prepares the next batch on threads (or by nvJPEG) meanwhile, as the engine does. Weights are random,
with a fixed seed: they change no speed.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpu_memory import CEILING_SHARE, Memory, find_ceiling, measure_memory
from benchmarks.gpu_race import Plan, Row, compare, make_photo, make_weights, spec_of
from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.devices import list_devices
from ml.spec import ModelSpec
from tests.running import SAMPLES, RunningStack

STACK_CLIENTS = 32

LEAST_RATIO = 0.9
MOST_PEAK_MIB = {"resnet18": 600.0}


@dataclass(kw_only=True)
class Report:
    """One run."""

    device: str
    torch: str
    rows: list[Row] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    ceiling: str = "not measured: the CPU's memory has no limit of its own"
    stack: str = "not asked for"


def measure(plan: Plan, device: str) -> Report:
    """Measure everything but the stack."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    report = Report(device=name, torch=torch.__version__)
    files = [make_photo(seed) for seed in range(plan.batch)]
    for network in plan.networks:
        spec = spec_of(network, plan)
        weights = make_weights(spec)
        for variant in plan.variants:
            report.rows += compare(spec, weights, files, plan, device, variant)
    fashion = read_bundle(BUNDLED_DIRECTORY / "fashion")
    spec = ModelSpec.from_config("fashion", 1, {**fashion.config, "max_batch": plan.batch})
    garments = [path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))]
    garments = [garments[place % len(garments)] for place in range(plan.batch)]
    for variant in plan.variants:
        report.rows += compare(spec, fashion.weights, garments, plan, device, variant)
    for network in ("resnet18", *plan.networks):
        report.memory.append(measure_memory(spec_of(network, plan, batch=min(32, plan.batch)), device))
    if device.startswith("cuda"):
        report.ceiling = find_ceiling(plan, device)
    return report


def measure_stack(seconds: float) -> str:
    """Predictions of `fashion` through HTTP, Postgres and the worker of this machine's device, with stored inputs."""
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        try:
            with RunningStack.start(Path(folder) / "var") as running:
                return load_stack(running, seconds)
        # A missing wheel, a port, a folder without room: none of it should cost the figures that were measured.
        except Exception as error:  # noqa: BLE001
            return f"did not run: {type(error).__name__}: {error}"


def load_stack(running: RunningStack, seconds: float) -> str:
    """See ``measure_stack``."""
    counts = {"answered": 0, "failed": 0}
    lock = threading.Lock()
    photo = (SAMPLES / "sandal-02.jpg").read_bytes()
    headers = {"Content-Type": "application/octet-stream", "Prefer": "wait=30"}
    began = time.monotonic()

    def ask(_client: int) -> None:
        while True:
            answer = running.predict("fashion", content=photo, headers=headers, timeout=60.0)
            good = answer.is_success and answer.json()["status"] == "succeeded"
            with lock:
                counts["answered" if good else "failed"] += 1
            if time.monotonic() - began > seconds:
                return

    with ThreadPoolExecutor(STACK_CLIENTS) as clients:
        list(clients.map(ask, range(STACK_CLIENTS)))
    rate = counts["answered"] / (time.monotonic() - began)
    return f"{rate:,.0f} fashion/s over {STACK_CLIENTS} connections, {counts['failed']} failed"


@click.command()
@click.option("--device", default=None, help="cuda:0, cpu:0, ...; by default the first of this machine.")
@click.option("--small/--full", default=None, help="Small sizes; by default where there is no GPU.")
@click.option("--stack/--no-stack", "with_stack", default=True, show_default=True, help="Measure the full stack too.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write JSON there.")
def main(device: str | None, small: bool | None, with_stack: bool, json_path: Path | None) -> None:
    """Measure the engine against the raw loop."""
    device = device or list_devices()[0]
    small = not device.startswith("cuda") if small is None else small
    plan = Plan.small() if small else Plan.full()
    report = measure(plan, device)
    if with_stack:
        report.stack = measure_stack(max(2.0, plan.seconds))
    _print(report)
    figures = {**asdict(report), "ratios": [round(row.ratio, 3) for row in report.rows]}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2))
    else:
        click.echo(json.dumps(figures))


def _print(report: Report) -> None:
    console = Console()
    console.print(f"{report.device}, torch {report.torch}")
    wanted = f"≥ {LEAST_RATIO:.0%}"
    columns = ("model", "variant", "work", "batch", "raw /s", "engine /s", "ratio", wanted)
    rates = Table(*columns, box=None, pad_edge=False)
    for row in report.rows:
        figures = (f"{row.raw_per_s:,.0f}", f"{row.engine_per_s:,.0f}", f"{row.ratio:.0%}")
        rates.add_row(row.model, row.variant, row.work, str(row.batch), *figures, _met(row.ratio >= LEAST_RATIO))
    console.print(rates)
    memory = Table("model", "batch", "weights MiB", "peak MiB", "returned MiB", "met", box=None, pad_edge=False)
    for each in report.memory:
        mib = (each.weights_mib, each.peak_mib, each.returned_mib)
        most = MOST_PEAK_MIB.get(each.model)
        verdict = "" if most is None or each.peak_mib is None else _met(each.peak_mib <= most)
        shown = ("-" if each_mib is None else f"{each_mib:,.0f}" for each_mib in mib)
        memory.add_row(each.model, str(each.batch), *shown, verdict)
    console.print(memory)
    console.print(f"batch ceiling in {CEILING_SHARE:.1%} of the memory: {report.ceiling}")
    console.print(f"full stack: {report.stack}")


def _met(holds: bool) -> str:
    return "yes" if holds else "no"


if __name__ == "__main__":
    main()
