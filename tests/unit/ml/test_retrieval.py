from pathlib import Path

import numpy as np
import pytest
import torch

from ml.bundles import write_bundle
from ml.datasets.fashion_mnist import LABELS, LabelledImages
from ml.evaluations.evaluation import EvaluationOptions
from ml.evaluations.fashion_similar import evaluate_fashion_similar
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.fashion_similar import CONFIG
from ml.retrieval import evaluate_retrieval, find_nearest
from ml.spec import ModelSpec


@pytest.fixture
def embedder() -> Predictor:
    config = {**CONFIG, "arch_options": {"widths": [2, 4, 8], "embedding_size": 4}}
    predictor = build_untrained(ModelSpec.from_config("m", 1, config), "cpu")
    predictor.module.eval()
    return predictor


def _noise(count: int) -> torch.Tensor:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 28, 28))
    # Black corners, so that no image is taken for a photo on a light background and negated.
    images[:, :, :2], images[:, :, -2:] = 0, 0
    return torch.from_numpy(images.astype(np.uint8))


def test_the_nearest_come_first() -> None:
    index = torch.tensor([[5.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert find_nearest(torch.zeros(1, 2), index, 2).tolist() == [[1, 2]]


def test_an_index_smaller_than_asked_is_found_whole() -> None:
    assert find_nearest(torch.zeros(2, 2), torch.ones(3, 2), 10).shape == (2, 3)


def test_images_find_themselves(embedder: Predictor) -> None:
    images = LabelledImages(_noise(20), torch.arange(20) % 10)
    evaluation = evaluate_retrieval(embedder, images, images)
    assert (evaluation.items, evaluation.indexed) == (20, 20)
    assert evaluation.precision_at_1 == 1.0
    assert set(evaluation.by_label) == set(LABELS)


def test_precision_is_the_share_of_neighbours_with_the_right_label(embedder: Predictor) -> None:
    index = LabelledImages(_noise(10), torch.tensor([0] * 4 + [1] * 6))
    queries = LabelledImages(_noise(2), torch.tensor([0, 1]))
    evaluation = evaluate_retrieval(embedder, index, queries)
    assert evaluation.precision_at_10 == pytest.approx(0.5)
    assert evaluation.by_label == pytest.approx({"T-shirt/top": 0.4, "Trouser": 0.6})


def test_a_folder_is_evaluated_on_the_test_images(embedder: Predictor, tiny_fashion: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", embedder, dict(CONFIG, arch_options=embedder.spec.arch_options), {}, "# m\n")
    for photo_like in (False, True):
        evaluation = evaluate_fashion_similar(
            EvaluationOptions(model=tmp_path / "model", data=tiny_fashion, photo_like=photo_like, limit=12)
        )
        assert (evaluation.measured["items"], evaluation.measured["indexed"]) == (12, 48)
