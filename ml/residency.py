"""Which models are on the device: as many as a budget holds, and the least recently used leaves for the next.

A model that is computing is pinned and cannot leave. One that was just loaded stays for as long as its loading took, at
least: of two models that never fit together each computes half of the time, whatever order their items come in.
"""

import ctypes
import gc
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ml.ceilings import Ceilings
from ml.errors import ModelTooLargeError, NoRoomError, NotLoadedError
from ml.predictor import Predictor

Key = tuple[str, int]
"""A model's name and version."""

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE

CUDA_SHARE = 0.6
"""Of a GPU's memory, for weights; the rest is for what forwards and the decoding of photos take meanwhile."""

CPU_SHARE = 0.3
"""Of the machine's memory, for weights: a web process, Postgres and Valkey may live there too, and other workers."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(slots=True)
class Resident:
    """A model on the device.

    Args:
        predictor: Ready to answer.
        ceilings: How many items fit one of its forwards.
        size_bytes: What it takes while it does nothing.
        stays_until: Monotonic time, in seconds, before which it does not leave for another model.
    """

    predictor: Predictor
    ceilings: Ceilings
    size_bytes: int
    stays_until: float = 0.0
    pins: int = field(default=0, init=False)
    leaving: bool = field(default=False, init=False)


class Residency:
    """The models of one device, least recently used first. Thread safe.

    Args:
        device: Where they are.
        budget_bytes: What all of them together may take.
    """

    def __init__(self, device: torch.device, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._device = device
        self._models: OrderedDict[Key, Resident] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def __getitem__(self, key: Key) -> Resident:
        with self._changed:
            resident = self._models.get(key)
            if resident is None:
                raise NotLoadedError(f"{key[0]} version {key[1]} is not loaded.")
            self._models.move_to_end(key)
            return resident

    def __contains__(self, key: Key) -> bool:
        # Without the lock: a look at a dictionary is one step, and every request takes it.
        return key in self._models

    def keys(self) -> list[Key]:
        """Every model, least recently used first."""
        with self._changed:
            return list(self._models)

    def used_bytes(self) -> int:
        """What all models take together."""
        with self._changed:
            return self._used()

    def residents(self) -> list[tuple[Key, Resident]]:
        """Every model with its key, least recently used first."""
        with self._changed:
            return list(self._models.items())

    def pin(self, key: Key) -> bool:
        """Keep a model until as many ``unpin``. Returns False when it is not here, or about to leave."""
        with self._changed:
            resident = self._models.get(key)
            if resident is None or resident.leaving:
                return False
            resident.pins += 1
            self._models.move_to_end(key)
            return True

    def unpin(self, key: Key) -> None:
        """Undo one ``pin``."""
        with self._changed:
            resident = self._models.get(key)
            if resident is not None:
                resident.pins -= 1
            self._changed.notify_all()

    def add(self, key: Key, resident: Resident) -> None:
        """Add a model, in place of an older one of the same key."""
        with self._changed:
            older = self._models.get(key)
            if older is not None:
                # Whoever pinned the older one goes on with this one.
                resident.pins = older.pins
            self._models[key] = resident
            self._models.move_to_end(key)
            self._changed.notify_all()

    def remove(self, key: Key) -> None:
        """Forget a model and give its memory back; nothing happens when it is not here."""
        with self._changed:
            resident = self._models.pop(key, None)
            self._changed.notify_all()
        if resident is not None:
            module = weakref.ref(resident.predictor.module)
            del resident
            return_memory(self._device, module)

    def make_room(self, name: str, size_bytes: int, *, evict: bool = True) -> None:
        """Let models leave until so many bytes are free of the budget, as soon as they do not compute.

        Args:
            name: Of the model that needs room, for errors.
            size_bytes: What it needs.
            evict: False: no model leaves for it.

        Raises:
            ModelTooLargeError: It would not fit alone.
            NoRoomError: Another model would have to leave, and ``evict`` is False; or the engine was closed meanwhile.
        """
        if size_bytes > self.budget_bytes:
            raise ModelTooLargeError(name, size_bytes, self.budget_bytes)
        while (victim := self._choose_victim(size_bytes)) is not None:
            if not evict:
                raise NoRoomError(f"{name} needs {size_bytes / MEBIBYTE:.0f} MiB, and no model may leave for it.")
            if self._wait_for(victim):
                self.remove(victim)
        if self._closed:
            raise NoRoomError(f"{name} is not loaded any more: the engine was closed.")

    def close(self) -> None:
        """Forget all models, and end every wait for room."""
        with self._changed:
            self._closed = True
            self._models.clear()
            self._changed.notify_all()

    def _used(self) -> int:
        return sum(resident.size_bytes for resident in self._models.values())

    def _choose_victim(self, size_bytes: int) -> Key | None:
        """The model that leaves first so that there is room; None: there is."""
        with self._changed:
            if not self._models or self._used() + size_bytes <= self.budget_bytes:
                return None
            now = time.monotonic()
            free = (key for key, resident in self._models.items() if resident.stays_until <= now)
            return next(free, None) or min(self._models, key=lambda key: self._models[key].stays_until)

    def _wait_for(self, key: Key) -> bool:
        """Wait until a model may leave, and let nothing new be computed with it from then on. False: choose again."""
        with self._changed:
            resident = self._models.get(key)
            if resident is None:
                return False
            wait_s = resident.stays_until - time.monotonic()
            if wait_s > 0:
                # Chosen again afterwards: by then another one may be free, or less recently used.
                self._changed.wait(wait_s)
                return False
            resident.leaving = True
            self._changed.wait_for(lambda: self._closed or resident.pins == 0)
            return self._models.get(key) is resident


def memory_kind(device: torch.device) -> str:
    """What devices with the same memory share, such as ``cpu 16 GiB`` or ``NVIDIA H200 140 GiB``."""
    if device.type == "cuda":  # pragma: no cover - needs a GPU
        # A slice of a GPU has the GPU's name, and not its memory.
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name} {properties.total_memory / GIBIBYTE:.0f} GiB"
    return f"{device.type} {_machine_memory() / GIBIBYTE:.0f} GiB"


def default_budget_bytes(device: torch.device) -> int:
    """A share of the memory that the device has."""
    if device.type == "cuda":  # pragma: no cover - needs a GPU
        return int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE)
    return int(_machine_memory() * CPU_SHARE)


def measure_bytes(predictor: Predictor) -> int:
    """What a model's parameters and buffers take."""
    tensors = [*predictor.module.parameters(), *predictor.module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def return_memory(device: torch.device, module: "weakref.ref[torch.nn.Module]") -> None:
    """Give what a forgotten model took back to the device, or to the machine."""
    if module() is not None:
        # Compiled networks refer to themselves. Only then, because the whole process stands still while it collects.
        gc.collect()
    if device.type == "cuda":  # pragma: no cover - needs a GPU
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        # The allocator of the C library keeps what was freed in small pieces; other libraries have no such call.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or a container's where that is less."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [path.read_text().strip() for path in _CGROUP_LIMITS if path.is_file()]
    return min([memory, *(int(limit) for limit in limits if limit.isdecimal())])
