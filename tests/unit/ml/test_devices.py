import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ml import devices
from ml.errors import DeviceError

InstallNvidiaSmi = Callable[..., None]

TWO_GPUS = """GPU 0: NVIDIA H100 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb)
"""
TWO_SLICES = """GPU 0: NVIDIA H100 (UUID: GPU-aaaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 3g.40gb     Device  1: (UUID: MIG-2222)
"""


@pytest.fixture
def install_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallNvidiaSmi:
    """Puts a program named nvidia-smi on an otherwise empty path, which prints a listing."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_DRIVER_DIRECTORY", tmp_path / "gpus")
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(listing: str, exit_status: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nprintf '%s' '{listing}'\nexit {exit_status}\n", encoding="utf-8")
        program.chmod(0o755)

    return install


def test_every_gpu_is_a_device(install_nvidia_smi: InstallNvidiaSmi) -> None:
    install_nvidia_smi(TWO_GPUS)
    assert devices.list_devices() == ["cuda:0", "cuda:1"]


def test_every_mig_slice_is_a_device(install_nvidia_smi: InstallNvidiaSmi) -> None:
    install_nvidia_smi(TWO_SLICES)
    assert devices.list_devices() == ["cuda:0", "cuda:1"]
    assert devices.pin_environment("cuda:1")["CUDA_VISIBLE_DEVICES"] == "MIG-2222"


@pytest.mark.usefixtures("install_nvidia_smi")
def test_without_a_driver_the_cpu_is_the_only_device() -> None:
    assert devices.list_devices() == ["cpu:0"]


def test_with_a_driver_that_fails_the_cpu_is_the_only_device(install_nvidia_smi: InstallNvidiaSmi) -> None:
    install_nvidia_smi("no devices were found", exit_status=6)
    assert devices.list_devices() == ["cpu:0"]


def test_without_nvidia_smi_the_drivers_directory_is_counted(
    install_nvidia_smi: InstallNvidiaSmi, tmp_path: Path
) -> None:
    (tmp_path / "gpus" / "0000:00:01.0").mkdir(parents=True)
    assert install_nvidia_smi is not None
    assert devices.list_devices() == ["cuda:0"]


@pytest.mark.parametrize(("allowed", "expected"), [("3,1", ["cuda:0", "cuda:1"]), ("", ["cpu:0"]), ("-1", ["cpu:0"])])
def test_a_choice_of_gpus_that_was_made_before_is_kept(
    monkeypatch: pytest.MonkeyPatch, allowed: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices.list_devices() == expected


def test_pinning_counts_within_the_choice_that_was_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    pinned = devices.pin_environment("cuda:1")
    assert pinned == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}


def test_a_cpu_worker_sees_no_gpu() -> None:
    assert devices.pin_environment("cpu:0") == {"CUDA_VISIBLE_DEVICES": ""}


def test_pinning_to_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(DeviceError, match="no device cuda:1; this machine has: cuda:0"):
        devices.pin_environment("cuda:1")


def test_a_slug_can_be_part_of_a_name() -> None:
    assert devices.device_slug("cuda:12") == "cuda-12"


@pytest.mark.parametrize("name", ["", "gpu:0", "cuda", "cuda:", "cuda:x", "cuda:0 "])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="no device name"):
        devices.device_slug(name)


def test_the_cpu_is_a_torch_device() -> None:
    assert devices.torch_device("cpu:0") == torch.device("cpu")


def test_a_gpu_that_torch_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match="sees no GPU for cuda:0"):
        devices.torch_device("cuda:0")


@pytest.mark.parametrize(("count", "index"), [(1, 0), (4, 2)])
def test_in_a_pinned_process_the_only_gpu_is_number_0(monkeypatch: pytest.MonkeyPatch, count: int, index: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert devices.torch_device("cuda:2") == torch.device("cuda", index)


def test_listing_devices_does_not_import_torch() -> None:
    code = "import sys, ml.devices; ml.devices.list_devices(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
