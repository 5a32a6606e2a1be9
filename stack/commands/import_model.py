"""Bring your own model: check it, try it, register it.

What needs torch is imported when the command runs, so that its neighbours need not wait for it.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stack.commands.options import json_option, open_database, read_plugins, read_settings, var_option
from stack.console import console, one_line_errors, print_json, say
from stack.errors import ModelSourceError
from stack.model_source import Source, read_sample
from store.objects import ObjectStore

if TYPE_CHECKING:
    from ml.candidate import Candidate

PUBLISHED = "torchvision:"

ANSWER_CHARS = 200

File = click.Path(exists=True, dir_okay=False, path_type=Path)


def _read_numbers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[float] | None:
    if value is None:
        return None
    try:
        return [float(number) for number in value.split(",")]
    except ValueError as error:
        raise click.BadParameter("must be numbers separated by commas, one a channel") from error


@click.command("import")
@var_option
@click.argument("path", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--weights", help="The same as PATH, or `torchvision:NAME` of weights to download.")
@click.option("--name", help="What clients will call it.  [default: the configuration's, or the file's name]")
@click.option("--config", type=File, help="A model.json to start from; options change it.")
@click.option("--kind", help="What it answers.  [default: classification]")
@click.option("--arch", help="Architecture of safetensors, e.g. torchvision:resnet18.")
@click.option(
    "--arch-option", "arch_options", multiple=True, metavar="NAME=VALUE", help="For the architecture's builder."
)
@click.option("--labels", type=File, help="A label a line, or a JSON list, in the order of the network's outputs.")
@click.option("--input", "type", type=click.Choice(["image", "vector"]), help="What it takes.")
@click.option("--size", type=click.IntRange(1), help="Side of the picture in pixels, or length of the vector.")
@click.option("--channels", type=click.IntRange(1), help="3 for RGB, 1 for gray.")
@click.option("--preparation", help="The way from a photo to the network's square.  [default: photo]")
@click.option("--mean", callback=_read_numbers, help="Per channel of values 0..1, e.g. 0.485,0.456,0.406.")
@click.option("--std", callback=_read_numbers, help="Likewise.")
@click.option("--max-batch", type=click.IntRange(1), help="Most items in one forward.")
@click.option("--description", help="A sentence for people.")
@click.option("--sample", type=File, help="A photo, or JSON numbers, to try it with.")
@click.option("--promote", "promoted", is_flag=True, help="Let it answer at once when a request names no version.")
@click.option("--check", "only_check", is_flag=True, help="Check and try it, register nothing.")
@json_option
@one_line_errors
def import_(
    var_dir: Path,
    path: Path | None,
    weights: str | None,
    config: Path | None,
    arch_options: tuple[str, ...],
    labels: Path | None,
    sample: Path | None,
    promoted: bool,
    only_check: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    """Register a model of your own: safetensors, a torch.export archive (.pt2), or a folder with a model.json."""
    source = Source(path=path, config=config, labels=labels, changes=changes, options=arch_options)
    candidate = _check(var_dir, source, weights, None if sample is None else read_sample(sample))
    number = None if only_check else _register(var_dir, candidate, promoted=promoted)
    if as_json:
        print_json(_describe(candidate, number, promoted=promoted))
    else:
        _print(candidate, number, promoted=promoted)


def _check(var_dir: Path, source: Source, weights: str | None, sample: Any) -> "Candidate":
    from ml.candidate import check_candidate
    from ml.plugins import load_plugin

    for plugin in read_plugins(var_dir):
        load_plugin(plugin)
    if weights is not None and weights.startswith(PUBLISHED):
        return _check_published(source, weights, sample)
    path = source.path or (None if weights is None else Path(weights))
    if path is None or (source.path is not None and weights is not None):
        raise ModelSourceError("name one file or folder, either as PATH or with --weights")
    source = replace(source, path=path)
    config = {"name": (path.name if path.is_dir() else path.stem).lower(), **source.read_config()}
    return check_candidate(config, source.read_weights(), sample)


def _check_published(source: Source, weights: str, sample: Any) -> "Candidate":
    from ml.candidate import check_candidate
    from ml.torchvision_weights import fetch_published

    if source.path is not None:
        raise ModelSourceError(f"leave out PATH: the file comes with {weights}")
    changes = source.read_config()
    say(f"downloading {weights}")
    published = fetch_published(weights, changes.get("arch"))
    inputs = {**published.config["input"], **(changes.get("input") or {})}
    name = published.config["arch"].removeprefix(PUBLISHED)
    candidate = check_candidate(
        {"name": name, **published.config, **changes, "input": inputs}, published.weights, sample
    )
    return replace(candidate, notices=(*published.notices, *candidate.notices))


def _register(var_dir: Path, candidate: "Candidate", *, promoted: bool) -> int:
    from tasks.importing import register_candidate

    objects = ObjectStore(read_settings(var_dir).object_url)
    return register_candidate(candidate, database=open_database(var_dir), objects=objects, promoted=promoted)


def _describe(candidate: "Candidate", number: int | None, *, promoted: bool) -> Mapping[str, Any]:
    return {
        "model": candidate.name,
        "version": number,
        "kind": candidate.kind,
        "promoted": promoted and number is not None,
        "config": candidate.config,
        "weights_bytes": len(candidate.weights),
        "notices": list(candidate.notices),
        "answer": candidate.answer,
    }


def _print(candidate: "Candidate", number: int | None, *, promoted: bool) -> None:
    name, config = candidate.name, candidate.config
    made_of = config.get("arch") or config["format"]
    labels = f", {len(config['labels'])} labels" if config.get("labels") else ""
    state = "fits and would be registered" if number is None else f"version {number} is registered"
    console.print(f"{name} {state}: {candidate.kind}, {made_of}{labels}, {len(candidate.weights) / 1e6:.1f} MB")
    console.print(f"tried; it answers {json.dumps(candidate.answer, ensure_ascii=False)[:ANSWER_CHARS]}", markup=False)
    for notice in candidate.notices:
        say(notice)
    if number is None:
        return
    if not promoted:
        console.print(f"let it answer   torchqueue models promote {name} {number}")
    file = "PHOTO" if config["input"]["type"] == "image" else "INPUT.json"
    console.print(f"ask it          torchqueue predict --model {name} {file}")
    console.print(f"over HTTP       POST /v1/models/{name}/predictions?version={number}")
