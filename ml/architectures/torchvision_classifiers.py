"""Every image classifier that torchvision can build, as ``torchvision:resnet18``. Source: pytorch/vision, BSD 3-Clause.

Importing torchvision takes seconds and 150 MB, so a process does it when the first such model is built.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from torch import nn

from ml.errors import InvalidSpecError, UnknownArchitectureError
from ml.spec import InputSpec

CHANNELS = 3

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What torchvision's own weights were trained with: per channel, of values 0..1, RGB."""

DEFAULT_SIZE = 224
"""Side in pixels that most of them were designed for."""


def find_classifier(name: str) -> Callable[[Mapping[str, Any], InputSpec, int], nn.Module]:
    """Return the builder of a classifier ``[B, 3, S, S]`` float32, normalised -> ``[B, K]`` logits.

    Raises:
        UnknownArchitectureError: torchvision has no classifier of that name.
    """
    # See the top of the file.
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = ", ".join(f"torchvision:{each}" for each in get_close_matches(name, known) or ["resnet18", "vit_b_16"])
        raise UnknownArchitectureError(f"torchvision has no classifier {name!r}; near it are: {near}.")
    return partial(_build, name)


def _build(name: str, options: Mapping[str, Any], input_spec: InputSpec, n_labels: int) -> nn.Module:
    """Build with fresh weights; ``options`` are the keyword arguments of torchvision's own function.

    Raises:
        InvalidSpecError: The options are not the function's, or the input is no RGB image.
    """
    from torchvision import models

    if input_spec.type != "image" or input_spec.channels != CHANNELS:
        raise InvalidSpecError("input", f"must be an image of {CHANNELS} channels for torchvision:{name}.")
    if {"weights", "progress"} & options.keys():
        raise InvalidSpecError("arch_options", "must not name weights; they come from the model's own file.")
    try:
        keywords = _defaults(name, input_spec.size, n_labels) | dict(options)
        module: nn.Module = models.get_model(name, weights=None, **keywords)
    # Each of these functions checks its arguments in its own way; all mean the same to whoever wrote the options.
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise InvalidSpecError("arch_options", f"torchvision:{name} cannot be built: {error}") from error
    return module


def _defaults(name: str, size: int, n_labels: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"num_classes": n_labels}
    # The only ones whose weights depend on the size of the picture.
    if name.startswith("vit_"):
        defaults["image_size"] = size
    if name.startswith("maxvit"):
        defaults["input_size"] = (size, size)
    # Drawing their fresh weights takes half a minute, and they warn about it.
    if name in {"googlenet", "inception_v3"}:
        defaults["init_weights"] = False
    return defaults
