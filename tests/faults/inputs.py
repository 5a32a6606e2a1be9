"""Good inputs and poisoned ones, and the models that they are sent to."""

import io
import json
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from PIL import Image
from sqlalchemy import Engine

from stack.bootstrap import BUNDLED
from store.database import open_session
from store.models import list_models, register_version
from store.objects import ObjectStore
from tests.faults.history import History, Request
from tests.faults.marks import KILLS, NAN, NEVER_ENDS, RAISES
from tests.running import SAMPLES, sample_labels

#: Rows of one batch of these models.
BATCH: Final = 32

VECTORS: Final = "poison"
PHOTOS: Final = "poison-photos"

#: By name, the bundled model that it is.
MODELS = {VECTORS: "xor", PHOTOS: "fashion"}

DRAWING = (SAMPLES / "sandal-01.png").read_bytes()

#: A photo so large that its decoding takes a while.
LARGE = "sneaker-02.jpg"
LARGE_PX = (1200, 1600)


def _unreadable(photo: bytes) -> bytes:
    """Spoil the pixels and leave what is looked at at the door."""
    begin = photo.index(b"IDAT") + 8
    return photo[:begin] + bytes(len(photo) - begin - 40) + photo[-40:]


#: By kind of poison, how the attributes of a request are made, with the reason that it must fail for.
POISONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "raises": lambda: {"model": VECTORS, "pair": (0, RAISES), "declared": "internal"},
    "nan": lambda: {"model": VECTORS, "pair": (0, NAN), "declared": "non_finite"},
    "unreadable": lambda: _poisoned_photo(_unreadable(DRAWING)),
    "kills-decoder": lambda: _poisoned_photo(DRAWING + KILLS),
    "never-ends": lambda: _poisoned_photo(DRAWING + NEVER_ENDS),
}


def poisoned(history: History, kind: str) -> Request:
    """Note a request that must fail, and nothing beside it."""
    return history.note(key=str(uuid4()), **POISONS[kind]())


def innocent(history: History, kind: str, rng: random.Random) -> Request:
    """Note a good request to the model that a kind of poison is sent to."""
    if POISONS[kind]()["model"] == VECTORS:
        return history.note(key=str(uuid4()), model=VECTORS)
    name, label = rng.choice(list(sample_labels().items()))
    return history.note(key=str(uuid4()), model=PHOTOS, photo=(SAMPLES / name).read_bytes(), right=label)


def large_photo(history: History) -> Request:
    """Note a good request whose photo takes a while to decode."""
    return history.note(key=str(uuid4()), model=PHOTOS, photo=_large_photo(), right=sample_labels()[LARGE])


def most_forwards(poisoned: int) -> int:
    """So many forwards a batch may take in which some items make every forward fail."""
    return 2 * poisoned * int(math.log2(BATCH)) + 1


def add_models(database: Engine, objects: ObjectStore) -> None:
    """Register the models, once. They are no champions: workers that do not need them never load them."""
    with open_session(database) as session:
        there = {model.name for model in list_models(session)}
        for name in MODELS.keys() - there:
            folder = BUNDLED / MODELS[name]
            config = json.loads((folder / "model.json").read_text())
            options = {**config["arch_options"], "of": config["arch"]}
            config |= {"name": name, "arch": "poisoned", "arch_options": options, "max_batch": BATCH}
            weights = (folder / "weights.safetensors").read_bytes()
            register_version(
                session,
                name=name,
                kind=config["kind"],
                config=config,
                weights_sha256=objects.put(weights),
                weights_bytes=len(weights),
                metrics={},
                source="imported",
            )


def _poisoned_photo(photo: bytes) -> dict[str, Any]:
    return {"model": PHOTOS, "photo": photo, "declared": "invalid_input"}


_made: list[bytes] = []


def _large_photo() -> bytes:
    if not _made:
        buffer = io.BytesIO()
        with Image.open(SAMPLES / LARGE) as image:
            image.resize(LARGE_PX).save(buffer, "JPEG", quality=90)
        _made.append(buffer.getvalue())
    return _made[0]
