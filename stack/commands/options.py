"""Options and look-ups that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from dotenv import load_dotenv
from sqlalchemy import Engine as Database

from stack.state import ENV_FILE
from store.database import create_database
from store.settings import Settings, plugins_from_env

var_option = click.option(
    "--var",
    "var_dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="TORCHQUEUE_VAR",
    default="var",
    show_default=True,
    callback=lambda _context, _parameter, value: value.resolve(),
    help="Folder that holds all state.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

AUTO = "auto"


class WorkerCount(click.ParamType[int | None]):
    """A number of workers, or `auto`, which is None."""

    name = "count"

    def convert(self, value: str | int | None, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Read what was typed."""
        if value is None or value == AUTO:
            return None
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r} is no number of workers; use {AUTO} or 1, 2, 3, ...", param, ctx)
        return int(value)


Command = Callable[..., Any]


def read_settings(var_dir: Path) -> Settings:
    """Read the environment, and what a stack on this folder wrote for commands that run beside it.

    Raises:
        SettingsError: No variable and no stack says where the servers are.
    """
    load_dotenv(var_dir / ENV_FILE, override=False)
    return Settings.from_env()


def read_plugins(var_dir: Path) -> tuple[str, ...]:
    """Read which modules of the user's own are loaded; needs no stack."""
    load_dotenv(var_dir / ENV_FILE, override=False)
    return plugins_from_env()


def open_database(var_dir: Path, pool_size: int = 1) -> Database:
    """Make an engine for a command that runs beside the stack."""
    return create_database(read_settings(var_dir).database_url, application="torchqueue-command", pool_size=pool_size)
