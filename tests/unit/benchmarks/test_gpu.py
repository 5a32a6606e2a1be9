"""`benchmarks.gpu` runs end to end where there is no GPU, with small sizes."""

import json
from pathlib import Path

import torch
from click.testing import CliRunner

from benchmarks.gpu import main


def test_without_a_gpu_everything_but_what_needs_one_is_measured(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    printed = CliRunner().invoke(
        main, ["--device", "cpu:0", "--no-stack", "--json", str(tmp_path / "gpu.json")], catch_exceptions=False
    )
    torch.set_num_threads(threads)

    assert printed.exit_code == 0
    figures = json.loads((tmp_path / "gpu.json").read_text())
    measured = {(row["model"], row["variant"], row["work"]) for row in figures["rows"]}
    assert ("resnet50", "bf16 channels-last", "decode on the CPU + forward") in measured
    assert ("fashion", "fp32 channels-last", "forward") in measured
    assert figures["stack"] == "not asked for"
    assert all(ratio > 0 for ratio in figures["ratios"])
    assert [each["model"] for each in figures["memory"]] == ["resnet18", "resnet50"]
    assert all(each["weights_mib"] > 20 for each in figures["memory"])
