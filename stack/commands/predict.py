"""Ask a model about files."""

from pathlib import Path
from typing import Any

import click
from rich.progress import track

from stack.client import ApiClient
from stack.commands.options import json_option, var_option
from stack.console import console, one_line_errors, print_json, print_table


@click.command()
@var_option
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="fashion", show_default=True)
@json_option
@one_line_errors
def predict(var_dir: Path, files: tuple[Path, ...], model: str, as_json: bool) -> None:
    """Ask a model about pictures (or JSON files) and print its answers."""
    with ApiClient(var_dir) as client:
        shown = track(files, description="asking", console=console, transient=True, disable=as_json or len(files) == 1)
        answers = [(file, client.predict(model, file)) for file in shown]
    if as_json:
        print_json([{"file": str(file), "prediction": prediction} for file, prediction in answers])
        return
    print_table(["file", "answer", "score", "ms"], [_row(file, prediction) for file, prediction in answers])


def _row(file: Path, prediction: dict[str, Any]) -> tuple[object, ...]:
    result, timings = prediction["result"], prediction["timings_ms"]
    if not isinstance(result, dict):
        return file, prediction["status"], None, timings["total"]
    return file, _sentence(result), result.get("score"), timings["total"]


def _sentence(result: dict[str, Any]) -> object:
    """What a result says, in the words of its kind."""
    if "classes" in result:
        return ", ".join(f"{found['label']} {found['area']:.0%}" for found in result["classes"]) or "nothing"
    if "items" in result:
        return ", ".join(f"{found['catalog']}/{found['external_id']}" for found in result["items"]) or "nothing alike"
    if "value" not in result:
        return result.get("label")
    value, low, high = (f"{result[name]:,}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high}) {result['unit']}".rstrip()
