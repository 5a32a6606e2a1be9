"""Train a model with its recipe and register the result."""

from pathlib import Path

import click

from schemas.messages import TrainModel
from stack.commands.options import open_database, read_settings, var_option
from stack.console import console, one_line_errors, say
from stack.errors import RequestRefusedError
from store.objects import ObjectStore
from tasks.doorbell import Doorbell
from tasks.errors import TrainingFailedError
from tasks.training import train as run_training


@click.command()
@var_option
@click.argument("model")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=None, help="Default: the recipe's own.")
@click.option("--queue", is_flag=True, help="Leave it to the training worker and return at once.")
@one_line_errors
def train(var_dir: Path, model: str, seed: int, epochs: int | None, queue: bool) -> None:
    """Train MODEL from nothing with its recipe; the result is a new version that waits for `models promote`."""
    settings = read_settings(var_dir)
    message = TrainModel(model=model, seed=seed, epochs=epochs)
    if queue:
        if not Doorbell(settings.redis_url).request_training(message):
            raise RequestRefusedError("the broker did not take the message; does the stack run?")
        say("asked the training worker; `torchqueue logs training` shows how it goes")
        return
    try:
        number = run_training(message, database=open_database(var_dir), objects=ObjectStore(settings.object_url))
    except TrainingFailedError as error:
        raise click.ClickException(str(error)) from error
    console.print(
        f"{model} version {number} is registered; `torchqueue models promote {model} {number}` lets it answer"
    )
