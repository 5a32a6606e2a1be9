"""Models: list, import, configure, reindex, tune, and which version answers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from schemas.enums import Durability, Placement
from schemas.model_settings import DEFAULT_MAX_WAIT_MS, LONGEST_TTL_S, MEBIBYTE, CacheSettings, ModelSettings
from schemas.prediction_arguments import DEADLINE_LIMIT_MS
from stack.commands.import_model import import_
from stack.commands.options import json_option, open_database, var_option
from stack.commands.promotions import decisions_, promote_, rollback_, versions_
from stack.commands.reindex import reindex
from stack.commands.retraining import retrain_
from stack.commands.traffic import compare_, traffic_
from stack.commands.tune import tune
from stack.console import console, one_line_errors, print_json, print_table
from store.database import open_session
from store.headlines import HELD_OUT, find_headline
from store.models import configure, get_model, list_models, list_versions


@click.group()
def models() -> None:
    """Manage models and their versions."""


models.add_command(import_)
models.add_command(reindex)
models.add_command(tune)
models.add_command(versions_)
models.add_command(promote_)
models.add_command(rollback_)
models.add_command(decisions_)
models.add_command(traffic_)
models.add_command(compare_)
models.add_command(retrain_)


@models.command("list")
@var_option
@json_option
@one_line_errors
def list_(var_dir: Path, as_json: bool) -> None:
    """List models and versions; a star marks the version that answers."""
    with open_session(open_database(var_dir)) as session:
        rows = [
            (model.name, model.kind, version.number, version.id == model.champion_id, version.source, version.metrics)
            for model in list_models(session)
            for version in list_versions(session, model.name)
        ]
    if as_json:
        columns = ["model", "kind", "version", "champion", "source", "metrics"]
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(
        ["model", "kind", "version", "source", "metric"],
        [
            (name, kind, f"{number}{' *' if champion else ''}", source, _headline(kind, metrics))
            for name, kind, number, champion, source, metrics in rows
        ],
    )


@models.command("configure")
@var_option
@click.argument("model")
@click.option("--placement", type=click.Choice([str(each) for each in Placement]), default=Placement.QUEUE.value)
@click.option("--durability", type=click.Choice([str(each) for each in Durability]), default=Durability.COMMITTED.value)
@click.option("--cache-ttl", type=click.FloatRange(0, LONGEST_TTL_S, min_open=True), help="Seconds; without, no cache.")
@click.option("--cache-mib", type=click.IntRange(1), default=64, show_default=True, help="Of each web process.")
@click.option(
    "--max-wait-ms",
    type=click.IntRange(1, DEADLINE_LIMIT_MS),
    default=DEFAULT_MAX_WAIT_MS,
    show_default=True,
    help="Longer waits are refused.",
)
@one_line_errors
def configure_(
    var_dir: Path,
    model: str,
    placement: str,
    durability: str,
    cache_ttl: float | None,
    cache_mib: int,
    max_wait_ms: int,
) -> None:
    """Say where a model computes and what is remembered; what is left out gets its default."""
    cache = None if cache_ttl is None else CacheSettings(ttl_s=cache_ttl, max_bytes=cache_mib * MEBIBYTE)
    serving: dict[str, Any] = {
        "placement": Placement(placement),
        "durability": Durability(durability),
        "cache": cache,
        "max_wait_ms": max_wait_ms,
    }
    with open_session(open_database(var_dir)) as session:
        # What it learns by is none of this command's options, and stays.
        learning = ModelSettings.load(get_model(session, model).settings)
        configure(session, name=model, settings=replace(learning, **serving))
    remembered = "nothing is remembered" if cache is None else f"answers are remembered for {cache.ttl_s:g} s"
    console.print(f"{model} computes {placement}; {remembered}")


def _headline(kind: str, metrics: Mapping[str, Any]) -> str | None:
    found = find_headline(kind, metrics)
    return None if found is None else f"{found[0].removeprefix(HELD_OUT)} {found[1]:.4g}"
