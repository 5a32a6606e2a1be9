"""The two networks that the peers serve, chosen by environment variables; runs in the peers' environment, without us.

Each is decode, one forward for a batch, and the labels: the same weights and the same answers for every contestant.
"""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.peers.resnet18 import build, prepare

#: `resnet18` or `xor`.
MODEL_VARIABLE = "PEER_MODEL"

#: Safetensors of that network.
WEIGHTS_VARIABLE = "PEER_WEIGHTS"

#: Threads within one operation; unset leaves torch's own choice.
THREADS_VARIABLE = "PEER_THREADS"


class Network:
    """The chosen network, ready to answer."""

    def __init__(self) -> None:
        if THREADS_VARIABLE in os.environ:
            torch.set_num_threads(int(os.environ[THREADS_VARIABLE]))
        weights = Path(os.environ[WEIGHTS_VARIABLE])
        self._takes_photos = os.environ[MODEL_VARIABLE] == "resnet18"
        self._module = build(weights) if self._takes_photos else _build_xor(weights)

    def decode(self, body: bytes) -> Tensor:
        """Turn a request's body into an item of a batch: a JPEG, or `{"input": [0, 1]}`."""
        if not self._takes_photos:
            return torch.tensor(json.loads(body)["input"], dtype=torch.float32)
        with Image.open(io.BytesIO(body)) as opened:
            return prepare(opened.convert("RGB"))

    def forward(self, items: Sequence[Tensor]) -> list[str]:
        """Answer a batch with the index of each item's label."""
        with torch.inference_mode():
            outputs = self._module(torch.stack(list(items)))
        found = outputs.argmax(dim=1) if self._takes_photos else (outputs[:, 0] > 0).int()
        return [str(index) for index in found.tolist()]

    def answer(self, body: bytes) -> str:
        """Answer one request by itself."""
        return self.forward([self.decode(body)])[0]


def _build_xor(weights: Path) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    module.load_state_dict(load_file(weights))
    return module.eval()
