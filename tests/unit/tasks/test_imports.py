"""What a process never loads: memory and start-up time that it has no use for."""

import subprocess
import sys
from functools import cache

WITHOUT_TORCH = "tasks.training_worker, tasks.maintenance_worker, tasks.worker, tasks.beat"
OUTWARD = "tasks.delivery_worker, tasks.fetch_worker"
ALL = f"tasks.inference_worker, {WITHOUT_TORCH}, {OUTWARD}"


def test_no_worker_process_loads_flask() -> None:
    assert _loaded_by(ALL).isdisjoint({"flask", "flask_smorest", "webapp"})


def test_only_the_inference_worker_loads_torch() -> None:
    assert "torch" in _loaded_by(ALL)
    assert "torch" not in _loaded_by(f"{WITHOUT_TORCH}, {OUTWARD}")


@cache
def _loaded_by(modules: str) -> set[str]:
    program = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())
