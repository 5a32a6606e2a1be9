"""What `torchqueue models tune` does: look a measurement up, or make it in this process."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine as Database

from ml.choices import COMPILE
from ml.spec import ModelSpec
from stack.errors import MeasurementError
from store.database import open_session
from store.models import ServedVersion
from store.objects import ObjectStore
from store.tunings import find_tuning, present_tuning


def tune_version(
    database: Database,
    objects: ObjectStore,
    version: ServedVersion,
    *,
    device: str,
    threads: int,
    budget_s: float,
    compiled: bool,
    again: bool,
) -> dict[str, Any]:
    """Return what is stored of a version on a device of this machine; measure first where nothing is.

    Args:
        database: Where it is stored.
        objects: Where weights and inputs are.
        version: Which.
        device: `cpu:N` or `cuda:N`; pinned by the caller, since this imports torch.
        threads: Inside one operation on a CPU.
        budget_s: Longest measurement.
        compiled: Whether `torch.compile` is tried.
        again: Measure whatever is stored.

    Raises:
        MLError: The model cannot be built, or its configuration is wrong.
        MeasurementError: Another process measures the same version just now.
    """
    import torch

    from ml.devices import torch_device
    from tasks.tuner import Tuner

    torch.set_num_threads(threads)
    tuner = Tuner(torch_device(device), database, objects)
    spec = ModelSpec.from_config(version.model, version.number, version.config)
    if again or tuner.find(version, spec) is None:
        if compiled and COMPILE not in spec.tuning.forbid:
            attempt = spec.tuning.attempt | {COMPILE}
            spec = replace(spec, tuning=replace(spec.tuning, attempt=attempt))
        weights = objects.get(version.weights_sha256)
        if tuner.measure(version, spec, weights, budget_s=budget_s) is None:
            raise MeasurementError(f"another process measures {version.model} just now; ask again in some seconds")
    with open_session(database) as session:
        row = find_tuning(session, version.model_version_id, **tuner.key)
        assert row is not None
        return present_tuning(row)
