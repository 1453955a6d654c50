"""The network: pillar features -> backbone -> heads."""

import copy

import torch
from torch import nn

from bev_instseg.config import Config
from bev_instseg.models.backbone import Backbone
from bev_instseg.models.heads import Embeddings, Heads, precision_matrix
from bev_instseg.models.norm import Normed
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.pillar_features import PillarFeatures
from bev_instseg.models.sparse import SparseBackend, SubmanifoldConv
from bev_instseg.structures import PillarEmbeddings


class BEVNet(nn.Module):
    """Seed, offset and bandwidth of every occupied pillar."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.fixed_sigma_m = model.fixed_sigma_m
        self.pillar_features = PillarFeatures(model.widths[0], config.grid.cell_m)
        self.backbone = Backbone(model.widths, model.blocks)
        self.heads = Heads(
            self.backbone.width, len(config.classes), model.bandwidth, model.initial_margin_m
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: PillarBatch) -> Embeddings:
        """Embeddings of the (P,) pillars of a batch, in its order."""
        features = self.pillar_features(batch.features)
        features = self.backbone(features, batch.pyramid)
        return self.heads.decode(self.heads(features), batch.centres_m)

    def folded(self, dtype: torch.dtype) -> "BEVNet":
        """A copy for inference alone: batch norms in the weights before them, in this precision.

        The last layer, whose offsets are metres, stays float32.
        """
        copied = copy.deepcopy(self).eval()
        for module in copied.modules():
            if isinstance(module, Normed):
                module.fold()
        for part in (copied.pillar_features, copied.backbone, copied.heads.hidden):
            part.to(dtype)
        return copied.requires_grad_(False)

    def set_sparse_backend(self, backend: SparseBackend) -> None:
        """Choose the library for the sparse convolutions; the weights stay the same."""
        for module in self.modules():
            if isinstance(module, SubmanifoldConv):
                module.backend = backend

    @torch.inference_mode()
    def infer(self, batch: PillarBatch) -> PillarEmbeddings:
        """Embeddings as NumPy arrays, ready to be clustered. Call in evaluation mode.

        Nothing waits for a GPU until the results come back, in one piece.
        """
        embeddings = self(batch)
        precision = precision_matrix(embeddings.log_precision, self.fixed_sigma_m)
        parts = (embeddings.centre_m, precision, embeddings.seed)
        together = torch.cat([part.float() for part in parts], 1).cpu().numpy()
        return PillarEmbeddings(together[:, :2], together[:, 2:5], together[:, 5:])


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it itself; where it does not, float32 is faster."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        has_bf16 = bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return torch.bfloat16 if has_bf16 else torch.float32
