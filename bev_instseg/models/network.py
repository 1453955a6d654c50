"""The network: pillar features, backbone and heads."""

import copy
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bev_instseg.config import Config
from bev_instseg.models.backbone import Backbone
from bev_instseg.models.heads import Embeddings, Heads, precision_matrix
from bev_instseg.models.norm import NormedLayer
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.pillar_features import PillarFeatures
from bev_instseg.models.sparse import SparseBackend, SubmanifoldConv
from bev_instseg.structures import Float32, PillarEmbeddings


class BEVNet(nn.Module):
    """Predicts the seed, offset and bandwidth of every occupied pillar.

    Attributes:
        fixed_sigma_m: Bandwidth of a network that does not learn it, metres.
        sparse_levels: Number of levels that are computed at occupied cells only.
        pillar_features: From raw statistics to features.
        backbone: From features to features with context.
        heads: From features to raw channels, and their decoding.
    """

    def __init__(self, config: Config) -> None:
        """Build the network with random weights.

        Args:
            config: Configuration of the model, the grid and the classes.
        """
        super().__init__()
        model = config.model
        self.fixed_sigma_m = model.fixed_sigma_m
        self.sparse_levels = model.sparse_levels
        self.pillar_features = PillarFeatures(model.widths[0], config.grid.cell_m)
        self.backbone = Backbone(model.widths, model.blocks, model.sparse_levels)
        self.heads = Heads(
            self.backbone.width, len(config.classes), model.bandwidth, model.initial_margin_m
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: PillarBatch) -> Embeddings:
        """Return the embeddings of the P pillars of a batch, in its order.

        Args:
            batch: Pillars of one or several sweeps.
        """
        return self.embeddings(self.features(batch), batch.centres_m)

    def features(self, batch: PillarBatch) -> Tensor:
        """Return (P, width) features with context.

        Args:
            batch: Pillars of one or several sweeps.
        """
        features: Tensor = self.backbone(self.pillar_features(batch.features), batch.pyramid)
        return features

    def embeddings(self, features: Tensor, centres_m: Tensor) -> Embeddings:
        """Return the embeddings of P pillars, given what `features` returned for them.

        Args:
            features: (P, width) features with context.
            centres_m: (P, 2) centres of the pillars' cells, metres.
        """
        return self.heads.decode(self.heads(features), centres_m)

    def start_from(self, trained: "BEVNet", seed_from: Sequence[int | None]) -> None:
        """Copy the weights of a trained network that may have other classes and fewer blocks.

        Args:
            trained: A network of the same ``model`` configuration, but for the blocks; it has as
                many or fewer of them at each level.
            seed_from: The index of each class in ``trained``; None leaves its seed map untrained.
        """
        self.pillar_features.load_state_dict(trained.pillar_features.state_dict())
        self.backbone.start_from(trained.backbone)
        self.heads.start_from(trained.heads, seed_from)

    def folded(self, dtype: torch.dtype) -> "BEVNet":
        """Return a copy for inference only, with batch norms folded into the preceding weights.

        Args:
            dtype: Type of the copy's weights. The last layer, whose offsets are metres, stays
                float32.
        """
        copied = copy.deepcopy(self).eval()
        for module in copied.modules():
            if isinstance(module, NormedLayer):
                module.fold()
            if isinstance(module, SubmanifoldConv):
                module.weight = nn.Parameter(module.weight.flatten(1))
        for part in (copied.pillar_features, copied.backbone, copied.heads.hidden):
            part.to(dtype)
        return copied.requires_grad_(False)

    def set_sparse_backend(self, backend: SparseBackend) -> None:
        """Choose the library for the sparse convolutions; the weights stay the same.

        Args:
            backend: ``torch`` or ``spconv``.
        """
        for module in self.modules():
            if isinstance(module, SubmanifoldConv):
                module.backend = backend

    def predict(self, batch: PillarBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return `PillarEmbeddings` as tensors: (P, 2) centres, (P, 3) precisions, (P, C) seeds.

        Args:
            batch: Pillars of one or several sweeps.
        """
        embeddings = self(batch)
        precision = precision_matrix(embeddings.log_precision, self.fixed_sigma_m)
        return embeddings.centre_m.float(), precision.float(), embeddings.seed.float()

    def outputs(self, batch: PillarBatch) -> Tensor:
        """Return what `predict` returns, side by side: (P, 2 + 3 + C) float32.

        Args:
            batch: Pillars of one or several sweeps.
        """
        return torch.cat(self.predict(batch), 1)

    @torch.inference_mode()
    def infer(self, batch: PillarBatch) -> PillarEmbeddings:
        """Return embeddings as NumPy arrays, ready for clustering. Call in evaluation mode.

        Synchronises with a GPU only once, when all results are copied back together.

        Args:
            batch: Pillars of one or several sweeps.
        """
        return split_outputs(self.outputs(batch).cpu().numpy())


def split_outputs(outputs: Float32) -> PillarEmbeddings:
    """Return the embeddings in what `BEVNet.outputs` returned, once copied to NumPy.

    Args:
        outputs: (P, 2 + 3 + C) centres, precisions and seeds.
    """
    return PillarEmbeddings(outputs[:, :2], outputs[:, 2:5], outputs[:, 5:])


def native_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device multiplies it in hardware, else float32, which is then faster.

    ``ONEDNN_MAX_CPU_ISA`` and ``ATEN_CPU_CAPABILITY`` are respected. If they exclude the
    instructions for bfloat16, it is float32: PyTorch would emulate bfloat16, ten times slower.

    Args:
        device: The device that the network runs on.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        has_bf16 = bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16"))
        isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
        allowed = isa in ("ALL", "DEFAULT") or "BF16" in isa or "AMX" in isa
        has_bf16 &= allowed and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.bfloat16 if has_bf16 else torch.float32
