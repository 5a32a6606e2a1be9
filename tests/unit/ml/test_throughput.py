"""`ml.throughput`: a process that computes beside others, as asked line by line."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.choices import Choice
from ml.kinds import build_untrained
from ml.spec import ModelSpec
from ml.throughput import serve
from ml.weights import save_weights


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_it_says_that_it_is_ready_and_then_how_much_it_computed(
    vector_spec: ModelSpec, vector_config: dict[str, Any], tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    save_weights(build_untrained(vector_spec, "cpu").module, weights)
    request = {"config": vector_config, "weights": str(weights), "choice": Choice(batch=4).to_json(), "plugins": []}
    answers = io.StringIO()

    serve(io.StringIO(f"{json.dumps(request)}\n1 0.001\n2 0.001\n"), answers)

    ready, *rates = answers.getvalue().split()
    assert ready == "ready"
    assert [float(rate) > 0 for rate in rates] == [True, True]
    assert torch.get_num_threads() == 2
