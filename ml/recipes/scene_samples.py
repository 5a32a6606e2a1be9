"""``python -m ml.recipes.scene_samples``: write the scenes of ``samples/``, and a picture of what the model sees."""

import json
from pathlib import Path

import click
import torch
from PIL import Image
from torch import Tensor

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY
from ml.datasets.garment_scenes import LABELS, SceneComposer, build_composer
from ml.errors import MLError
from ml.overlay import draw_overlay
from ml.predictor import Predictor, Result
from ml.recipes.samples import DEFAULT_OUT
from ml.scene_evaluation import encode_scene
from ml.segmentation import MIN_PART

SIZE = (480, 640)
"""Height and width of a scene, in pixels."""

MIN_GARMENTS = 3
"""Labels in a scene; fewer would show little."""

NAMES = ("scene-01.jpg", "scene-02.jpg")

TRIES = 200

GAP_PX = 16
"""White between the scene and what was seen."""


def write_scenes(out: Path, composer: SceneComposer, predictor: Predictor, seed: int = 0) -> dict[str, list[str]]:
    """Write the scenes, and their labels as ``scenes.json``.

    Args:
        out: Folder to write into.
        composer: Of scenes as they are written.
        predictor: Every scene that is written is one whose labels it finds, all and no other.
        seed: Of the scenes.

    Returns:
        The labels in each file, in the order of the model's labels.

    Raises:
        MLError: The model gets too few scenes right.
    """
    generator = torch.Generator().manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    labels: dict[str, list[str]] = {}
    for _ in range(TRIES):
        scenes = composer.compose(1, generator)
        shown = _visible(scenes.masks)
        file = encode_scene(scenes.images[0])
        if len(shown) < MIN_GARMENTS or sorted(shown) != sorted(_labels(ask(predictor, file))):
            continue
        name = NAMES[len(labels)]
        labels[name] = shown
        (out / name).write_bytes(file)
        if len(labels) == len(NAMES):
            (out / "scenes.json").write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
            return labels
    raise MLError(f"The model gets too few of {TRIES} scenes right.")


def ask(predictor: Predictor, file: bytes) -> Result:
    """The predictor's answer to one file."""
    with torch.inference_mode():
        return predictor.encode(predictor.forward(predictor.decode(file).unsqueeze(0))[0])


def write_picture(path: Path, scene: Path, predictor: Predictor) -> None:
    """Write a scene and, beside it, what the predictor sees in it, as a PNG."""
    with Image.open(scene) as opened:
        left = opened.convert("RGB")
    right = draw_overlay(left, ask(predictor, scene.read_bytes()))
    sheet = Image.new("RGB", (2 * left.width + GAP_PX, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP_PX, 0))
    sheet.save(path, optimize=True)


def _visible(masks: Tensor) -> list[str]:
    """The labels that cover enough to be seen, in their order, without the background."""
    covered = torch.bincount(masks.flatten(), minlength=len(LABELS)) / masks.numel()
    return [label for label, share in zip(LABELS, covered.tolist(), strict=True) if share > MIN_PART][1:]


def _labels(result: Result) -> list[str]:
    return [found["label"] for found in result["classes"]]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--model", type=click.Path(path_type=Path), default=BUNDLED_DIRECTORY / "garments", show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="Write a PNG of the first scene and its answer, too.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(out: Path, data: Path, model: Path, picture: Path | None, seed: int) -> None:
    """Write scenes of test garments on photographs that the garments model never saw, and whose labels it finds."""
    try:
        predictor = read_bundle(model).build()
        labels = write_scenes(out, build_composer("test", data, size=SIZE), predictor, seed)
        if picture is not None:
            write_picture(picture, out / NAMES[0], predictor)
    except MLError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(labels)} scenes written to {out}")


if __name__ == "__main__":
    main()
