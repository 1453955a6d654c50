"""Linear layers over pillars, whose number differs from sweep to sweep."""

import torch
from torch import Tensor, nn

STEP_ROWS = 512


def padding(x: Tensor) -> int:
    """Return how many rows `linear` adds to its input.

    oneDNN, which multiplies bfloat16 on a CPU, compiles about 0.8 MB of code for each number of
    rows that it meets and keeps the last 1,024 of them. Steps leave it a few dozen.

    Args:
        x: (P, C) features.
    """
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or torch.is_grad_enabled():
        return 0
    return -len(x) % STEP_ROWS


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear layer to each row; where it helps, on a number of rows rounded up.

    The result does not depend on the rounding, to the last bit.

    Args:
        x: (P, C) features.
        weight: (out, C).
        bias: (out,) or None.

    Returns:
        (P, out).
    """
    if rows := padding(x):
        padded = nn.functional.pad(x, (0, 0, 0, rows))
        return nn.functional.linear(padded, weight, bias)[: len(x)]
    return nn.functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear` on (P, C) features by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (P, out) features.

        Args:
            x: (P, C) features.
        """
        return linear(x, self.weight, self.bias)
