"""Try a model on a few items before anybody depends on it.

Shapes: B batch; ``...`` the item's own shape.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ml.errors import MLError, ModelLoadError, NonFiniteOutputError
from ml.inputs import blank_item
from ml.predictor import Predictor, Result, describe_item

SEED = 0

NOISE_ITEMS = 2

TOLERANCE = 1e-2
"""Largest difference, relative to the largest output, between an item alone and in a batch. Other kernels for another
size of batch change the sixth digit; a normalisation over the batch changes the first."""


def try_model(predictor: Predictor, sample: Tensor | None = None) -> Result:
    """Ask a model about a blank item, about noise, and about a sample, together and one by one.

    Args:
        predictor: The model, ready to answer.
        sample: An item as ``Predictor.decode`` gives it.

    Returns:
        The result for the sample; without one, for the blank item.

    Raises:
        ModelLoadError: It fails, its outputs are not what its kind needs, or an item's output depends on the others.
        MLError: What the network itself raises on purpose.
    """
    blank = blank_item(predictor.spec.input)
    items = [blank if sample is None else sample, *_noise_like(blank)]
    with torch.inference_mode():
        outputs = _forward(predictor, items)
        _check_independent(predictor, items, outputs)
        results = _encode(predictor, outputs)
    for result in results:
        if isinstance(result, NonFiniteOutputError):
            raise ModelLoadError(f"The model answers NaN or infinity when tried. {result}") from result
    first = results[0]
    assert not isinstance(first, NonFiniteOutputError)
    return first


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _noise_like(blank: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    if blank.dtype == torch.uint8:
        return [torch.randint(0, 256, blank.shape, generator=generator).to(torch.uint8) for _ in range(NOISE_ITEMS)]
    return [torch.rand(blank.shape, generator=generator).to(blank.dtype) for _ in range(NOISE_ITEMS)]


def _forward(predictor: Predictor, items: Sequence[Tensor]) -> Tensor:
    try:
        outputs = predictor.forward(torch.stack(list(items)))
    except MLError:
        raise
    # Somebody's network may fail in any way.
    except Exception as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise ModelLoadError(f"The model fails when tried: {reason}") from error
    if not isinstance(outputs, Tensor) or outputs.dim() == 0 or len(outputs) != len(items):
        found = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelLoadError(f"For {len(items)} items the network gives {found}, not one output an item.")
    predictor.check_outputs(outputs)
    return outputs


def _encode(predictor: Predictor, outputs: Tensor) -> list[Result | NonFiniteOutputError]:
    try:
        return predictor.encode_batch(outputs)
    except MLError:
        raise
    # A kind may be anybody's, and say nothing of what it needs.
    except Exception as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise ModelLoadError(f"Outputs of {describe_item(outputs)} an item make no result: {reason}") from error


def _check_independent(predictor: Predictor, items: Sequence[Tensor], outputs: Tensor) -> None:
    alone = torch.cat([_forward(predictor, [item]) for item in items])
    limit = TOLERANCE * max(1.0, float(outputs.abs().max()))
    # Written so that NaN, which the results will name, passes here.
    if bool(((alone - outputs).abs() > limit).any()):
        raise ModelLoadError(
            "The output for an item changes with the others of its batch, or from one call to the next: the model was "
            "exported while it was training. Call eval() on it and export it again."
        )
