"""resnet18 and the preparation of its photos, as every contestant but our own backend runs them."""

from pathlib import Path

from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

CLASSES = 1000
SIZE = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

#: Nothing is downloaded: the weights only name what they are used with.
_PRESET = ResNet18_Weights.IMAGENET1K_V1.transforms()


def build(weights: Path) -> nn.Module:
    """Build the network with its weights, on the CPU, ready to answer ``[B, 3, 224, 224]`` -> ``[B, 1000]``."""
    module: nn.Module = resnet18(weights=None, num_classes=CLASSES)
    module.load_state_dict(load_file(weights))
    return module.eval()


def prepare(image: Image.Image) -> Tensor:
    """Scale and cut an RGB photo by torchvision's preset: ``[3, 224, 224]`` float32, normalised."""
    prepared: Tensor = _PRESET(image)
    return prepared
