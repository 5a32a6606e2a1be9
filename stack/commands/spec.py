"""The OpenAPI document."""

from pathlib import Path

import click

from stack.console import one_line_errors
from webapp.spec import render_document


@click.command()
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: standard output."
)
@one_line_errors
def openapi(output: Path | None) -> None:
    """Print the OpenAPI document; needs no running stack."""
    document = render_document()
    if output is None:
        click.echo(document, nl=False)
    else:
        output.write_text(document)
