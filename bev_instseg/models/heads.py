"""The network's channels: the only file that knows their order and how to decode them.

Raw channels of a pillar: C seed logits, 2 offsets (metres), then the logarithm of the precision
matrix in 0, 1, 2 or 3 channels (``fixed``, ``scalar``, ``elliptical``, ``oriented``).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bev_instseg.config import Bandwidth
from bev_instseg.models.norm import Normed

LOG_PRECISION_LIMIT = 8.0  # of each channel; without r that is a margin of 0.02 m to 64 m
ELONGATION_LIMIT = 6.0  # of q: sigmas 400 to 1; from 8 on float32 rounds away the small eigenvalue
_CHANNELS = {"fixed": 0, "scalar": 1, "elliptical": 2, "oriented": 3}


def margin_m(sigma_m: float) -> float:
    """Eq. 6: distance at which phi falls to 0.5, sqrt(-2 sigma^2 ln 0.5), metres."""
    return sigma_m * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Decoded maps at the occupied pillars.

    Attributes:
        seed: (P, C) in 0..1.
        centre_m: (P, 2) embedding e_i = x_i + o_i.
        log_precision: (P, 0..3) what the network predicts; means and variances over an object
            (eq. 9 and 10) are taken in this space.
    """

    seed: Tensor
    centre_m: Tensor
    log_precision: Tensor


def precision_matrix(log_precision: Tensor, fixed_sigma_m: float) -> Tensor:
    """Entries (xx, xy, yy) of the inverse covariance: the matrix exponential of its logarithm.

    With S = [[a, r], [r, b]], m = (a + b) / 2, d = (a - b) / 2 and q = sqrt(d^2 + r^2),
    exp(S) = e^m (cosh q I + sinh q / q [[d, r], [r, -d]]): positive definite for every S, and
    turning the object turns S, so averages over an object (eq. 9) do not depend on its heading.
    Channels beyond LOG_PRECISION_LIMIT and q beyond ELONGATION_LIMIT count as these limits, so that
    the result is finite and positive definite in float32 too.

    Args:
        log_precision: (..., n); n = 0 (fixed), 1: ln(1/sigma^2), 2: one such for x and y,
            3: entries a, r, b of S.
        fixed_sigma_m: sigma for n = 0, metres.

    Returns:
        (..., 3) xx, xy, yy in 1/m^2.
    """
    channels = log_precision.clamp(-LOG_PRECISION_LIMIT, LOG_PRECISION_LIMIT)
    match log_precision.shape[-1]:
        case 0:
            value = torch.full_like(log_precision.sum(-1), fixed_sigma_m**-2)
            return torch.stack([value, torch.zeros_like(value), value], -1)
        case 1:
            value = channels[..., 0].exp()
            return torch.stack([value, torch.zeros_like(value), value], -1)
        case 2:
            xx, yy = channels.exp().unbind(-1)
            return torch.stack([xx, torch.zeros_like(xx), yy], -1)
    a, r, b = channels.unbind(-1)
    mean, d = (a + b) / 2, (a - b) / 2
    q = (d.square() + r.square() + 1e-12).sqrt()
    shrink = (ELONGATION_LIMIT / q).clamp_max(1)
    d, r, q = d * shrink, r * shrink, q * shrink
    scale, ratio = mean.exp(), torch.sinh(q) / q
    return torch.stack(
        [
            scale * (torch.cosh(q) + ratio * d),
            scale * ratio * r,
            scale * (torch.cosh(q) - ratio * d),
        ],
        -1,
    )


class Heads(nn.Module):
    """(P, width) backbone features -> (P, C + 2 + n) raw channels."""

    def __init__(
        self, width: int, num_classes: int, bandwidth: Bandwidth, initial_margin_m: float
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden = Normed(nn.Linear(width, width, bias=False), width)
        num_log_precision = _CHANNELS[bandwidth]
        self.out = nn.Linear(width, num_classes + 2 + num_log_precision)
        start = 2 * math.log(margin_m(1.0) / initial_margin_m)  # ln(1 / sigma^2)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()
            self.out.bias[:num_classes] = -3.0
            diagonal = {0: [], 1: [0], 2: [0, 1], 3: [0, 2]}[num_log_precision]
            self.out.bias[[num_classes + 2 + i for i in diagonal]] = start

    def forward(self, features: Tensor) -> Tensor:
        """Raw channels in float32, whatever the precision of the features."""
        hidden = torch.relu(self.hidden(features))
        with torch.autocast(hidden.device.type, enabled=False):
            return self.out(hidden.float())

    def decode(self, raw: Tensor, centres_m: Tensor) -> Embeddings:
        """Raw channels (P, C + 2 + n) and cell centres (P, 2) -> embeddings."""
        c = self.num_classes
        return Embeddings(raw[:, :c].sigmoid(), centres_m + raw[:, c : c + 2], raw[:, c + 2 :])
