"""``python -m benchmarks.story``: the whole learning loop on real photos, through the API of a stack of its own."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import click

from benchmarks.story.api import Api, StoryError
from benchmarks.story.photos import load_album, write_first_version
from benchmarks.story.record import Record
from benchmarks.story.report import summarize, write_report
from benchmarks.story.scale import FULL, SMALL, Scale
from benchmarks.story.story import Say, Story, find_misses
from ml.errors import MLError
from tests.running import RunningStack

DEFAULT_OUT = Path("var") / "story"


def tell_story(scale: Scale, out: Path, say: Say) -> Record:
    """Start a stack whose `fashion` has seen few images, tell its story, and write the report into `out`.

    Raises:
        StoryError: It did not go as it should.
        MLError: The data set is not there.
    """
    album = load_album(scale)
    models, var = out / "models", out / "stack"
    for folder in (models, var):
        shutil.rmtree(folder, ignore_errors=True)
    write_first_version(models, scale)
    with RunningStack.start(var.resolve(), f"--models={models.resolve()}") as stack:
        say(f"a stack is up at {stack.url}")
        with Api(stack.url, stack.admin_key) as api:
            story = Story(api, album, scale, say)
            record = story.tell()
    (out / "record.json").write_text(json.dumps(record.dump(), indent=1), encoding="utf-8")
    say(f"written to {write_report(record, out)}")
    return record


@click.command()
@click.option("--small", is_flag=True, help="Few photos and a tiny network, to see that all of it works.")
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True)
def main(small: bool, out: Path) -> None:
    """Tell the story of a model that learns; ends with an error where a target is missed."""
    # A story that is told to end takes its stack with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scale, began = SMALL if small else FULL, time.monotonic()
    try:
        record = tell_story(scale, out, click.echo)
    except (StoryError, MLError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(summarize(record))
    click.echo(f"told in {time.monotonic() - began:.0f} s")
    misses = find_misses(record, scale)
    if misses:
        raise click.ClickException("; ".join(misses))


if __name__ == "__main__":
    main()
