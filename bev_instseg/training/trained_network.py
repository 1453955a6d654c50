"""The network in training, with a layer that is not saved with the weights."""

from torch import Tensor, nn

from bev_instseg.config import Config
from bev_instseg.datasets.background import KINDS
from bev_instseg.models.heads import Embeddings
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch


class TrainedNetwork(nn.Module):
    """A network and, for the semantic loss, a layer that predicts what stands in each pillar.

    Attributes:
        model: The network.
        kinds: From features to a logit for each kind of background, then for each class; empty
            without a semantic loss.
    """

    def __init__(self, model: BEVNet, config: Config) -> None:
        """Draw random weights for the layer.

        Args:
            model: The network.
            config: Classes, and whether there is a semantic loss.
        """
        super().__init__()
        self.model = model
        self.kinds = nn.Sequential()
        if config.loss.semantic_weight:
            self.kinds.append(nn.Linear(model.backbone.width, len(KINDS) + len(config.classes)))

    def forward(self, batch: PillarBatch) -> tuple[Embeddings, Tensor | None]:
        """Return the embeddings of the P pillars of a batch and (P, B + C) logits, if any.

        Args:
            batch: Pillars of one or several sweeps.
        """
        features = self.model.features(batch)
        logits = self.kinds(features) if len(self.kinds) else None
        return self.model.embeddings(features, batch.centres_m), logits
