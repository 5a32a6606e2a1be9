"""`ml.machine`: what a measurement is good for."""

from pathlib import Path

import pytest
import torch

from ml import machine
from ml.devices import device_kind
from ml.machine import cpu_kind, free_memory_bytes, host_kind, torch_version


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "CPU_INFO", file)
    monkeypatch.setattr(machine, "count_cores", lambda: 4)
    return file


@pytest.mark.parametrize(
    ("flags", "best"), [("sse avx2 avx512f", "avx512f"), ("avx2 avx512f amx_bf16 avx512_bf16", "amx_bf16")]
)
def test_a_machine_is_known_by_processor_instructions_and_cores(cpu_info: Path, flags: str, best: str) -> None:
    cpu_info.write_text(f"processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t\t: fpu {flags}\n")
    assert host_kind() == f"AMD EPYC 9654, {best}, 4 cores"


def test_a_cpu_device_is_also_known_by_its_threads(cpu_info: Path) -> None:
    cpu_info.write_text("model name\t: Some\nflags\t\t: avx2\n")
    assert cpu_kind(1) == "Some, avx2, 4 cores, 1 thread"
    assert cpu_kind(2) == "Some, avx2, 4 cores, 2 threads"


@pytest.mark.usefixtures("cpu_info")
def test_a_machine_that_tells_nothing_still_has_a_kind() -> None:
    assert host_kind().endswith("4 cores")


def test_the_kind_of_this_device_tells_its_threads() -> None:
    assert device_kind(torch.device("cpu")) == cpu_kind(torch.get_num_threads())


def test_the_version_of_torch_is_known_without_importing_it() -> None:
    assert torch.__version__.startswith(torch_version().partition("+")[0])


@pytest.mark.parametrize(("content", "limited"), [("1000000\n", True), ("max\n", False)])
def test_a_container_has_no_more_memory_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, limited: bool
) -> None:
    (tmp_path / "memory.max").write_text(content)
    monkeypatch.setattr(machine, "MEMORY_LIMITS", (tmp_path / "memory.max",))
    assert (free_memory_bytes() == 1_000_000) is limited
