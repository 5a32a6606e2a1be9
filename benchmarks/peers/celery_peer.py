"""The usual tutorial: Flask sends one Celery task a request, with the file in the message, and waits for its result."""

import base64
import os

from celery import Celery
from celery.signals import worker_process_init
from flask import Flask, request

from benchmarks.peers.network import Network

app = Celery("tutorial", broker=os.environ["PEER_REDIS_URL"], backend=os.environ["PEER_REDIS_URL"])
web = Flask(__name__)

RESULT_TIMEOUT_S = 60
_networks: list[Network] = []


@worker_process_init.connect
def load(**_: object) -> None:
    """Load in each worker process, after the fork: torch's threads do not survive one."""
    _networks.append(Network())


@app.task(name="predict")
def predict(body: str) -> str:
    """Answer one request."""
    label: str = _networks[0].answer(base64.b64decode(body))
    return label


@web.post("/predict")
def create() -> dict[str, str]:
    """Send, wait, answer."""
    sent = predict.delay(base64.b64encode(request.get_data()).decode())
    return {"label": sent.get(timeout=RESULT_TIMEOUT_S)}
