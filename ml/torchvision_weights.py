"""Weights that torchvision publishes, fetched once and made a model of ours: safetensors, labels and input together."""

import re
import tempfile
from dataclasses import dataclass
from typing import Any

from torch import nn

from ml.architectures.registry import find_builder
from ml.errors import DownloadError, InvalidSpecError
from ml.spec import InputSpec
from ml.weights import dump_weights

PREFIX = "torchvision:"

RESIZE_MARGIN = 256 / 224
"""What the preparation ``photo`` scales the shorter side to, in sides of the square."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A published model.

    Attributes:
        config: Architecture, labels, input, and what its publishers measured.
        weights: Safetensors.
        notices: Where our preparation differs from theirs.
    """

    config: dict[str, Any]
    weights: bytes
    notices: tuple[str, ...]


def fetch_published(choice: str, arch: str | None = None) -> Published:
    """Download weights, and check them against the hash in their name.

    Args:
        choice: ``torchvision:ResNet18_Weights.IMAGENET1K_V1``, as torchvision's documentation names it.
        arch: ``torchvision:resnet18``; None derives it from the choice.

    Raises:
        InvalidSpecError: torchvision publishes no such weights, or not for this architecture.
        DownloadError: There is no network, or what came has another hash.
        UnknownArchitectureError: torchvision has no such classifier.
    """
    name, entry = _find(choice.removeprefix(PREFIX), None if arch is None else arch.removeprefix(PREFIX))
    transform = entry.transforms()
    size, resize = int(transform.crop_size[0]), int(transform.resize_size[0])
    config = {
        "kind": "classification",
        "arch": PREFIX + name,
        "input": {
            "type": "image",
            "size": size,
            "channels": 3,
            "preparation": "photo",
            "mean": [float(value) for value in transform.mean],
            "std": [float(value) for value in transform.std],
        },
        "labels": [str(label) for label in entry.meta["categories"]],
        "metrics": _metrics(entry.meta),
    }
    notices = []
    if abs(resize / size - RESIZE_MARGIN) > 1 / size:
        notices.append(
            f"Its publishers scale to {resize} pixels before they cut {size} out; `photo` to {size} * 8 / 7."
        )
    return Published(config=config, weights=_download(name, entry, size), notices=tuple(notices))


def _find(choice: str, arch: str | None) -> tuple[str, Any]:
    """The architecture's name and torchvision's own description of the weights."""
    from torchvision import models

    class_name, _, member = choice.partition(".")
    for name in [arch] if arch is not None else models.list_models(module=models):
        try:
            published = models.get_model_weights(name)
        except ValueError as error:
            raise InvalidSpecError("arch", f"torchvision has no classifier {name!r}.") from error
        if published.__name__ == class_name and member in published.__members__:
            return name, published[member]
        if arch is not None:
            known = ", ".join(f"{PREFIX}{published.__name__}.{each}" for each in published.__members__)
            raise InvalidSpecError("weights", f"{choice!r} are none of {PREFIX}{arch}; published are: {known}.")
    raise InvalidSpecError("weights", f"torchvision publishes none called {choice!r}; see its documentation.")


def _metrics(meta: dict[str, Any]) -> dict[str, Any]:
    accuracy = meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return {} if accuracy is None else {"imagenet_accuracy": round(accuracy / 100, 5)}


def _download(name: str, entry: Any, size: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="torchqueue-weights-") as folder:
        try:
            # Its file is a pickle; this reads nothing but tensors out of it. A fresh folder, because only what was
            # just downloaded is compared with its hash.
            tensors = entry.get_state_dict(model_dir=folder, check_hash=True, progress=False, weights_only=True)
        # URLError and ConnectionError are OSErrors; a wrong hash, or an object that is no tensor, has none of its own.
        except Exception as error:
            raise DownloadError(
                f"{entry.url} could not be fetched ({error}). Without a network, save the weights as safetensors "
                "elsewhere and give --weights FILE and --labels FILE."
            ) from error
    n_labels = len(entry.meta["categories"])
    options = {"aux_logits": True} if name in {"googlenet", "inception_v3"} else {}
    module = find_builder(PREFIX + name)(options, InputSpec(type="image", size=size), n_labels)
    return dump_weights(_fill(module, tensors, entry.url))


def _fill(module: nn.Module, tensors: dict[str, Any], url: str) -> nn.Module:
    # The oldest files, of DenseNet, write `norm.1` where the network says `norm1`.
    renamed = {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): value for key, value in tensors.items()}
    try:
        # Through the network, because old files lack counters that it adds.
        module.load_state_dict(renamed if "features.denseblock1.denselayer1.norm1.weight" in renamed else tensors)
    except RuntimeError as error:
        raise DownloadError(f"The weights at {url} do not fit the installed torchvision: {error}") from error
    return module
