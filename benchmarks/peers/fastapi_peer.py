"""Plain FastAPI: the model loads with the process, and a thread of the pool answers each request by itself."""

import asyncio

from fastapi import FastAPI, Request

from benchmarks.peers.network import Network

app = FastAPI()
network = Network()


@app.post("/predict")
async def predict(request: Request) -> dict[str, str]:
    """Answer one request."""
    body = await request.body()
    # A small forward is quicker than handing it to another thread.
    if len(body) < 1024:
        return {"label": network.answer(body)}
    return {"label": await asyncio.to_thread(network.answer, body)}
