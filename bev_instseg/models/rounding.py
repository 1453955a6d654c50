"""Points of the network where an 8-bit copy rounds its activations."""

import torch
from torch import Tensor, nn

LEVELS = 256


class Rounding(nn.Module):
    """Passes non-negative activations on; in an 8-bit network, rounded to 256 levels from 0.

    Attributes:
        step: Distance between two levels; 0 passes everything on as it is.
    """

    step: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return activations of the same shape.

        Args:
            x: Activations, 0 or more.
        """
        if not self.step:
            return x
        return torch.fake_quantize_per_tensor_affine(x, self.step, 0, 0, LEVELS - 1)
