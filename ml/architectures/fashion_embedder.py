"""The body of ``fashion-cnn`` with a head that places garments in a space instead of naming them.

Shapes: B batch, C channels, H height, W width, E length of an embedding.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ml.architectures.fashion_cnn import build_fashion_cnn
from ml.errors import InvalidSpecError
from ml.spec import InputSpec

MIN_EMBEDDING_SIZE = 2

MAX_EMBEDDING_SIZE = 2_000
"""What one index of neighbours can hold."""


def build_fashion_embedder(options: Mapping[str, Any], input_spec: InputSpec, _n_labels: int) -> nn.Module:
    """Build a ``FashionCNN`` with ``embedding_size`` outputs: ``[B, C, H, W]`` float32, normalised -> ``[B, E]``.

    Its ``features`` have the same names and shapes as those of ``fashion-cnn``, so that one may begin with the
    weights of the other. Option ``widths`` as there.

    Raises:
        InvalidSpecError: An option is missing or wrong, or the input is no image.
    """
    size = options.get("embedding_size")
    if type(size) is not int or not MIN_EMBEDDING_SIZE <= size <= MAX_EMBEDDING_SIZE:
        raise InvalidSpecError(
            "arch_options.embedding_size", f"must be a whole number from {MIN_EMBEDDING_SIZE} to {MAX_EMBEDDING_SIZE}."
        )
    return build_fashion_cnn(options, input_spec, size)
