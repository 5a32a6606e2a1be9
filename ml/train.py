"""``python -m ml.train RECIPE``: train one of our models from nothing and write its folder."""

from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ml.bundles import write_bundle
from ml.errors import MLError
from ml.recipes.recipe import RecipeOptions, Trained
from ml.recipes.registry import RECIPES
from ml.training import OnProgress
from ml.training import Progress as TrainingProgress

DEFAULT_OUT = Path("var") / "trained"


def train(recipe: str, out: Path, options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train and write ``weights.safetensors``, ``model.json``, ``metrics.json`` and ``MODEL_CARD.md`` into ``out``.

    Raises:
        MLError: The data is not there, or the training failed; nothing was written.
        KeyError: There is no such recipe.
    """
    trained = RECIPES[recipe](options, on_progress)
    write_bundle(out, trained.predictor, trained.config, trained.metrics, trained.card)
    return trained


@click.command()
@click.argument("recipe", type=click.Choice(sorted(RECIPES)))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: var/trained/RECIPE]")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data.  [default: the recipe's own]")
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Its peak.  [default: the recipe's own]"
)
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Go on from this file.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Use no more items than this, for a quick try.")
@click.option("--device", help="cpu or cuda.  [default: cuda where there is one]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: torch's own choice]")
def main(
    recipe: str,
    data: Path | None,
    out: Path | None,
    epochs: int | None,
    learning_rate: float | None,
    weights: Path | None,
    seed: int,
    limit: int | None,
    device: str | None,
    threads: int | None,
) -> None:
    """Train RECIPE and write its weights, configuration, metrics and model card."""
    if threads is not None:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = RecipeOptions(
        data=data,
        epochs=epochs,
        learning_rate=learning_rate,
        weights=None if weights is None else weights.read_bytes(),
        seed=seed,
        limit=limit,
        device=device,
    )
    out = out or DEFAULT_OUT / recipe
    # On the error stream, so that what is printed at the end can be read by a program.
    with _progress_bar() as bar:
        bar.add_task(recipe, total=None, state="")
        try:
            trained = train(recipe, out, options, lambda progress: _show(bar, progress))
        except (MLError, OSError) as error:
            raise click.ClickException(str(error)) from error
    for name, value in trained.metrics.items():
        click.echo(f"{name}: {value}")
    click.echo(f"written to {out}")


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _show(bar: Progress, progress: TrainingProgress) -> None:
    state = f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  metric {progress.metric:.4f}"
    bar.update(bar.task_ids[0], total=progress.steps, completed=progress.step, state=state)
    if not bar.console.is_terminal and progress.step % (progress.steps // progress.epochs) == 0:
        # A log file shows no moving bar, so it gets a line an epoch.
        bar.console.print(state)


if __name__ == "__main__":
    main()
