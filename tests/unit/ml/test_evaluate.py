import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ml.bundles import BUNDLED_DIRECTORY
from ml.datasets.fashion_mnist import LABELS, LabelledImages
from ml.errors import InvalidInputError
from ml.evaluate import main
from ml.evaluation import evaluate
from ml.evaluations.evaluation import EvaluationOptions
from ml.evaluations.fashion import evaluate_fashion
from ml.predictor import Predictor


def test_every_item_and_every_label_is_counted(tiny_fashion: Path) -> None:
    measured = evaluate_fashion(EvaluationOptions(model=BUNDLED_DIRECTORY / "fashion", data=tiny_fashion)).measured
    assert measured["items"] == 48
    assert 0 <= measured["accuracy"] <= 1
    assert list(measured["by_label"]) == list(LABELS)


def test_a_label_without_items_is_left_out(fashion: Predictor) -> None:
    data = LabelledImages(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([5, 5]))
    assert list(evaluate(fashion, data).by_label) == ["Sandal"]


def test_the_accuracy_is_the_share_of_right_answers(fashion: Predictor) -> None:
    images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    answer = int(fashion.forward(images[:1]).argmax())
    data = LabelledImages(images, torch.tensor([answer, answer, answer, (answer + 1) % 10]))
    assert evaluate(fashion, data).accuracy == 0.75


def test_an_image_that_is_refused_ends_the_evaluation(fashion: Predictor) -> None:
    data = LabelledImages(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.tensor([0]))
    with pytest.raises(InvalidInputError):
        evaluate(fashion, data, lambda _: b"")


def test_the_command_prints_json(tiny_fashion: Path) -> None:
    arguments = ["fashion", "--data", str(tiny_fashion), "--photo-like", "--limit", "3", "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert json.loads(result.output)["items"] == 3


def test_the_command_prints_a_table(tiny_fashion: Path) -> None:
    result = CliRunner().invoke(main, ["fashion", "--data", str(tiny_fashion), "--limit", "20"])
    assert result.exit_code == 0
    assert "Ankle boot" in result.output


def test_the_command_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fashion", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
