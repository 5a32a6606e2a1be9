"""The first step of every forward: to the device, and for images from bytes to what the network was trained on.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

from ml.spec import InputSpec

MAX_PIXEL = 255.0


class Normalisation:
    """``[B, C, H, W]`` uint8 or float32, 0..255 -> float32, normalised; anything but an image stays as it is.

    Args:
        spec: Has the mean and the standard deviation of each channel.
        device: Where the batch goes.
    """

    def __init__(self, spec: InputSpec, device: torch.device) -> None:
        self._is_image = spec.type == "image"
        self._device = device
        # Folded with the scaling to 0..1, so that normalising a batch is one subtraction and one division.
        self._mean = torch.tensor(spec.mean, device=device).view(-1, 1, 1) * MAX_PIXEL
        self._std = torch.tensor(spec.std, device=device).view(-1, 1, 1) * MAX_PIXEL

    def __call__(self, batch: Tensor) -> Tensor:
        """See the class."""
        # Images travel to the device as bytes, a quarter of the size of floats, and are normalised there.
        batch = batch.to(self._device, non_blocking=True)
        return (batch.float() - self._mean) / self._std if self._is_image else batch
