"""The network's output channels; only this file knows their order and how to decode them.

Raw channels of a pillar: C seed logits, 2 offsets (metres), then the logarithm of the precision
matrix in 0, 1, 2 or 3 channels (``fixed``, ``scalar``, ``elliptical``, ``oriented``). Eq. numbers
are those of Neven et al., CVPR 2019.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bev_instseg.config import Bandwidth
from bev_instseg.models.norm import NormedLayer

LOG_PRECISION_LIMIT = 8.0  # of each channel: a margin of 0.02 m to 64 m where r = 0
ELONGATION_LIMIT = 6.0  # of q: sigmas 400 to 1; from 8 on, float32 loses the small eigenvalue
_NUM_LOG_PRECISION = {"fixed": 0, "scalar": 1, "elliptical": 2, "oriented": 3}


def margin_m(sigma_m: float) -> float:
    """Return the margin of eq. 6, the distance at which phi falls to 0.5: sqrt(-2 sigma^2 ln 0.5).

    Args:
        sigma_m: The clustering bandwidth, metres.

    Returns:
        Metres.
    """
    return sigma_m * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Decoded channels of P pillars as the losses need them; clustering uses `PillarEmbeddings`.

    Attributes:
        seed: (P, C) seed maps, 0..1.
        centre_m: (P, 2) embedding e_i = x_i + o_i, metres.
        log_precision: (P, 0..3) logarithm of the precision matrix, as the network predicts it;
            means and variances over an object (eq. 9 and 10) are computed in this space.
    """

    seed: Tensor
    centre_m: Tensor
    log_precision: Tensor


def precision_matrix(log_precision: Tensor, fixed_sigma_m: float) -> Tensor:
    """Return the precision matrix, the inverse covariance: the matrix exponential of its logarithm.

    It takes the place of 1 / sigma^2 in eq. 5 and 7. With S = [[a, r], [r, b]], m = (a + b) / 2,
    d = (a - b) / 2 and q = sqrt(d^2 + r^2), exp(S) = e^m (cosh q I + sinh q / q [[d, r], [r, -d]]).
    It is positive definite for every S, and S rotates with the object, so means over an object
    (eq. 9) do not depend on its heading.
    Channels are clipped to LOG_PRECISION_LIMIT and q to ELONGATION_LIMIT, which keeps the result
    finite and positive definite in float32 as well.

    Args:
        log_precision: (..., n) channels. n = 0: fixed; 1: ln(1/sigma^2); 2: ln(1/sigma^2) along x
            and y; 3: entries a, r, b of S.
        fixed_sigma_m: Sigma for n = 0, metres.

    Returns:
        (..., 3) entries xx, xy, yy of the matrix, 1/m^2.
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
    """From (P, width) backbone features to (P, C + 2 + n) raw channels.

    Attributes:
        num_classes: The number of seed maps, C.
    """

    def __init__(
        self, width: int, num_classes: int, bandwidth: Bandwidth, initial_margin_m: float
    ) -> None:
        """Initialise the output so that seeds are low, offsets 0 and margins as given.

        Args:
            width: Channels of the backbone features.
            num_classes: The number of seed maps, C.
            bandwidth: How the precision matrix is parameterised, which sets n.
            initial_margin_m: Distance at which phi = 0.5 before training, metres.
        """
        super().__init__()
        self.num_classes = num_classes
        self.hidden = NormedLayer(nn.Linear(width, width, bias=False), width)
        num_log_precision = _NUM_LOG_PRECISION[bandwidth]
        self.out = nn.Linear(width, num_classes + 2 + num_log_precision)
        initial = 2 * math.log(margin_m(1.0) / initial_margin_m)  # ln(1 / sigma^2)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()
            self.out.bias[:num_classes] = -3.0
            diagonal = {0: [], 1: [0], 2: [0, 1], 3: [0, 2]}[num_log_precision]
            self.out.bias[[num_classes + 2 + i for i in diagonal]] = initial

    def forward(self, features: Tensor) -> Tensor:
        """Return raw channels, always in float32.

        Args:
            features: (P, width) backbone features of any floating-point type.

        Returns:
            (P, C + 2 + n) float32.
        """
        hidden = torch.relu(self.hidden(features))
        with torch.autocast(hidden.device.type, enabled=False):
            raw: Tensor = self.out(hidden.float())
        return raw

    def start_from(self, trained: "Heads", seed_from: Sequence[int | None]) -> None:
        """Copy the weights of trained heads that may have other classes.

        Args:
            trained: Heads of the same width and bandwidth.
            seed_from: The index of each class in ``trained``; None leaves its seed map untrained.
        """
        self.hidden.load_state_dict(trained.hidden.state_dict())
        kept = [(new, old) for new, old in enumerate(seed_from) if old is not None]
        others = self.out.out_features - self.num_classes
        kept += [(self.num_classes + i, trained.num_classes + i) for i in range(others)]
        new, old = (list(rows) for rows in zip(*kept, strict=True))
        with torch.no_grad():
            self.out.weight[new] = trained.out.weight[old]
            self.out.bias[new] = trained.out.bias[old]

    def decode(self, raw: Tensor, centres_m: Tensor) -> Embeddings:
        """Decode raw channels.

        Args:
            raw: (P, C + 2 + n) raw channels.
            centres_m: (P, 2) centres of the pillars' cells, metres.

        Returns:
            The embeddings of the P pillars.
        """
        c = self.num_classes
        return Embeddings(raw[:, :c].sigmoid(), centres_m + raw[:, c : c + 2], raw[:, c + 2 :])
