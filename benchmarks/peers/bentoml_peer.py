"""BentoML with its adaptive batching, one worker: photos as files of a form, numbers as an array in JSON."""

import bentoml
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.network import Network
from benchmarks.peers.resnet18 import prepare

MAX_BATCH = 16

#: BentoML refuses what it expects to take longer; a benchmark wants every answer.
MAX_LATENCY_MS = 60_000


@bentoml.service(workers=1, traffic={"timeout": 60})
class Model:
    """Both networks' endpoints; the environment says which of them is loaded."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
    def photos(self, images: list[Image.Image]) -> list[str]:
        """Answer a batch of photos."""
        return self.network.forward([prepare(image.convert("RGB")) for image in images])

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
    def numbers(self, inputs: NDArray[np.float64]) -> list[str]:
        """Answer a batch of vectors, ``[B, 2]``."""
        return self.network.forward(list(torch.from_numpy(np.asarray(inputs, dtype=np.float32))))
