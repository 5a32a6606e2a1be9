"""A stack with a model whose capacity is known: `benchmarks.plugins.occupied`, imported and warm."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save_file

from benchmarks.backend import wait_for_model, wait_until_settled
from tests.running import ROOT, RunningStack

MODEL = "occupied"
BODY = json.dumps({"input": [0.0, 1.0]}).encode()
JSON = "application/json"
PLUGIN = Path(__file__).parent / "plugins" / "occupied.py"


@contextmanager
def running_occupied(
    *options: str, batch_ms: float, item_ms: float, max_batch: int, max_wait_ms: int
) -> Iterator[RunningStack]:
    """Start a stack with the model in a folder that is removed afterwards; options are those of `torchqueue up`."""
    environment = {"TORCHQUEUE_PLUGINS": str(PLUGIN)}
    with TemporaryDirectory(prefix="torchqueue-bench-") as name:
        folder = Path(name)
        with RunningStack.start(folder / "var", *options, environment=environment) as stack:
            _import(stack, folder, {"batch_ms": batch_ms, "item_ms": item_ms}, max_batch)
            _run(stack, "models", "configure", MODEL, f"--max-wait-ms={max_wait_ms}")
            wait_for_model(stack, MODEL, BODY, JSON)
            wait_until_settled()
            yield stack


def _import(stack: RunningStack, folder: Path, options: Mapping[str, float], max_batch: int) -> None:
    weights, config = folder / "occupied.safetensors", folder / "occupied.json"
    rng = np.random.default_rng(0)
    tensors = {"layer.weight": rng.normal(size=(2, 2)), "layer.bias": rng.normal(size=2)}
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, weights)
    config.write_text(
        json.dumps(
            {
                "name": MODEL,
                "kind": "classification",
                "arch": "occupied",
                "arch_options": dict(options),
                "input": {"type": "vector", "size": 2},
                "labels": ["0", "1"],
                "max_batch": max_batch,
            }
        )
    )
    _run(stack, "models", "import", str(weights), f"--config={config}", "--promote")


def make_key(stack: RunningStack, name: str) -> str:
    """Make a key that may predict."""
    return _run(stack, "keys", "create", name, "--scope=predict").split()[-1]


def _run(stack: RunningStack, *command: str) -> str:
    argv: Sequence[str] = [sys.executable, "-m", "stack", *command, f"--var={stack.var_dir}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
