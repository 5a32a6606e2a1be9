"""``python -m ml.recipes.samples``: write ``samples/``, two real test images of each label, to be sent with curl."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, LABELS, load_split
from ml.errors import MLError
from ml.evaluation import Encode, encode_png, photo_like_encoder
from ml.predictor import Predictor

DEFAULT_OUT = Path("samples")

README = """# Samples

Two images of each label from the test set of [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao,
Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence, copyright Zalando SE), which the shipped model was not trained on:

- `*-01.png` as it is in the data set: 28 x 28 pixels, gray, bright on black;
- `*-02.jpg` turned into a photo: dark on white, enlarged, somewhere on 480 x 640 pixels, with a little grain.

`labels.json` says what each shows. They were drawn at random (seed {seed}) from the images that the shipped model gets
right, so they are examples and no measure of it; `ml/bundled/fashion/MODEL_CARD.md` has the accuracy on all.

`diamond.json` is a request about a diamond of the test part of `ml/datasets/diamonds.py`, which was sold for 2,359 US
dollars: `torchqueue predict --model diamond-price samples/diamond.json`.

The pictures of garments are made with `python -m ml.recipes.samples`.

`scene-*.jpg` are for the model `garments`: 640 x 480 pixels, test garments over photographs that it was not trained on
(see `ml/datasets/photographs/README.md`), composed by `ml/datasets/garment_scenes.py`; `scenes.json` says what each
shows. The model finds exactly these labels, so they too are examples and no measure. Made with
`python -m ml.recipes.scene_samples`.
"""


def write_samples(out: Path, data: Path, predictor: Predictor, seed: int = 0) -> dict[str, str]:
    """Write the images, ``labels.json`` and ``README.md``.

    Args:
        out: Folder to write into.
        data: Folder of the data set.
        predictor: Every image that is written is one that it answers rightly.
        seed: Of the choice and of the photos.

    Returns:
        The label of each file's name.

    Raises:
        DatasetError: The data is not there.
    """
    rng = np.random.default_rng(seed)
    test = load_split("test", data)
    out.mkdir(parents=True, exist_ok=True)
    labels: dict[str, str] = {}
    for index, label in enumerate(LABELS):
        places = rng.permutation(np.flatnonzero(test.targets.numpy() == index))
        candidates = (test.images[int(place), 0].numpy() for place in places)
        slug = re.sub(r"[^a-z]+", "-", label.lower())
        for suffix, encode in (("01.png", encode_png), ("02.jpg", photo_like_encoder(seed + index))):
            labels[f"{slug}-{suffix}"] = label
            (out / f"{slug}-{suffix}").write_bytes(_first_right(predictor, candidates, encode, label))
    (out / "labels.json").write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(README.format(seed=seed), encoding="utf-8")
    return labels


def _first_right(
    predictor: Predictor, candidates: Iterator[npt.NDArray[np.uint8]], encode: Encode, label: str
) -> bytes:
    """The first candidate, as a file, that the predictor gives its label."""
    for garment_hw in candidates:
        file = encode(garment_hw)
        with torch.inference_mode():
            output = predictor.forward(predictor.decode(file).unsqueeze(0))[0]
        if predictor.encode(output)["label"] == label:
            return file
    raise MLError(f"The model gets no test image of {label} right.")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(out: Path, data: Path, seed: int) -> None:
    """Write sample images that the bundled fashion model answers rightly."""
    try:
        labels = write_samples(out, data, read_bundle(BUNDLED_DIRECTORY / "fashion").build(), seed)
    except MLError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(labels)} images written to {out}")


if __name__ == "__main__":
    main()
