import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from ml.ceilings import Ceiling
from ml.classification import ClassificationPredictor
from ml.engine import Engine, Key, Learned, Outcome
from ml.errors import InvalidInputError, ModelLoadError, NotLoadedError, WeightsError
from ml.kinds import KINDS, build_untrained
from ml.predictor import Result
from ml.spec import ModelSpec
from ml.weights import dump_weights
from tests.unit.ml.conftest import EncodeImage

LoadTroublesome = Callable[..., "TroublesomePredictor"]

POISON = 666.0
"""An item that starts with this makes the forward of every batch with it fail."""


class TroublesomePredictor(ClassificationPredictor):
    """Fails where its class attributes say, and notes the size of every batch."""

    memory_items = 1_000
    broken = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batch_sizes: list[int] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.batch_sizes.append(len(batch))
        if len(batch) > self.memory_items:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.broken or (batch[:, 0] == POISON).any():
            raise ValueError("poison")
        return super().forward(batch)


@pytest.fixture
def engine() -> Iterator[Engine]:
    threads = torch.get_num_threads()
    engine = Engine("cpu:0")
    yield engine
    engine.close()
    torch.set_num_threads(threads)


@pytest.fixture
def key(engine: Engine, vector_spec: ModelSpec) -> Key:
    engine.load(vector_spec, dump_weights(build_untrained(vector_spec, "cpu").module))
    return ("vectors", 1)


@pytest.fixture
def image_key(engine: Engine, image_spec: ModelSpec) -> Key:
    engine.load(image_spec, dump_weights(build_untrained(image_spec, "cpu").module))
    return ("images", 1)


@pytest.fixture
def troublesome(engine: Engine, vector_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> LoadTroublesome:
    """Loads a troublesome model of batches of up to 64 and gives its predictor."""
    monkeypatch.setitem(KINDS, "troublesome", TroublesomePredictor)

    def load(ceilings: dict[str, Ceiling] | None = None, **trouble: Any) -> TroublesomePredictor:
        for name, value in trouble.items():
            monkeypatch.setattr(TroublesomePredictor, name, value)
        spec = ModelSpec.from_config("trouble", 1, {**vector_config, "kind": "troublesome", "max_batch": 64})
        engine.load(spec, dump_weights(build_untrained(spec, "cpu").module), ceilings=ceilings)
        predictor = engine._models["trouble", 1].predictor
        assert isinstance(predictor, TroublesomePredictor)
        predictor.batch_sizes.clear()
        return predictor

    return load


def _compute(engine: Engine, payloads: Sequence[Any], key: Key = ("trouble", 1)) -> list[Outcome]:
    return engine.compute(key, engine.decode(key, payloads))


def _result(outcome: Outcome) -> Result:
    assert outcome.result is not None
    return outcome.result


def test_an_outcome_holds_a_result_that_json_can_carry(engine: Engine, key: Key) -> None:
    outcome = _compute(engine, [[0.0, 1.0]], key)[0]
    assert (outcome.error_code, outcome.error_detail) == (None, None)
    assert json.loads(json.dumps(outcome.result)) == outcome.result
    assert outcome.result is not None
    assert outcome.result["label"] in ("0", "1")


def test_a_batch_of_vectors_is_answered_as_each_alone(engine: Engine, key: Key) -> None:
    payloads = torch.randn(8, 2).tolist()
    together = _compute(engine, payloads, key)
    alone = [_compute(engine, [payload], key)[0] for payload in payloads]
    assert [_result(one)["label"] for one in together] == [_result(one)["label"] for one in alone]
    scores = [_result(one)["score"] for one in alone]
    assert [_result(one)["score"] for one in together] == pytest.approx(scores, abs=2e-6)


def test_a_batch_of_images_is_answered_as_each_alone(engine: Engine, image_key: Key, encode_image: EncodeImage) -> None:
    files = [encode_image(Image.radial_gradient("L").resize((side, 40))) for side in (30, 40, 50, 60)]
    together = _compute(engine, files, image_key)
    alone = [_compute(engine, [file], image_key)[0] for file in files]
    scores = [_result(one)["score"] for one in alone]
    assert [_result(one)["score"] for one in together] == pytest.approx(scores, abs=2e-6)


def test_a_bad_item_keeps_its_place_and_spares_the_others(engine: Engine, key: Key) -> None:
    outcomes = _compute(engine, [[0.0, 1.0], [math.nan, 1.0], [1.0]], key)
    assert [outcome.error_code for outcome in outcomes] == [None, "invalid_input", "invalid_input"]
    assert outcomes[1].error_detail is not None
    assert outcomes[1].error_detail.startswith("input[0]: ")


def test_a_bad_image_keeps_its_place_and_spares_the_others(
    engine: Engine, image_key: Key, encode_image: EncodeImage
) -> None:
    outcomes = _compute(engine, [b"", encode_image(Image.new("L", (30, 30)))], image_key)
    assert [outcome.error_code for outcome in outcomes] == ["invalid_input", None]


def test_decoding_gives_tensors_and_errors(engine: Engine, image_key: Key, encode_image: EncodeImage) -> None:
    good, bad = engine.decode(image_key, [encode_image(Image.new("L", (30, 30))), b"text"])
    assert isinstance(good, torch.Tensor)
    assert good.shape == (1, 28, 28)
    assert isinstance(bad, InvalidInputError)


def test_an_empty_batch_is_answered_with_nothing(engine: Engine, key: Key) -> None:
    assert _compute(engine, [], key) == []


def test_a_batch_of_bad_items_only_runs_no_forward(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    assert _compute(engine, [[1.0], "x"])[1].error_code == "invalid_input"
    assert predictor.batch_sizes == []


def test_a_good_batch_takes_one_forward(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    _compute(engine, [[0.0, 1.0]] * 64)
    assert predictor.batch_sizes == [64]


def test_more_items_than_the_largest_batch_take_several_forwards(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    assert len(_compute(engine, [[0.0, 1.0]] * 100)) == 100
    assert predictor.batch_sizes == [64, 36]


@pytest.mark.parametrize("places", [{0}, {63}, {17}, {3, 40}, {0, 1, 2}])
def test_items_that_make_the_forward_fail_fail_alone(
    engine: Engine, troublesome: LoadTroublesome, places: set[int]
) -> None:
    predictor = troublesome()
    outcomes = _compute(engine, [[POISON if place in places else 0.0, 1.0] for place in range(64)])
    failed = {place for place, outcome in enumerate(outcomes) if outcome.error_code == "internal"}
    assert failed == places
    assert all(outcome.result for place, outcome in enumerate(outcomes) if place not in places)
    assert len(predictor.batch_sizes) <= 2 * len(places) * math.log2(64) + 1


def test_the_error_of_a_failed_forward_is_named_without_its_text(engine: Engine, troublesome: LoadTroublesome) -> None:
    troublesome()
    assert _compute(engine, [[POISON, 1.0]]) == [
        Outcome(error_code="internal", error_detail="The network failed with ValueError.")
    ]


def test_a_batch_that_needs_too_much_memory_is_halved(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    predictor.memory_items = 20
    assert all(outcome.result for outcome in _compute(engine, [[0.0, 1.0]] * 64))
    assert predictor.batch_sizes == [64, 32, 16, 16, 16, 16]


def test_the_size_that_fits_is_remembered(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    predictor.memory_items = 20
    _compute(engine, [[0.0, 1.0]] * 64)
    predictor.batch_sizes.clear()
    _compute(engine, [[0.0, 1.0]] * 64)
    assert predictor.batch_sizes == [16, 16, 16, 16]


def test_memory_that_is_short_when_loading_lowers_the_size(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome(memory_items=20)
    _compute(engine, [[0.0, 1.0]] * 64)
    assert predictor.batch_sizes == [16, 16, 16, 16]


def test_an_item_that_needs_too_much_memory_alone_says_so(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    predictor.memory_items = 0
    assert [outcome.error_code for outcome in _compute(engine, [[0.0, 1.0]] * 2)] == ["out_of_memory"] * 2


def test_an_output_that_is_not_finite_is_an_outcome(engine: Engine, vector_config: dict[str, Any]) -> None:
    spec = ModelSpec.from_config("huge", 1, {**vector_config, "arch_options": {"hidden": []}})
    predictor = build_untrained(spec, "cpu")
    torch.nn.init.constant_(predictor.module.get_parameter("0.weight"), 1e30)
    engine.load(spec, dump_weights(predictor.module))
    codes = [outcome.error_code for outcome in _compute(engine, [[1e30, 1e30], [0.0, 0.0]], ("huge", 1))]
    assert codes == ["non_finite", None]


def test_a_fault_in_our_decoding_fails_that_item_only(
    engine: Engine, image_key: Key, encode_image: EncodeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = engine._models[image_key].predictor
    decode = predictor.decode
    monkeypatch.setattr(predictor, "decode", lambda payload: decode(payload) if payload else 1 / 0)
    outcomes = _compute(engine, [b"", encode_image(Image.new("L", (30, 30)))], image_key)
    assert outcomes[0] == Outcome(error_code="internal", error_detail="Decoding failed with ZeroDivisionError.")
    assert outcomes[1].result


def test_a_loaded_model_is_held_until_it_is_unloaded(engine: Engine, key: Key) -> None:
    assert engine.holds(*key)
    assert engine.held() == [key]
    engine.unload(*key)
    assert not engine.holds(*key)
    assert engine.held() == []


def test_unloading_what_is_not_held_does_nothing(engine: Engine) -> None:
    engine.unload("nobody", 1)


def test_loading_again_replaces_the_model(engine: Engine, key: Key, vector_spec: ModelSpec) -> None:
    before = _compute(engine, [[0.0, 1.0]], key)
    engine.load(vector_spec, dump_weights(build_untrained(vector_spec, "cpu").module))
    assert engine.held() == [key]
    assert _compute(engine, [[0.0, 1.0]], key) != before


@pytest.mark.parametrize("method", ["decode", "compute"])
def test_a_model_that_is_not_loaded_is_named(engine: Engine, method: str) -> None:
    with pytest.raises(NotLoadedError, match="nobody version 2 is not loaded"):
        getattr(engine, method)(("nobody", 2), [])


def test_weights_that_do_not_fit_are_not_held(engine: Engine, vector_spec: ModelSpec) -> None:
    with pytest.raises(WeightsError):
        engine.load(vector_spec, b"nonsense")
    assert engine.held() == []


def test_a_model_that_cannot_compute_is_not_held(engine: Engine, troublesome: LoadTroublesome) -> None:
    with pytest.raises(ModelLoadError, match="trouble version 1 fails when tried"):
        troublesome(broken=True)
    assert engine.held() == []


def test_the_number_of_compute_threads_is_set() -> None:
    threads = torch.get_num_threads()
    Engine("cpu:0", compute_threads=1).close()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_a_ceiling_that_was_learned_is_told_once(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    predictor.memory_items = 20
    _compute(engine, [[0.0, 1.0]] * 64)
    assert engine.take_learned() == [Learned(("trouble", 1), "2", Ceiling(16, 2))]
    assert engine.take_learned() == []


def test_a_ceiling_that_was_learned_before_is_where_the_next_load_starts(
    engine: Engine, troublesome: LoadTroublesome
) -> None:
    predictor = troublesome(ceilings={"2": Ceiling(16, 2)}, memory_items=20)
    _compute(engine, [[0.0, 1.0]] * 64)
    assert predictor.batch_sizes == [16, 16, 16, 16]
    assert engine.take_learned() == []


def test_a_ceiling_grows_again_when_memory_is_there(
    engine: Engine, troublesome: LoadTroublesome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.ceilings.REGROW_AFTER", 2)
    predictor = troublesome(ceilings={"2": Ceiling(16, 1)})
    # The first full batch was the one that warmed up.
    _compute(engine, [[0.0, 1.0]] * 144)
    assert predictor.batch_sizes == [16, 32, 32, 64]


def test_poison_among_items_that_need_too_much_memory_fails_alone(engine: Engine, troublesome: LoadTroublesome) -> None:
    predictor = troublesome()
    predictor.memory_items = 20
    outcomes = _compute(engine, [[POISON if place == 33 else 0.0, 1.0] for place in range(64)])
    assert [place for place, outcome in enumerate(outcomes) if outcome.error_code] == [33]
