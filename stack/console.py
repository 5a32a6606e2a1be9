"""What the command line prints: tables for people, JSON for programs, errors as one line."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from ml.errors import MLError
from stack.errors import StackError
from store.errors import StoreError

console = Console(highlight=False, soft_wrap=True)

#: Columns of what is not a terminal: a file or a program reads lines as long as they are.
_UNBOUNDED = 10_000


def say(line: str) -> None:
    """Print one line of progress."""
    console.print(f"[dim]·[/dim] {line}")


def print_json(value: Any) -> None:
    """Print for programs."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print for people; nothing is cut off, an id least of all."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    wide = console if console.is_terminal else Console(width=_UNBOUNDED, highlight=False, soft_wrap=True)
    wide.print(table)


def shown(path: Path) -> str:
    """Show a path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn expected errors into one line on standard error and exit status 1."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (StackError, StoreError, MLError) as error:
            raise click.ClickException(str(error)) from error
        except OperationalError as error:
            reason = str(error.orig).strip().partition("\n")[0]
            raise click.ClickException(f"Postgres does not answer: {reason}; does the stack run?") from error

    return wrapped
