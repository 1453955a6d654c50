"""Properties that hold for any sweep: order, place, duplicates, batches and threads.

Coordinates here are multiples of 1/64 m on cells of 1/2 m, so that shifts and sums are exact.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import STREETS, street
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bev_instseg.config import Config
from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.ground import TILE_CELLS
from bev_instseg.ops.voxelize import FEATURES, voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import PillarEmbeddings, Pillars

Points = NDArray[np.float32]
GRID = BEVGrid((-32.0, 32.0), (-32.0, 32.0), (-4.0, 4.0), 0.5)  # 128 x 128 cells
STEP_M = 1 / 64
RANGE = FEATURES.index("range_m")
MEANS = [FEATURES.index(name) for name in FEATURES if name.endswith(("mean", "mean_m", "std_m"))]
EXACT = [k for k in range(len(FEATURES)) if k not in MEANS]
# The same examples on every run; compiling a kernel at the first one takes seconds.
FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FEWER = settings(FEW, max_examples=8)  # with a network
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 3000)


def sweep_of(seed: int, size: int, reach_m: float = 24.0) -> Points:
    """(N, 4) points in clumps, some at the same place, with few distinct intensities."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-reach_m, reach_m, (20, 2))[rng.integers(20, size=size)]
    xy = np.clip(middle + rng.normal(0, 1, (size, 2)), -reach_m, reach_m)
    z = rng.uniform(-2, 2, size)
    steps = np.rint(np.column_stack([xy, z]) / STEP_M)
    return np.column_stack([steps * STEP_M, rng.integers(5, size=size) / 4]).astype(np.float32)


def embeddings_of(seed: int, size: int) -> PillarEmbeddings:
    rng = np.random.default_rng(seed)
    centre = np.rint(rng.uniform(-20, 20, (size, 2)) / STEP_M) * STEP_M
    spread = rng.uniform(0.2, 9, (size, 2))
    precision = np.column_stack([spread[:, 0], rng.uniform(-0.1, 0.1, size), spread[:, 1]])
    seed_map = rng.random((size, 3))
    return PillarEmbeddings(*(part.astype(np.float32) for part in (centre, precision, seed_map)))


def segmenter_of(config: Config) -> Segmenter:
    """A segmenter that finds something everywhere."""
    torch.manual_seed(0)
    model = BEVNet(config)
    with torch.no_grad():
        model.heads.out.bias[: len(config.classes)] = 2.0
    return Segmenter(model, config, "cpu")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    from conftest import make_tiny_config

    return segmenter_of(dataclasses.replace(make_tiny_config(), grid=GRID))


# The order of the points


@FEW
@given(seed=seeds, size=sizes)
def test_the_order_of_the_points_does_not_change_the_pillars(seed: int, size: int) -> None:
    points = sweep_of(seed, size)
    order = np.random.default_rng(seed).permutation(size)
    one, other = voxelize(points, GRID), voxelize(points[order], GRID)
    assert np.array_equal(one.cells, other.cells)
    assert np.array_equal(one.point_to_pillar[order], other.point_to_pillar)
    assert np.array_equal(one.point_height_m[order], other.point_height_m)
    assert np.array_equal(one.features[:, EXACT], other.features[:, EXACT])
    # Sums follow the order of the points; the last bits of means may differ.
    assert np.allclose(one.features[:, MEANS], other.features[:, MEANS], rtol=1e-6, atol=1e-6)


@FEWER
@given(seed=seeds)
def test_the_order_of_the_points_does_not_change_the_instances(
    segmenter: Segmenter, seed: int
) -> None:
    points = sweep_of(seed, 3000)
    order = np.random.default_rng(seed).permutation(len(points))
    one, other = segmenter.segment(points), segmenter.segment(points[order])
    assert len(one) == len(other) > 0
    assert (one.labels[order] == other.labels).mean() > 0.99
    assert np.allclose(one.scores, other.scores, atol=1e-2)


# Moving by whole cells


@FEW
@given(seed=seeds, size=sizes, tiles=st.tuples(st.integers(-2, 2), st.integers(-2, 2)))
def test_a_sweep_moved_by_whole_tiles_of_the_ground_has_the_same_pillars(
    seed: int, size: int, tiles: tuple[int, int]
) -> None:
    dx, dy = (TILE_CELLS * tile for tile in tiles)
    points = sweep_of(seed, size, reach_m=22)
    moved = points + np.float32([dx * GRID.cell_m, dy * GRID.cell_m, 0, 0])
    here, there = voxelize(points, GRID), voxelize(moved, GRID)
    assert np.array_equal(here.cells + dx * GRID.shape[1] + dy, there.cells)
    assert np.array_equal(here.point_to_pillar, there.point_to_pillar)
    same = [k for k in range(len(FEATURES)) if k != RANGE]
    assert np.array_equal(here.features[:, same], there.features[:, same])


@FEW
@given(seed=seeds, size=sizes, cells=st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_a_sweep_moved_by_whole_cells_has_its_points_in_the_same_pillars(
    seed: int, size: int, cells: tuple[int, int]
) -> None:
    points = sweep_of(seed, size)
    moved = points + np.float32([*(GRID.cell_m * n for n in cells), 0, 0])
    here, there = voxelize(points, GRID), voxelize(moved, GRID)
    assert np.array_equal(here.cells + cells[0] * GRID.shape[1] + cells[1], there.cells)
    assert np.array_equal(here.point_to_pillar, there.point_to_pillar)


@FEW
@given(seed=seeds, size=st.integers(0, 400), step=st.integers(-200, 200))
def test_moved_embeddings_form_the_same_clusters(seed: int, size: int, step: int) -> None:
    here = embeddings_of(seed, size)
    there = dataclasses.replace(here, centre_m=here.centre_m + np.float32(step * STEP_M))
    one, other = cluster(here, 0.7, 0.2, 0.5), cluster(there, 0.7, 0.2, 0.5)
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.scores, other.scores)


@FEWER
@given(seed=seeds, steps=st.tuples(st.integers(-1, 1), st.integers(-1, 1)))
def test_the_network_moves_with_the_pillars_by_its_stride(
    segmenter: Segmenter, seed: int, steps: tuple[int, int]
) -> None:
    """All but the range, which says where the sensor is, and the border, which is seen."""
    stride = segmenter.config.model.stride
    here = voxelize(sweep_of(seed, 2000, reach_m=8), GRID)
    here.features[:, RANGE] = 0
    dx, dy = (stride * step for step in steps)
    there = Pillars(
        GRID,
        here.cells + np.int32(dx * GRID.shape[1] + dy),
        here.features,
        here.point_to_pillar,
        here.point_height_m,
    )
    one, other = segmenter.infer(here), segmenter.infer(there)
    shift_m = GRID.cell_m * np.float32([dx, dy])
    assert np.allclose(one.centre_m + shift_m, other.centre_m, atol=1e-3)
    assert np.allclose(one.seed, other.seed, atol=1e-3)


# Duplicates and missing returns


@FEWER
@given(seed=seeds, size=st.integers(1, 3000))
def test_equal_points_have_equal_labels(segmenter: Segmenter, seed: int, size: int) -> None:
    points = sweep_of(seed, size)
    copies = np.random.default_rng(seed).integers(size, size=size // 2)
    labels = segmenter.segment(np.concatenate([points, points[copies]])).labels
    assert np.array_equal(labels[copies], labels[size:])


@FEWER
@given(seed=seeds, size=sizes, lost=st.integers(1, 50))
def test_appended_points_without_a_place_change_nothing(
    segmenter: Segmenter, seed: int, size: int, lost: int
) -> None:
    points = sweep_of(seed, size)
    nowhere = np.full((lost, 4), np.nan, np.float32)
    nowhere[:, :3][np.random.default_rng(seed).random((lost, 3)) < 0.5] = np.inf
    one, other = segmenter.segment(points), segmenter.segment(np.concatenate([points, nowhere]))
    assert np.array_equal(one.labels, other.labels[:size])
    assert not other.labels[size:].any()
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores)


# Batches and threads


@FEWER
@given(seed=seeds, sizes=st.lists(sizes, min_size=1, max_size=4))
def test_a_batch_gives_what_its_sweeps_give(
    segmenter: Segmenter, seed: int, sizes: list[int]
) -> None:
    sweeps = [voxelize(sweep_of(seed + k, size), GRID) for k, size in enumerate(sizes)]
    together = segmenter.engine.network.infer(PillarBatch.from_pillars(sweeps, 2))
    singles = [segmenter.infer(pillars) for pillars in sweeps]
    for name in ("centre_m", "precision", "seed"):
        alone = np.concatenate([getattr(single, name) for single in singles])
        # The order of sums depends on the number of pillars, and the network may compute in bf16.
        assert np.allclose(getattr(together, name), alone, rtol=0.02, atol=0.02)


def test_four_threads_give_what_one_gives(segmenter: Segmenter, one_thread: None) -> None:
    sweeps = [sweep_of(seed, 1000 + 100 * seed) for seed in range(12)]
    sweeps += [street(things)[0] for things in STREETS.values()]
    alone = [segmenter.segment(points).labels for points in sweeps]

    def segment(points: Points) -> NDArray[np.int32]:
        torch.set_num_threads(1)
        return segmenter.segment(points).labels

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(segment, sweeps))
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))
