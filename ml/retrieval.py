"""How well an embedding finds items of the same label: exact search over all items, no index in between.

Shapes: Q queries, N items of the index, E length of an embedding, K neighbours.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ml.bundles import read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, LabelledImages, load_split
from ml.errors import InvalidInputError
from ml.evaluation import PHOTO_LIKE_ITEMS, Encode, encode_png, photo_like_encoder
from ml.predictor import Predictor
from ml.training import EVALUATION_BATCH, forward_all

NEIGHBOURS = 10
"""K of precision at K."""


@dataclass(frozen=True, slots=True)
class RetrievalEvaluation:
    """Shares, 0..1, of neighbours with the label of what was asked.

    Args:
        items: Queries.
        indexed: Items that were searched.
        precision_at_1: Of the nearest neighbour.
        precision_at_10: Of the ten nearest.
        by_label: Precision at 10 of each label's queries; nothing for a label without queries.
    """

    items: int
    indexed: int
    precision_at_1: float
    precision_at_10: float
    by_label: dict[str, float]


def evaluate_fashion_similar(
    model: Path, data: Path = DEFAULT_DIRECTORY, *, photo_like: bool = False, limit: int | None = None
) -> RetrievalEvaluation:
    """Search the training images for the neighbours of the test images, all of them or the first ``limit``.

    Args:
        model: Folder with ``model.json`` and ``weights.safetensors``.
        data: Folder of the data set.
        photo_like: Turn the test images into photos on white first; then ``limit`` is 1,000 unless said.
        limit: Most queries.

    Raises:
        MLError: The model or the data cannot be read.
    """
    predictor = read_bundle(model).build()
    if limit is None and photo_like:
        limit = PHOTO_LIKE_ITEMS
    queries = load_split("test", data).part(0, limit)
    return evaluate_retrieval(
        predictor, load_split("train", data), queries, photo_like_encoder() if photo_like else encode_png
    )


def evaluate_retrieval(
    predictor: Predictor, index: LabelledImages, queries: LabelledImages, encode: Encode = encode_png
) -> RetrievalEvaluation:
    """Encode the queries as files, send them the way of a request, and look up their neighbours among the index.

    Args:
        predictor: Of kind ``similarity``.
        index: Items to search; taken as decoded, which is what their files decode to.
        queries: Items to ask about.
        encode: How a query becomes a file.

    Raises:
        InvalidInputError: An encoded image was refused.
    """
    asked_qe = torch.cat(
        [
            forward_all(predictor, _decode(predictor, [encode(image[0].numpy()) for image in images]))
            for images in torch.split(queries.images, EVALUATION_BATCH)
        ]
    )
    nearest_qk = find_nearest(asked_qe, forward_all(predictor, index.images), NEIGHBOURS)
    right_qk = (index.targets[nearest_qk] == queries.targets.unsqueeze(1)).double()
    by_label = {
        label: float(right_qk[queries.targets == number].mean())
        for number, label in enumerate(predictor.spec.labels)
        if bool((queries.targets == number).any())
    }
    return RetrievalEvaluation(len(queries), len(index), float(right_qk[:, 0].mean()), float(right_qk.mean()), by_label)


def find_nearest(asked_qe: Tensor, index_ne: Tensor, count: int) -> Tensor:
    """Places in the index of the nearest items by Euclidean distance, nearest first, ``[Q, K]`` int64; exact."""
    return torch.cat(
        [
            torch.cdist(part, index_ne).topk(min(count, len(index_ne)), largest=False).indices
            for part in torch.split(asked_qe, EVALUATION_BATCH)
        ]
    )


def _decode(predictor: Predictor, files: list[bytes]) -> Tensor:
    decoded = predictor.decode_batch(files)
    refused = [item for item in decoded if isinstance(item, InvalidInputError)]
    if refused:
        raise refused[0]
    return torch.stack([item for item in decoded if isinstance(item, Tensor)])
