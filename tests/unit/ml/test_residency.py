"""Which models stay on the device, with real networks of four megabytes."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.engine import Engine
from ml.errors import ModelTooLargeError, NoRoomError
from ml.kinds import build_untrained
from ml.residency import default_budget_bytes, memory_kind
from ml.spec import ModelSpec
from ml.weights import dump_weights
from tests.running import PATIENCE_S

MEBIBYTE = 1024 * 1024

Load = Callable[..., tuple[str, int]]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A device with room for two of our models."""
    threads = torch.get_num_threads()
    engine = Engine("cpu:0", memory_mb=10)
    yield engine
    engine.close()
    torch.set_num_threads(threads)


@pytest.fixture
def load(engine: Engine, vector_config: dict[str, Any]) -> Load:
    """Loads a model of so many layers of four megabytes."""

    def load(name: str, *, layers: int = 1, tenure_s: float = 0.0, **options: Any) -> tuple[str, int]:
        config = {**vector_config, "arch_options": {"hidden": [1024] * (layers + 1)}}
        spec = ModelSpec.from_config(name, 1, config)
        engine.load(spec, dump_weights(build_untrained(spec, "cpu").module), **options)
        engine._models[name, 1].stays_until = time.monotonic() + tenure_s
        return name, 1

    return load


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_models_stay_while_there_is_room(engine: Engine, load: Load) -> None:
    keys = [load("a"), load("b")]
    assert engine.held() == keys
    assert engine.held_bytes() == pytest.approx(2 * 4 * MEBIBYTE, rel=0.01)


def test_the_least_recently_used_leaves_for_the_next(engine: Engine, load: Load) -> None:
    first, second = load("a"), load("b")
    engine.compute(first, engine.decode(first, [[0.0, 1.0]]))
    third = load("c")
    assert engine.held() == [first, third]
    assert not engine.holds(*second)


def test_as_many_leave_as_the_next_needs(engine: Engine, load: Load) -> None:
    load("a")
    load("b")
    large = load("large", layers=2)
    assert engine.held() == [large]


def test_a_model_that_left_can_be_loaded_again(engine: Engine, load: Load) -> None:
    for name in ("a", "b", "c", "a"):
        load(name)
    assert engine.held() == [("c", 1), ("a", 1)]


def test_a_model_larger_than_the_budget_is_refused_and_no_other_leaves(engine: Engine, load: Load) -> None:
    key = load("a")
    with pytest.raises(ModelTooLargeError, match=r"huge version 1 takes 12 MiB and this device's budget .* is 10 MiB"):
        load("huge", layers=3)
    assert engine.held() == [key]


def test_a_load_that_may_not_evict_is_refused_and_no_other_leaves(engine: Engine, load: Load) -> None:
    keys = [load("a"), load("b")]
    with pytest.raises(NoRoomError):
        load("c", evict=False)
    assert engine.held() == keys


def test_a_model_that_computes_is_waited_for(engine: Engine, load: Load, pool: ThreadPoolExecutor) -> None:
    key = load("a", layers=2)
    assert engine.pin(key)
    loading = pool.submit(load, "b")
    _wait_until_leaving(engine, key)
    assert not loading.done()
    assert engine.compute(key, engine.decode(key, [[0.0, 1.0]]))[0].result
    engine.unpin(key)
    loading.result(PATIENCE_S)
    assert engine.held() == [("b", 1)]


def test_a_model_that_is_about_to_leave_is_not_pinned_again(
    engine: Engine, load: Load, pool: ThreadPoolExecutor
) -> None:
    key = load("a", layers=2)
    engine.pin(key)
    loading = pool.submit(load, "b")
    _wait_until_leaving(engine, key)
    assert not engine.pin(key)
    engine.unpin(key)
    loading.result(PATIENCE_S)


def test_a_model_that_was_just_loaded_has_its_turn_first(engine: Engine, load: Load) -> None:
    used, fresh = load("a"), load("b", tenure_s=3600)
    engine.pin(used)
    engine.unpin(used)
    load("c")
    assert engine.held() == [fresh, ("c", 1)]


def test_where_all_were_just_loaded_the_next_waits(engine: Engine, load: Load) -> None:
    load("a", layers=2, tenure_s=0.2)
    stays_until = engine._models["a", 1].stays_until
    load("b")
    assert time.monotonic() >= stays_until
    assert engine.held() == [("b", 1)]


def test_a_model_stays_for_as_long_as_its_loading_took(engine: Engine, vector_spec: ModelSpec) -> None:
    started = time.monotonic()
    engine.load(vector_spec, dump_weights(build_untrained(vector_spec, "cpu").module))
    assert started < engine._models["vectors", 1].stays_until


def test_closing_ends_the_wait_for_room(engine: Engine, load: Load, pool: ThreadPoolExecutor) -> None:
    key = load("a", layers=2)
    engine.pin(key)
    loading: Future[Any] = pool.submit(load, "b")
    _wait_until_leaving(engine, key)
    engine.close()
    with pytest.raises(NoRoomError, match="b version 1 is not loaded any more"):
        loading.result(PATIENCE_S)


def test_what_is_not_here_is_not_pinned(engine: Engine) -> None:
    assert not engine.pin(("nobody", 1))
    engine.unpin(("nobody", 1))


def test_a_model_that_is_replaced_while_it_computes_stays_pinned(
    engine: Engine, load: Load, pool: ThreadPoolExecutor
) -> None:
    key = load("a", layers=2)
    engine.pin(key)
    engine._models.add(key, engine._models[key])
    loading = pool.submit(load, "b")
    _wait_until_leaving(engine, key)
    assert not loading.done()
    engine.unpin(key)
    loading.result(PATIENCE_S)


def test_the_memory_of_a_model_that_leaves_is_returned(vector_config: dict[str, Any]) -> None:
    engine = Engine("cpu:0", memory_mb=1024)
    before = _resident_bytes()
    size = _load_large(engine, vector_config)
    held = _resident_bytes()
    engine.unload("large", 1)
    after = _resident_bytes()
    engine.close()
    assert held - before >= 0.9 * size
    assert after - before <= 0.1 * size


def test_the_default_budget_is_a_share_of_the_memory() -> None:
    device = torch.device("cpu")
    assert 100 * MEBIBYTE < default_budget_bytes(device) < 2**44
    assert memory_kind(device).startswith("cpu ")


def _load_large(engine: Engine, config: dict[str, Any]) -> int:
    """A network of 128 MiB; what building it takes is gone when this returns."""
    spec = ModelSpec.from_config("large", 1, {**config, "arch_options": {"hidden": [4096, 4096, 4096]}})
    engine.load(spec, dump_weights(build_untrained(spec, "cpu").module))
    return engine.held_bytes()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _wait_until_leaving(engine: Engine, key: tuple[str, int]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not engine._models[key].leaving:
        assert time.monotonic() < ends
        time.sleep(0.01)
