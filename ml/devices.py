"""The devices of this machine, without importing torch: the supervisor must choose one before torch is loaded."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import DeviceError
from ml.machine import cpu_kind

if TYPE_CHECKING:
    import torch

CPU = "cpu:0"
"""The one device of a machine without a GPU."""

NVIDIA_SMI_TIMEOUT_S = 20
"""Without the persistence daemon the driver takes some seconds to wake a GPU up."""

_DRIVER_DIRECTORY = Path("/proc/driver/nvidia/gpus")
_DEVICE_NAME = re.compile(r"(cpu|cuda):(\d+)")
_GPU_LINE = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", re.MULTILINE)
_MIG_LINE = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)", re.MULTILINE)


def list_devices() -> list[str]:
    """``["cuda:0", "cuda:1", ...]``, one for each GPU (or MIG slice) that this process may use; else ``["cpu:0"]``."""
    return [f"cuda:{index}" for index in range(len(_visible_ids()))] or [CPU]


def device_slug(device: str) -> str:
    """The device's name as part of a queue or file name: ``cuda:0`` gives ``cuda-0``.

    Raises:
        DeviceError: The name is malformed.
    """
    return "-".join(_parse(device))


def pin_environment(device: str) -> dict[str, str]:
    """Environment variables that a worker's process starts with, so that torch sees this device and no other.

    Raises:
        DeviceError: The name is malformed, or there is no such GPU.
    """
    kind, index = _parse(device)
    if kind == "cpu":
        # An empty list hides every GPU; otherwise a CPU worker could still open a context on one.
        return {"CUDA_VISIBLE_DEVICES": ""}
    ids = _visible_ids()
    if int(index) >= len(ids):
        raise DeviceError(f"There is no device {device}; this machine has: {', '.join(list_devices())}.")
    # By default CUDA numbers the fastest GPU first, nvidia-smi goes by the bus; both must mean the same one.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ids[int(index)]}


def torch_device(device: str) -> "torch.device":
    """The device as torch knows it in this process: a pinned process sees one GPU, which is number 0.

    Raises:
        DeviceError: The name is malformed, or torch cannot use that GPU.
    """
    import torch

    kind, index = _parse(device)
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if count == 0:
        raise DeviceError(f"torch {torch.__version__} sees no GPU for {device}. Install its CUDA build, or use {CPU}.")
    return torch.device("cuda", 0 if count == 1 else int(index))


def device_kind(device: "torch.device") -> str:
    """What a measurement on this device is good for: the GPU's name, or the processor and this process's threads."""
    import torch

    if device.type == "cuda":  # pragma: no cover - needs a GPU
        return torch.cuda.get_device_name(device)
    return cpu_kind(torch.get_num_threads())


def _parse(device: str) -> tuple[str, str]:
    match = _DEVICE_NAME.fullmatch(device)
    if match is None:
        raise DeviceError(f"{device!r} is no device name; use cpu:0, cuda:0, cuda:1, ...")
    return match[1], match[2]


def _visible_ids() -> list[str]:
    """What ``CUDA_VISIBLE_DEVICES`` may hold for each GPU, in the order of our numbers."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        # Somebody has chosen already, by our own pinning or by hand; our numbers count within that choice.
        return [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    listing = _run_nvidia_smi()
    if listing is None:
        return [str(index) for index in range(_count_in_driver_directory())]
    # A GPU that is cut into MIG slices can only be used by slice.
    return _MIG_LINE.findall(listing) or [index for index, _ in _GPU_LINE.findall(listing)]


def _run_nvidia_smi() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        # Present but failing means a driver that does not work; its directory says the same or more.
        return None
    return done.stdout


def _count_in_driver_directory() -> int:
    return sum(1 for _ in _DRIVER_DIRECTORY.iterdir()) if _DRIVER_DIRECTORY.is_dir() else 0
