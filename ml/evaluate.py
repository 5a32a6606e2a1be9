"""``python -m ml.evaluate fashion``: accuracy on the test images, through the same decoding that serves requests."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, load_split
from ml.errors import MLError
from ml.evaluation import (
    PHOTO_LIKE_ITEMS,
    Evaluation,
    encode_png,
    evaluate,
    photo_like_encoder,
)


def evaluate_fashion(
    model: Path, data: Path = DEFAULT_DIRECTORY, *, photo_like: bool = False, limit: int | None = None
) -> Evaluation:
    """Evaluate a model's folder on the test images, all of them or the first ``limit``.

    Args:
        model: Folder with ``model.json`` and ``weights.safetensors``.
        data: Folder of the data set.
        photo_like: Turn the images into photos on white first; then ``limit`` is 1,000 unless said.
        limit: Most images.

    Raises:
        MLError: The model or the data cannot be read.
    """
    predictor = read_bundle(model).build()
    if limit is None and photo_like:
        limit = PHOTO_LIKE_ITEMS
    test = load_split("test", data).part(0, limit)
    return evaluate(predictor, test, photo_like_encoder() if photo_like else encode_png)


@click.command()
@click.argument("name", type=click.Choice(["fashion"]))
@click.option("--model", type=click.Path(path_type=Path), help="Folder of the model.  [default: the bundled one]")
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--photo-like", is_flag=True, help="Turn the test images into 480 x 640 JPEG photos on white first.")
@click.option("--limit", type=click.IntRange(min=1), help="Most images.  [default: 10,000; photo-like 1,000]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(name: str, model: Path | None, data: Path, photo_like: bool, limit: int | None, as_json: bool) -> None:
    """Print the accuracy of model NAME on its test images."""
    try:
        result = evaluate_fashion(model or BUNDLED_DIRECTORY / name, data, photo_like=photo_like, limit=limit)
    except MLError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(asdict(result)))
    else:
        _print_table(name, result)


def _print_table(name: str, result: Evaluation) -> None:
    table = Table(title=f"{name}: {result.items:,} test images", show_footer=True)
    table.add_column("label", footer="all")
    table.add_column("accuracy", footer=f"{result.accuracy:.2%}", justify="right")
    for label, accuracy in result.by_label.items():
        table.add_row(label, f"{accuracy:.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
