"""Weights carried over to a network with fewer dense levels."""

import dataclasses

import numpy as np
import pytest
import torch
from test_gpu_scripts import load_script
from test_models import CONFIG, GRID, randomise_norms, sweep

from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch

script = load_script("sparser_weights")


@pytest.mark.parametrize("dense_levels", [1, 2])
def test_on_a_full_grid_nothing_changes(dense_levels: int) -> None:
    """Where all cells are occupied, and strided kernels see nothing beyond the own quarters."""
    torch.manual_seed(0)
    old = BEVNet(CONFIG).eval()
    randomise_norms(old)
    with torch.no_grad():
        for down in old.backbone.dense_down:
            down.layer.weight[:, :, 0] = 0
            down.layer.weight[:, :, :, 0] = 0
    new, config = script.with_dense_levels(old, CONFIG, dense_levels)
    assert config.model == dataclasses.replace(CONFIG.model, dense_levels=dense_levels)
    nx, ny = GRID.shape
    pillars = [sweep(0, nx * ny)]
    one, other = (
        network.infer(PillarBatch.from_pillars(pillars, network.sparse_levels))
        for network in (old, new)
    )
    for part in ("centre_m", "precision", "seed"):
        np.testing.assert_allclose(getattr(other, part), getattr(one, part), rtol=1e-4, atol=1e-6)
    assert one.seed.std() > 1e-4


def test_more_dense_levels_are_refused() -> None:
    with pytest.raises(SystemExit, match="it has 3 dense levels; give fewer"):
        script.with_dense_levels(BEVNet(CONFIG), CONFIG, 3)
