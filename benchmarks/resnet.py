"""The network that all contestants serve: resnet18 with seeded weights, in one file that each of them reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.peers.resnet18 import CLASSES, MEAN, SIZE, STD, prepare
from store.database import create_database, open_session
from store.decisions import SYSTEM_ACTOR
from store.models import register_version
from store.objects import ObjectStore
from store.promotion import promote
from tests.running import RunningStack

SEED = 0

#: Photos that batch normalisation is fitted to.
FITTED_TO = 16

LABELS = [f"class-{number:03}" for number in range(CLASSES)]

CONFIG = {
    "kind": "classification",
    "arch": "torchvision:resnet18",
    "input": {"type": "image", "size": SIZE, "channels": 3, "mean": list(MEAN), "std": list(STD)},
    "labels": LABELS,
    "max_batch": 32,
}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A model's name, and what its configuration adds."""

    name: str
    config: Mapping[str, object]


#: The engine chooses what is fastest within its tolerance.
TUNED = Setup(name="bench-resnet18", config={})

#: The peers' precision, and every photo decoded in full; a photo of 640 x 427 pixels always is. How the numbers lie in
#: memory, and whether batch normalisation is folded, stay the engine's choice.
FULL = Setup(name="bench-resnet18-fp32", config={"tuning": {"forbid": ["bf16", "fp16"]}})


def write_weights(path: Path, photos: list[Path]) -> Path:
    """Write seeded weights as safetensors; batch normalisation is fitted to some photos.

    Without that the numbers of a random network grow from layer to layer until every photo gets the same label, and
    comparing labels would prove nothing.
    """
    torch.manual_seed(SEED)
    module = resnet18(weights=None, num_classes=CLASSES)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # Averages over all batches alike; here there is one.
            layer.momentum = None
    with torch.no_grad():
        module.train()(torch.stack([_open(photo) for photo in photos[:FITTED_TO]]))
    save_file(module.state_dict(), path)
    return path


def import_into(stack: RunningStack, weights: Path, setup: Setup) -> str:
    """Give a running stack the network, as `torchqueue models import` does; returns the model's name.

    Args:
        stack: Whose database and object store take it.
        weights: The file of `write_weights`.
        setup: Under which name, and what the engine may choose.
    """
    data = weights.read_bytes()
    database = create_database(stack.settings["TORCHQUEUE_DATABASE_URL"], application="benchmark")
    objects = ObjectStore(stack.settings["TORCHQUEUE_OBJECT_URL"])
    with open_session(database) as session:
        version = register_version(
            session,
            name=setup.name,
            kind=str(CONFIG["kind"]),
            config={**CONFIG, **setup.config, "name": setup.name},
            weights_sha256=objects.put(data),
            weights_bytes=len(data),
            metrics={},
            source="imported",
        )
        promote(session, name=setup.name, number=version.number, actor=SYSTEM_ACTOR, reason="to be measured")
    database.dispose()
    return setup.name


def _open(photo: Path) -> Tensor:
    with Image.open(photo) as opened:
        return prepare(opened.convert("RGB"))
