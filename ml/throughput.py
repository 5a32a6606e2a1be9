"""``python -m ml.throughput``: one of several processes that compute side by side, to find how many are fastest.

Reads one JSON line that says what to load: ``config`` of the model, ``weights`` (a file), ``choice`` and ``plugins``.
Answers ``ready``. Each further line has a number of threads and of seconds; it runs so, and answers with the items a
second.
"""

import json
import sys
import time
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from ml.choices import Choice
from ml.kinds import build_predictor
from ml.plugins import load_plugins
from ml.predictor import Predictor
from ml.samples import collect_samples
from ml.spec import ModelSpec
from ml.variants import apply_variant, warm_sizes

READY = "ready"


def serve(given: TextIO, answers: TextIO) -> None:
    """Load what the first line says, then run as each further line says.

    Raises:
        MLError: The model cannot be built or run in the way that was chosen.
    """
    request = json.loads(given.readline())
    load_plugins(request["plugins"])
    choice = Choice.from_json(request["choice"])
    spec = ModelSpec.from_config("measured", 1, request["config"])
    plain = build_predictor(spec, Path(request["weights"]), "cpu")
    size = min(choice.batch or spec.max_batch, spec.max_batch)
    predictor = apply_variant(plain, choice.variant, limit=size)
    items = collect_samples(plain).items
    batch = torch.stack((items * size)[:size])
    with torch.inference_mode():
        for count in warm_sizes(choice.variant, size):
            predictor.forward(batch[:count])
        print(READY, file=answers, flush=True)
        for line in given:
            threads, seconds = line.split()
            torch.set_num_threads(int(threads))
            print(_run(predictor, batch, float(seconds)), file=answers, flush=True)


def _run(predictor: Predictor, batch: Tensor, seconds: float) -> float:
    """Items a second, by the clock on the wall."""
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or done == 0:
        predictor.forward(batch)
        done += len(batch)
    return done / passed


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
