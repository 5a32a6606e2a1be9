"""Ray Serve with its request batching: one replica, batches of up to 16 that wait at most 5 ms."""

import os
from typing import Any

import ray
from ray import serve

from benchmarks.peers.network import Network

MAX_BATCH = 16
BATCH_WAIT_S = 0.005
ONGOING = 64


@serve.deployment(num_replicas=1, max_ongoing_requests=ONGOING, ray_actor_options={"num_cpus": 1})
class Model:
    """The replica that holds the model."""

    def __init__(self) -> None:
        self.network = Network()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
    async def forward(self, bodies: list[bytes]) -> list[str]:
        """Answer a batch."""
        return self.network.forward([self.network.decode(body) for body in bodies])

    async def __call__(self, request: Any) -> dict[str, str]:
        """Answer one request."""
        return {"label": await self.forward(await request.body())}


app = Model.bind()  # type: ignore[attr-defined] # the decorator adds it


def main() -> None:
    """Serve until told to stop."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(app, blocking=True)


if __name__ == "__main__":
    main()
