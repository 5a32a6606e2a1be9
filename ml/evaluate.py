"""``python -m ml.evaluate MODEL``: what a model of ours does on data that it was not trained on.

Every item goes through the same decoding that serves requests.
"""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ml.bundles import BUNDLED_DIRECTORY
from ml.errors import MLError
from ml.evaluations.evaluation import EvaluationOptions, Report
from ml.evaluations.registry import EVALUATIONS


@click.command()
@click.argument("name", type=click.Choice(sorted(EVALUATIONS)))
@click.option("--model", type=click.Path(path_type=Path), help="Folder of the model.  [default: the bundled one]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--photo-like", is_flag=True, help="Turn test images into 480 x 640 JPEG photos on white first.")
@click.option("--limit", type=click.IntRange(min=1), help="Most items.  [default: all; photo-like 1,000]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(name: str, model: Path | None, data: Path | None, photo_like: bool, limit: int | None, as_json: bool) -> None:
    """Print what model NAME does on its test data."""
    options = EvaluationOptions(model=model or BUNDLED_DIRECTORY / name, data=data, limit=limit, photo_like=photo_like)
    try:
        report = EVALUATIONS[name](options)
    except MLError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(report.measured))
    else:
        _print_table(name, report)


def _print_table(name: str, report: Report) -> None:
    table = Table(title=f"{name}: {report.title}", show_footer=True)
    for index, (column, total) in enumerate(zip(report.columns, report.total, strict=True)):
        table.add_column(column, footer=total, justify="left" if index == 0 else "right")
    for row in report.rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
