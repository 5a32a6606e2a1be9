"""resnet18 and the preparation of its photos, as every contestant but our own backend runs them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18

CLASSES = 1000
SIZE = 224
RESIZED = 256
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_MEAN_C11 = torch.tensor(MEAN).view(3, 1, 1)
_STD_C11 = torch.tensor(STD).view(3, 1, 1)


def build(weights: Path) -> nn.Module:
    """Build the network with its weights, on the CPU, ready to answer ``[B, 3, 224, 224]`` -> ``[B, 1000]``."""
    module: nn.Module = resnet18(weights=None, num_classes=CLASSES)
    module.load_state_dict(load_file(weights))
    return module.eval()


def prepare(image: Image.Image) -> Tensor:
    """Scale and cut an RGB photo as torchvision's preset does: ``[3, 224, 224]`` float32, normalised."""
    scale = RESIZED / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    square = resized.crop((left, top, left + SIZE, top + SIZE))
    pixels_chw = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    return (pixels_chw - _MEAN_C11) / _STD_C11
