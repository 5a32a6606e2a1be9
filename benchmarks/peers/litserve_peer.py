"""LitServe as its documentation sets it up: batches of up to 16 that wait at most 5 ms, one worker on the device."""

import os
from typing import Any

import litserve
import torch
from fastapi import Request
from torch import Tensor

from benchmarks.peers.network import Network

MAX_BATCH = 16
BATCH_TIMEOUT_S = 0.005


class NetworkApi(litserve.LitAPI):
    """One endpoint, /predict: photos as files of a form, numbers as JSON."""

    def setup(self, device: str) -> None:
        """Load."""
        assert device == "cpu"
        self.network = Network()

    def decode_request(self, request: Request) -> Tensor:
        """Decode in the worker; LitServe has parsed the JSON or the form, whatever the annotation says."""
        parsed: Any = request
        if "image" in parsed:
            return self.network.decode(parsed["image"].file.read())
        return torch.tensor(parsed["input"], dtype=torch.float32)

    def batch(self, inputs: list[Tensor]) -> list[Tensor]:
        """Stacking is the network's."""
        return inputs

    def predict(self, batch: list[Tensor]) -> list[str]:
        """Answer a batch."""
        return self.network.forward(batch)

    def unbatch(self, output: list[str]) -> list[str]:
        """Keep the answers in their order."""
        return output

    def encode_response(self, label: str) -> dict[str, str]:
        """Answer as JSON."""
        return {"label": label}


if __name__ == "__main__":
    api = NetworkApi(max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=int(os.environ["PEER_PORT"]), host="127.0.0.1", generate_client_file=False, log_level="warning")
