"""Models on one device: load, decode, and compute batches in which one bad item never harms another.

Shapes: B batch; ``...`` the item's own shape.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.ceilings import Ceiling, Ceilings
from ml.choices import Choice
from ml.decoding import Decoded, DecodePool, stack
from ml.devices import torch_device
from ml.errors import (
    DecodeFailedError,
    DeviceLostError,
    InvalidInputError,
    ModelLoadError,
    NonFiniteOutputError,
    NotReachedError,
)
from ml.inputs import blank_item
from ml.kinds import build_predictor
from ml.predictor import Payload, Predictor, Result
from ml.residency import MEBIBYTE, Key, Residency, Resident, default_budget_bytes, measure_bytes
from ml.spec import ModelSpec
from ml.variants import apply_variant, warm_sizes

logger = logging.getLogger(__name__)

__all__ = ["Decoded", "Engine", "Key", "Learned", "Outcome"]

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


@dataclass(frozen=True, slots=True)
class Learned:
    """A ceiling that changed: worth remembering for the next process that loads this model on such a device.

    Args:
        key: The model.
        shape: Of one item, as ``ml.ceilings.shape_name`` writes it.
        ceiling: What is known now.
    """

    key: Key
    shape: str
    ceiling: Ceiling


class Engine:
    """All models that this process holds, on one device.

    ``load`` may run in one thread, ``decode`` in another and ``compute`` in a third.

    Args:
        device: ``cpu:0``, ``cuda:0``, ...
        decode_threads: Images decoded at the same time.
        compute_threads: Threads inside one operation on the CPU; set for the whole process.
        memory_mb: Memory in MiB for the weights of all models; by default a share of what the device has.
        decode_on_device: Whether a GPU decodes the JPEGs that it can.
        sandboxed: Whether all other pictures are decoded in processes of their own; see ``ml.sandbox``.
    """

    def __init__(
        self,
        device: str,
        *,
        decode_threads: int = DEFAULT_DECODE_THREADS,
        compute_threads: int = DEFAULT_COMPUTE_THREADS,
        memory_mb: int | None = None,
        decode_on_device: bool = True,
        sandboxed: bool = False,
    ) -> None:
        self.device = torch_device(device)
        budget = default_budget_bytes(self.device) if memory_mb is None else memory_mb * MEBIBYTE
        self._models = Residency(self.device, budget)
        self._decoders = DecodePool(self.device, decode_threads, on_device=decode_on_device, sandboxed=sandboxed)
        torch.set_num_threads(compute_threads)

    def close(self) -> None:
        """Forget all models and end the decoding threads."""
        self._models.close()
        self._decoders.close()

    def load(
        self,
        spec: ModelSpec,
        weights: bytes,
        choice: Choice | None = None,
        *,
        ceilings: Mapping[str, Ceiling] | None = None,
        evict: bool = True,
    ) -> None:
        """Build a model on the device and warm it up, so that its first real batch is as fast as the next.

        Models that were least recently used leave when the budget asks for it; one that computes is waited for.

        Args:
            spec: What the model is; its name and version become its key.
            weights: Safetensors.
            choice: How to run it; None runs it as it was written.
            ceilings: What was learned of its batches before, by shape; see ``Learned``.
            evict: False: no other model leaves for this one.

        Raises:
            MLError: Whatever ``ml.kinds.build_predictor`` raises.
            ModelLoadError: The model fails on a blank input.
            VariantError: The network cannot be run in the way that was chosen.
            ModelTooLargeError: It is larger than the device's budget.
            NoRoomError: Another model would have to leave, and ``evict`` is False.
        """
        choice = choice or Choice()
        name = f"{spec.name} version {spec.version}"
        # Before it is built, so that the device never holds more than its budget; weights are as large as their file.
        self._models.make_room(name, len(weights), evict=evict)
        started = time.monotonic()
        self._decoders.prepare(spec.input)
        limit = min(spec.max_batch, choice.batch or spec.max_batch)
        predictor = apply_variant(build_predictor(spec, weights, self.device), choice.variant, limit=limit)
        resident = Resident(predictor, Ceilings(limit, ceilings or {}), measure_bytes(predictor))
        self._warm_up(resident, choice)
        self._models.make_room(name, resident.size_bytes, evict=evict)
        loaded_at = time.monotonic()
        resident.stays_until = loaded_at + (loaded_at - started)
        self._models.add((spec.name, spec.version), resident)

    def _warm_up(self, resident: Resident, choice: Choice) -> None:
        # Every size that matters: kernels and buffers are chosen by shape, and the memory of the largest is found now.
        spec = resident.predictor.spec
        blank = blank_item(spec.input)
        for count in warm_sizes(choice.variant, resident.ceilings.of(blank)):
            for outcome in self._compute_all(resident, [blank] * count):
                if outcome.error_code in (INTERNAL, OUT_OF_MEMORY):
                    raise ModelLoadError(f"{spec.name} version {spec.version} fails when tried: {outcome.error_detail}")

    def holds(self, name: str, version: int) -> bool:
        """Whether that version is loaded."""
        return (name, version) in self._models

    def held(self) -> list[Key]:
        """Every loaded model, least recently used first."""
        return self._models.keys()

    def held_bytes(self) -> int:
        """What the weights of all loaded models take."""
        return self._models.used_bytes()

    def unload(self, name: str, version: int) -> None:
        """Forget a model and give its memory back; nothing happens when it is not loaded."""
        self._models.remove((name, version))

    def pin(self, key: Key) -> bool:
        """Keep a model here until ``unpin``, however many others are loaded. False: it is not here, or leaves now."""
        return self._models.pin(key)

    def unpin(self, key: Key) -> None:
        """Undo one ``pin``."""
        self._models.unpin(key)

    def take_learned(self) -> list[Learned]:
        """The ceilings that changed since this was asked last. Only the thread that computes may ask."""
        return [
            Learned(key, shape, ceiling)
            for key, resident in self._models.residents()
            for shape, ceiling in resident.ceilings.take_learned().items()
        ]

    def decode(self, key: Key, payloads: Sequence[Payload]) -> list[Decoded]:
        """Turn items as sent into tensors, in order; an item that cannot be used leaves its error in its place.

        So does one that was not begun since those before it took too long: ``NotReachedError``; try it again.

        Raises:
            NotLoadedError: The model is not loaded.
        """
        return self._decoders.decode(self._models[key].predictor, payloads)

    def decoding(self) -> AbstractContextManager[None]:
        """While the block runs, pictures that this thread decodes are decoded where ``decode`` does it."""
        return self._decoders.decoding()

    def compute(self, key: Key, decoded: Sequence[Decoded]) -> list[Outcome]:
        """Answer decoded items, in order, with one forward for all when nothing goes wrong.

        Where the forward fails, the batch is halved again and again, so that only the items that cause it fail: with k
        of them among n, after at most ``2 * k * log2(n) + 1`` forwards.

        Raises:
            NotLoadedError: The model is not loaded.
            DeviceLostError: The GPU can no longer be used from this process; nothing was answered.
        """
        loaded = self._models[key]
        answers = iter(self._compute_all(loaded, [item for item in decoded if isinstance(item, Tensor)]))
        return [next(answers) if isinstance(item, Tensor) else _undecoded(item) for item in decoded]

    def _compute_all(self, loaded: Resident, items: list[Tensor]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(items):
            # The ceiling may sink between two rounds.
            left = items[len(outcomes) :]
            outcomes += self._compute_some(loaded, left[: loaded.ceilings.of(left[0])])
        return outcomes

    def _compute_some(self, loaded: Resident, items: list[Tensor]) -> list[Outcome]:
        """Answer items that fit into one forward, or into its halves when it fails."""
        try:
            outcomes = _forward(loaded.predictor, items)
        # A network may fail in any way, on any item; each must end as the outcome of that item.
        except Exception as error:  # noqa: BLE001
            failed = _explain(loaded.predictor.spec, error, len(items))
        else:
            loaded.ceilings.note_success(items[0], len(items))
            return outcomes
        # Handled only here: inside the except block the error's traceback still holds the tensors of the failed
        # forward, so that their memory could not be given back.
        self._recover(loaded, failed, items)
        if len(items) == 1:
            return [failed]
        half = (len(items) + 1) // 2
        return self._compute_all(loaded, items[:half]) + self._compute_all(loaded, items[half:])

    def _recover(self, loaded: Resident, failed: Outcome, items: list[Tensor]) -> None:
        if failed.error_code == OUT_OF_MEMORY:
            if self.device.type == "cuda":  # pragma: no cover - needs a GPU
                torch.cuda.empty_cache()
            loaded.ceilings.note_out_of_memory(items[0], len(items))
        elif self.device.type == "cuda":  # pragma: no cover - needs a GPU
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError as error:
                # Some errors (an illegal address, a failed device-side assertion) break the context for good: without
                # this, every later item would fail as if it were bad itself.
                raise DeviceLostError(f"{self.device} must be opened again in a new process: {error}") from error


def _undecoded(error: InvalidInputError | DecodeFailedError | NotReachedError) -> Outcome:
    code = INVALID_INPUT if isinstance(error, InvalidInputError) else INTERNAL
    return Outcome(error_code=code, error_detail=str(error))


def _forward(predictor: Predictor, items: list[Tensor]) -> list[Outcome]:
    with torch.inference_mode():
        results = predictor.encode_batch(predictor.forward(stack(items, predictor.device)))
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
