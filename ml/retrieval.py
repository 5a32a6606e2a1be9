"""How well an embedding finds items of the same label: exact search over all items, no index in between.

Shapes: Q queries, N items of the index, E length of an embedding, K neighbours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ml.datasets.fashion_mnist import LabelledImages
from ml.errors import InvalidInputError
from ml.evaluation import Encode, encode_png
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
    right_qk = _right(predictor, index, queries, encode)
    by_label = {
        label: float(right_qk[queries.targets == number].mean())
        for number, label in enumerate(predictor.spec.labels)
        if bool((queries.targets == number).any())
    }
    return RetrievalEvaluation(len(queries), len(index), float(right_qk[:, 0].mean()), float(right_qk.mean()), by_label)


def score_retrieval(predictor: Predictor, index: LabelledImages, queries: LabelledImages) -> list[float]:
    """Precision at 10 of each query, 0..1; arguments as of ``evaluate_retrieval``.

    Raises:
        InvalidInputError: An encoded image was refused.
    """
    return _right(predictor, index, queries, encode_png).mean(dim=1).tolist()


def find_nearest(asked_qe: Tensor, index_ne: Tensor, count: int) -> Tensor:
    """Places in the index of the nearest items by Euclidean distance, nearest first, ``[Q, K]`` int64; exact."""
    return torch.cat(
        [
            torch.cdist(part, index_ne).topk(min(count, len(index_ne)), largest=False).indices
            for part in torch.split(asked_qe, EVALUATION_BATCH)
        ]
    )


def _right(predictor: Predictor, index: LabelledImages, queries: LabelledImages, encode: Encode) -> Tensor:
    """Which neighbours have the label of what was asked, ``[Q, K]`` float64, 0 or 1."""
    asked_qe = torch.cat(
        [
            forward_all(predictor, _decode(predictor, [encode(image[0].numpy()) for image in images]))
            for images in torch.split(queries.images, EVALUATION_BATCH)
        ]
    )
    nearest_qk = find_nearest(asked_qe, forward_all(predictor, index.images), NEIGHBOURS)
    return (index.targets[nearest_qk] == queries.targets.unsqueeze(1)).double()


def _decode(predictor: Predictor, files: list[bytes]) -> Tensor:
    decoded = predictor.decode_batch(files)
    refused = [item for item in decoded if isinstance(item, InvalidInputError)]
    if refused:
        raise refused[0]
    return torch.stack([item for item in decoded if isinstance(item, Tensor)])
