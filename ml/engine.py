"""Models on one device: load, decode, and compute batches in which one bad item never harms another.

Shapes: B batch; ``...`` the item's own shape.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.choices import Choice
from ml.devices import torch_device
from ml.errors import (
    DecodeFailedError,
    DeviceLostError,
    InvalidInputError,
    ModelLoadError,
    NonFiniteOutputError,
    NotLoadedError,
)
from ml.inputs import blank_item
from ml.kinds import build_predictor
from ml.predictor import Payload, Predictor, Result
from ml.spec import ModelSpec
from ml.variants import apply_variant, warm_sizes

logger = logging.getLogger(__name__)

Key = tuple[str, int]
"""A model's name and version."""

Decoded = Tensor | InvalidInputError | DecodeFailedError
"""One item between ``decode`` and ``compute``."""

INVALID_INPUT = "invalid_input"
NON_FINITE = "non_finite"
OUT_OF_MEMORY = "out_of_memory"
INTERNAL = "internal"

DEFAULT_DECODE_THREADS = 2

DEFAULT_COMPUTE_THREADS = 1
"""Threads inside one operation on the CPU. One, because the same cores also decode, and serve the web and the database:
small networks gain little from more, and threads that wait for each other on a busy machine lose much."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: a result, or an error code with a sentence."""

    result: Result | None = None
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(slots=True)
class _Loaded:
    predictor: Predictor
    ceiling: int
    """Most items in one forward: the model's ``max_batch``, halved whenever memory ran out."""


class Engine:
    """All models that this process holds, on one device.

    ``decode`` may run in one thread while ``compute`` runs in another.

    Args:
        device: ``cpu:0``, ``cuda:0``, ...
        decode_threads: Images decoded at the same time.
        compute_threads: Threads inside one operation on the CPU; set for the whole process.
    """

    def __init__(
        self,
        device: str,
        *,
        decode_threads: int = DEFAULT_DECODE_THREADS,
        compute_threads: int = DEFAULT_COMPUTE_THREADS,
    ) -> None:
        self.device = torch_device(device)
        self._models: dict[Key, _Loaded] = {}
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        torch.set_num_threads(compute_threads)

    def close(self) -> None:
        """Forget all models and end the decoding threads."""
        self._models.clear()
        self._decoders.shutdown()

    def load(self, spec: ModelSpec, weights: bytes, choice: Choice | None = None) -> None:
        """Build a model on the device and warm it up, so that its first real batch is as fast as the next.

        Args:
            spec: What the model is; its name and version become its key.
            weights: Safetensors.
            choice: How to run it; None runs it as it was written.

        Raises:
            MLError: Whatever ``ml.kinds.build_predictor`` raises.
            ModelLoadError: The model fails on a blank input.
            VariantError: The network cannot be run in the way that was chosen.
        """
        choice = choice or Choice()
        predictor = build_predictor(spec, weights, self.device)
        limit = min(spec.max_batch, choice.batch or spec.max_batch)
        loaded = _Loaded(apply_variant(predictor, choice.variant, limit=limit), limit)
        # Every size that matters: kernels and buffers are chosen by shape, and the memory of the largest is found now.
        for count in warm_sizes(choice.variant, limit):
            for outcome in self._compute_all(loaded, [blank_item(spec.input)] * count):
                if outcome.error_code in (INTERNAL, OUT_OF_MEMORY):
                    raise ModelLoadError(f"{spec.name} version {spec.version} fails when tried: {outcome.error_detail}")
        self._models[spec.name, spec.version] = loaded

    def holds(self, name: str, version: int) -> bool:
        """Whether that version is loaded."""
        return (name, version) in self._models

    def held(self) -> list[Key]:
        """Every loaded model, oldest first."""
        return list(self._models)

    def unload(self, name: str, version: int) -> None:
        """Forget a model and give its device memory back; nothing happens when it is not loaded."""
        if self._models.pop((name, version), None) is not None:
            self._empty_cache()

    def decode(self, key: Key, payloads: Sequence[Payload]) -> list[Decoded]:
        """Turn items as sent into tensors, in order; an item that cannot be used leaves its error in its place.

        Raises:
            NotLoadedError: The model is not loaded.
        """
        predictor = self._find(key).predictor
        if predictor.spec.input.type == "vector":
            # Handing a few numbers to another thread costs more than converting them.
            return list(predictor.decode_batch(payloads))
        if len(payloads) == 1:
            return [_decode_one(predictor, payloads[0])]
        return list(self._decoders.map(lambda payload: _decode_one(predictor, payload), payloads))

    def compute(self, key: Key, decoded: Sequence[Decoded]) -> list[Outcome]:
        """Answer decoded items, in order, with one forward for all when nothing goes wrong.

        Where the forward fails, the batch is halved again and again, so that only the items that cause it fail: with k
        of them among n, after at most ``2 * k * log2(n) + 1`` forwards.

        Raises:
            NotLoadedError: The model is not loaded.
            DeviceLostError: The GPU can no longer be used from this process; nothing was answered.
        """
        loaded = self._find(key)
        answers = iter(self._compute_all(loaded, [item for item in decoded if isinstance(item, Tensor)]))
        return [next(answers) if isinstance(item, Tensor) else _undecoded(item) for item in decoded]

    def _find(self, key: Key) -> _Loaded:
        loaded = self._models.get(key)
        if loaded is None:
            raise NotLoadedError(f"{key[0]} version {key[1]} is not loaded.")
        return loaded

    def _compute_all(self, loaded: _Loaded, items: list[Tensor]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(items):
            # The ceiling may sink between two rounds.
            outcomes += self._compute_some(loaded, items[len(outcomes) : len(outcomes) + loaded.ceiling])
        return outcomes

    def _compute_some(self, loaded: _Loaded, items: list[Tensor]) -> list[Outcome]:
        """Answer items that fit into one forward, or into its halves when it fails."""
        try:
            return _forward(loaded.predictor, items)
        # A network may fail in any way, on any item; each must end as the outcome of that item.
        except Exception as error:  # noqa: BLE001
            failed = _explain(loaded.predictor.spec, error, len(items))
        # Handled only here: inside the except block the error's traceback still holds the tensors of the failed
        # forward, so that their memory could not be given back.
        self._recover(loaded, failed, len(items))
        if len(items) == 1:
            return [failed]
        half = (len(items) + 1) // 2
        return self._compute_all(loaded, items[:half]) + self._compute_all(loaded, items[half:])

    def _recover(self, loaded: _Loaded, failed: Outcome, count: int) -> None:
        if failed.error_code == OUT_OF_MEMORY:
            self._empty_cache()
            loaded.ceiling = max(1, min(loaded.ceiling, count // 2))
        elif self.device.type == "cuda":  # pragma: no cover - needs a GPU
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError as error:
                # Some errors (an illegal address, a failed device-side assertion) break the context for good: without
                # this, every later item would fail as if it were bad itself.
                raise DeviceLostError(f"{self.device} must be opened again in a new process: {error}") from error

    def _empty_cache(self) -> None:
        if self.device.type == "cuda":  # pragma: no cover - needs a GPU
            torch.cuda.empty_cache()


def _decode_one(predictor: Predictor, payload: Payload) -> Decoded:
    try:
        return predictor.decode(payload)
    except InvalidInputError as error:
        return error
    # A fault in our own decoding must fail this item only, not the batch that it happens to be in.
    except Exception as error:
        logger.exception("decode_failed", extra={"model": predictor.spec.name, "version": predictor.spec.version})
        failure = DecodeFailedError(f"Decoding failed with {type(error).__name__}.")
        failure.__cause__ = error
        return failure


def _undecoded(error: InvalidInputError | DecodeFailedError) -> Outcome:
    code = INVALID_INPUT if isinstance(error, InvalidInputError) else INTERNAL
    return Outcome(error_code=code, error_detail=str(error))


def _forward(predictor: Predictor, items: list[Tensor]) -> list[Outcome]:
    with torch.inference_mode():
        results = predictor.encode_batch(predictor.forward(torch.stack(items)))
    return [
        Outcome(error_code=NON_FINITE, error_detail=str(result))
        if isinstance(result, NonFiniteOutputError)
        else Outcome(result=result)
        for result in results
    ]


def _explain(spec: ModelSpec, error: Exception, count: int) -> Outcome:
    fields = {"model": spec.name, "version": spec.version, "items": count}
    if _is_out_of_memory(error):
        logger.warning("forward_out_of_memory", extra=fields)
        return Outcome(error_code=OUT_OF_MEMORY, error_detail="The device has too little memory for this item.")
    logger.warning("forward_failed", extra=fields, exc_info=error)
    return Outcome(error_code=INTERNAL, error_detail=f"The network failed with {type(error).__name__}.")


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator has no error class of its own.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
