"""How a version runs fastest here, and how many workers should run it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine as Database

from ml.choices import Choice
from ml.devices import list_devices, pin_environment
from stack.commands.options import json_option, open_database, read_settings, var_option
from stack.console import console, one_line_errors, print_json, print_table
from stack.errors import MeasurementError
from stack.layout import stored_figures, stored_layout
from stack.tuning import tune_version
from store.database import open_session
from store.models import ServedVersion, resolve
from store.objects import ObjectStore

DEFAULT_BUDGET_S = 30.0


@click.command()
@var_option
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--again", is_flag=True, help="Measure anew, whatever is stored.")
@click.option("--device", default=None, help="cuda:N or cpu:0; default: the first there is.")
@click.option("--threads", type=click.IntRange(1), default=None, help="Of a CPU worker; default: as `up` starts them.")
@click.option("--budget", type=click.FloatRange(1), default=DEFAULT_BUDGET_S, show_default=True, help="In seconds.")
@click.option("--compile/--no-compile", "compiled", default=None, help="Try torch.compile; default: on a GPU.")
@click.option("--processes", is_flag=True, help="Measure how many CPU workers, of how many threads, answer most.")
@json_option
@one_line_errors
def tune(
    var_dir: Path,
    model: str,
    version: int | None,
    again: bool,
    device: str | None,
    threads: int | None,
    budget: float,
    compiled: bool | None,
    processes: bool,
    as_json: bool,
) -> None:
    """Show how MODEL's VERSION (default: the champion) runs fastest here; measure it where nobody has."""
    settings = read_settings(var_dir)
    database, objects = open_database(var_dir, pool_size=2), ObjectStore(settings.object_url)
    device = device or list_devices()[0]
    on_gpu = device.startswith("cuda")
    if processes and on_gpu:
        raise MeasurementError("--processes is about workers on a CPU; add --device=cpu:0")
    # Before torch is imported: CUDA reads these once.
    os.environ.update(pin_environment(device))
    with open_session(database) as session:
        found = resolve(session, model, version)
    layout = stored_layout(database)
    figures = tune_version(
        database,
        objects,
        found,
        device=device,
        threads=threads or (settings.compute_threads if layout is None else layout.threads),
        budget_s=budget,
        compiled=on_gpu if compiled is None else compiled,
        again=again,
    )
    if processes:
        choice = Choice.from_json(figures["choice"])
        stored = None if again else stored_figures(database, found)
        figures = stored or _measure_layout(database, objects, found, choice, settings.plugins)
    if as_json:
        print_json(figures)
        return
    (_show_layouts if processes else _show)(f"{found.model} version {found.number}", figures)


def _measure_layout(
    database: Database, objects: ObjectStore, version: ServedVersion, choice: Choice, plugins: tuple[str, ...]
) -> dict[str, Any]:
    # It imports torch, which needs the device pinned before.
    from tasks.layout_tuning import measure_layout

    return measure_layout(database, objects, version, choice, plugins=plugins)


def _show(title: str, tuning: Mapping[str, Any]) -> None:
    console.print(f"{title} on {tuning['device_kind']}, torch {tuning['torch_version']}")
    allowed = tuning["tolerance"]
    console.print(f"judged by {tuning['samples']} inputs: {tuning['source']}")
    console.print(f"tolerance: {allowed['min_agreement']:.0%} agree, no error above {allowed['max_error']:g}\n")
    columns = ["items_per_s", "speedup", "agreement", "max_error", "verdict", "reason"]
    print_table(
        ["way", "items/s", "speed-up", "agreement", "max error", "verdict", "why"],
        [(each["name"], *(each[column] for column in columns)) for each in tuning["candidates"]],
    )
    if tuning["batches"]:
        console.print()
        print_table(["batch", "items/s"], [(each["size"], each["items_per_s"]) for each in tuning["batches"]])
    batch = tuning["choice"]["batch"]
    console.print(f"\nat most {'max_batch' if batch is None else batch} items in one forward")
    when = f"{tuning['created_at']:%Y-%m-%d %H:%M} in {tuning['seconds']} s"
    console.print(f"measured {when}{'' if tuning['complete'] else ', incomplete: give --again more --budget'}")
    console.print("workers take it when they start")


def _show_layouts(title: str, figures: Mapping[str, Any]) -> None:
    console.print(f"{title} ({figures['way']}) on {figures['host_kind']}\n")
    print_table(
        ["workers", "threads each", "items/s together"],
        [(each["processes"], each["threads"], each["items_per_s"]) for each in figures["layouts"]],
    )
    chosen = f"{figures['processes']} worker(s) of {figures['threads']} thread(s)"
    console.print(f"\n`torchqueue up` starts {chosen} from now on; --workers overrides it")
