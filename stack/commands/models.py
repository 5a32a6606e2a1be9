"""Models: list, promote, tune."""

from pathlib import Path

import click

from stack.commands.options import json_option, open_database, var_option
from stack.commands.tune import tune
from stack.console import console, one_line_errors, print_json, print_table
from store.database import open_session
from store.models import list_models, list_versions, promote


@click.group()
def models() -> None:
    """Manage models and their versions."""


models.add_command(tune)


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
        ["model", "kind", "version", "source", "accuracy"],
        [
            (name, kind, f"{number}{' *' if champion else ''}", source, metrics.get("test_accuracy"))
            for name, kind, number, champion, source, metrics in rows
        ],
    )


@models.command("promote")
@var_option
@click.argument("model")
@click.argument("version", type=int)
@one_line_errors
def promote_(var_dir: Path, model: str, version: int) -> None:
    """Let a version answer when a request names none."""
    with open_session(open_database(var_dir)) as session:
        promote(session, name=model, number=version)
    console.print(f"{model} version {version} answers now")
