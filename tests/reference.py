"""Plain NumPy references of the kernels, from the docstrings and equations: slow and obvious."""

import itertools
import math

import numpy as np
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial.distance import cdist

from bev_instseg.ops.course import STEP_M
from bev_instseg.ops.ground import OUTLIER_M, SLOPE, TILE_CELLS
from bev_instseg.ops.ground_points import FOOT_M, GROUND_M, TALL_M
from bev_instseg.ops.join import (
    ASIDE_PER_M,
    MAX_ASIDE_M,
    MAX_BESIDE_M,
    MAX_GAP_M,
    MIN_COSINE,
)
from bev_instseg.ops.neighbours import CellNeighbours
from bev_instseg.ops.unknown import (
    CLEARANCE_M,
    MIN_HEIGHT_M,
    MIN_POINTS,
    REACH_M,
    REACH_PER_M,
)
from bev_instseg.ops.voxelize import FEATURES, FIRST_SLICE_EDGE_M, NUM_SLICES, SLICE_M
from bev_instseg.structures import Clusters, Pillars
from bev_instseg.training.occlusion import BEAM_RAD, COLUMN_RAD, IN_FRONT_M


def voxelize(points, grid):
    """Return the Pillars of (N, 4) float32 points."""
    cell = grid.cell_of(points)
    inside = cell >= 0
    cells, owner = np.unique(cell[inside], return_inverse=True)
    count = np.bincount(owner)
    x, y, z, intensity = points[inside].T
    intensity = np.where(np.isfinite(intensity), intensity, np.float32(0))

    z_min = np.full(len(cells), np.inf, np.float32)
    np.minimum.at(z_min, owner, z)
    height = z - estimate_ground(cells, z_min, grid)[owner]  # float32

    def mean(values):
        """Mean of each pillar, summed in float64 in the order of the points."""
        return np.bincount(owner, values.astype(np.float64), len(cells)) / count

    def largest(values):
        result = np.full(len(cells), -np.inf, np.float32)
        np.maximum.at(result, owner, values)
        return result

    variance = mean(height.astype(np.float64) ** 2) - mean(height) ** 2
    ix, iy = np.divmod(cells, grid.shape[1])
    x_centre = grid.x_range_m[0] + (ix + 0.5) * grid.cell_m
    y_centre = grid.y_range_m[0] + (iy + 0.5) * grid.cell_m
    columns = {
        "count": count,
        "height_min_m": -largest(-height),
        "height_max_m": largest(height),
        "height_mean_m": mean(height),
        "height_std_m": np.sqrt(np.maximum(variance, 0)),
        "intensity_mean": mean(intensity),
        "intensity_max": largest(intensity),
        "x_mean_m": mean(x) - x_centre,
        "y_mean_m": mean(y) - y_centre,
        "range_m": np.sqrt(x_centre**2 + y_centre**2),
    }
    edges = FIRST_SLICE_EDGE_M + SLICE_M * np.arange(NUM_SLICES - 1)
    height_slice = np.searchsorted(edges, height.astype(np.float64), side="right")
    for k in range(NUM_SLICES):
        columns[f"slice_{k}"] = np.bincount(owner[height_slice == k], minlength=len(cells))

    point_to_pillar = np.full(len(points), -1, np.int32)
    point_to_pillar[inside] = owner
    point_height = np.full(len(points), np.nan, np.float32)
    point_height[inside] = height
    features = np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)
    return Pillars(grid, cells.astype(np.int32), features, point_to_pillar, point_height)


def estimate_ground(cells, z_min, grid):
    """Return (P,) float32 heights of the ground at (P,) flat cells with their lowest points."""
    if not len(cells):
        return np.zeros(0, np.float32)
    ix, iy = np.divmod(cells, grid.shape[1])
    tiles_x, tiles_y = (-(-n // TILE_CELLS) for n in grid.shape)  # the last one may be cut off
    tile_x, tile_y = ix // TILE_CELLS, iy // TILE_CELLS

    quartile = np.full((tiles_x, tiles_y), np.nan)
    for i, j in np.unique(np.stack([tile_x, tile_y], axis=1), axis=0):
        lowest = z_min[(tile_x == i) & (tile_y == j)].astype(np.float64)
        quartile[i, j] = np.quantile(lowest, 0.25, method="lower")

    level = np.where(np.isnan(quartile), np.inf, quartile)
    for i, j in np.argwhere(~np.isnan(quartile)):
        around = quartile[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
        median = np.quantile(around[~np.isnan(around)], 0.5, method="higher")
        if quartile[i, j] < median - OUTLIER_M:
            level[i, j] = median

    # The lower envelope of the cones: lower each tile to at most a neighbour's height plus the rise
    # between them, for all eight neighbours, until nothing changes.
    rise = SLOPE * TILE_CELLS * grid.cell_m
    before = None
    while not np.array_equal(level, before):
        before = level
        padded = np.pad(level, 1, constant_values=np.inf)
        for i, j in np.argwhere(np.ones((3, 3))):
            step = rise * np.sqrt(abs(i - 1) + abs(j - 1))
            level = np.minimum(level, padded[i : i + tiles_x, j : j + tiles_y] + step)

    # Bilinear between the centres of tiles, constant beyond the outermost; tiles without pillars
    # have no weight. Computed as the difference from the pillar's own tile.
    x = np.clip((ix + 0.5) / TILE_CELLS - 0.5, 0, tiles_x - 1)
    y = np.clip((iy + 0.5) / TILE_CELLS - 0.5, 0, tiles_y - 1)
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    own = level[tile_x, tile_y]
    total, weights = np.zeros(len(cells)), np.zeros(len(cells))
    for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at = np.minimum(i + di, tiles_x - 1), np.minimum(j + dj, tiles_y - 1)
        weight = (x - i if di else 1 - (x - i)) * (y - j if dj else 1 - (y - j))
        weight = np.where(np.isnan(quartile[at]), 0, weight)
        total += weight * (level[at] - own)
        weights += weight
    return (own + total / weights).astype(np.float32)


def cluster(embeddings, seed_threshold, member_threshold, min_free):
    """Return the Clusters of PillarEmbeddings."""
    seed = embeddings.seed.astype(np.float64)
    centre = embeddings.centre_m.astype(np.float64)
    best = np.where(np.isnan(seed).any(axis=1), -np.inf, seed.max(axis=1))
    # Thresholds are compared as float32, the type of the seeds.
    member = (best >= np.float32(member_threshold)) & np.isfinite(centre).all(axis=1)
    opener = member & (best >= np.float32(seed_threshold))
    labels = np.zeros(len(seed), np.int32)
    openers = []
    for i in sorted(np.flatnonzero(opener), key=lambda i: (-best[i], i)):
        if labels[i]:
            continue
        xx, xy, yy = embeddings.precision[i].astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            dx, dy = (centre - centre[i]).T
            squared = xx * dx**2 + 2 * xy * dx * dy + yy * dy**2
            # phi = exp(-squared / 2) > 0.5, without an exponential to round; false for NaN
            inside = member & (squared < 2 * math.log(2))
        free = inside & (labels == 0)
        if free.any() and free.sum() >= min_free * inside.sum():
            openers.append(i)
            labels[free] = len(openers)

    count = len(openers)
    classes, scores = np.zeros(count, np.int32), np.zeros(count, np.float32)
    for k in range(count):
        own = seed[labels == k + 1]
        total = np.cumsum(own, axis=0)[-1]  # pillar after pillar
        classes[k] = np.argmax(total)
        scores[k] = total[classes[k]] / len(own)
    return Clusters(labels, classes, scores, np.array(openers, np.int32))


def piece_links(clusters, embeddings, xy_m):
    """Return (K, K) whether two clusters, all of them pieces, continue each other.

    With angles and arrays where the kernel has square roots and loops.
    """
    xx, xy, yy = embeddings.precision[clusters.openers].astype(np.float64).T
    narrow = np.arctan2(2 * xy, xx - yy) / 2
    along = np.column_stack([-np.sin(narrow), np.cos(narrow)])
    members = [xy_m[clusters.labels == k + 1].astype(np.float64) for k in range(len(along))]
    reach = [(own - own.mean(axis=0)) @ axis for own, axis in zip(members, along, strict=True)]
    middle = np.array(
        [
            own.mean(axis=0) + (r.min() + r.max()) / 2 * axis
            for own, r, axis in zip(members, reach, along, strict=True)
        ]
    )
    half = np.array([np.ptp(r) / 2 for r in reach])
    links = np.zeros((len(along), len(along)), bool)
    for i, j in itertools.combinations(range(len(along)), 2):
        turn = np.abs(np.mod(narrow[i] - narrow[j] + np.pi / 2, np.pi) - np.pi / 2)
        gaps, asides = [], []
        for one, other in ((i, j), (j, i)):
            apart = middle[other] - middle[one]
            ends = [apart + side * half[other] * along[other] for side in (1, -1)]
            near = min(ends, key=lambda end: np.dot(end, end))
            gaps.append(abs(apart @ along[one]) - half[one] - half[other] * np.cos(turn))
            asides.append(abs(near[0] * along[one, 1] - near[1] * along[one, 0]))
        limits = [MAX_BESIDE_M if gap < 0 else MAX_ASIDE_M + ASIDE_PER_M * gap for gap in gaps]
        links[i, j] = links[j, i] = (
            clusters.classes[i] == clusters.classes[j]
            and turn < np.arccos(MIN_COSINE)
            and max(gaps) < MAX_GAP_M
            and max(asides) < min(limits)
        )
    return links


def course(points):
    """Return the vertices of an instance's course, with SciPy's trees and shortest ways."""
    xyz = points[:, :3].astype(np.float64)
    squares = np.floor(xyz[:, :2] / STEP_M)
    vertices = np.array([xyz[(squares == s).all(1)].mean(0) for s in np.unique(squares, axis=0)])
    tree = minimum_spanning_tree(cdist(vertices[:, :2], vertices[:, :2]))
    start = dijkstra(tree, directed=False, indices=0).argmax()
    distance, before = dijkstra(tree, directed=False, indices=start, return_predecessors=True)
    way = [distance.argmax()]
    while way[-1] != start:
        way.append(before[way[-1]])
    ends = vertices[way[0]].tolist(), vertices[way[-1]].tolist()
    return vertices[way if ends[0] <= ends[1] else way[::-1]]


def find_neighbours(cells, shape, step=1):
    """Return the CellNeighbours of (P,) flat cells of (B, nx, ny)."""
    batch, nx, ny = shape
    count = -(-len(cells) // step) * step
    number = np.full((batch, nx + 2, ny + 2), count, np.int32)  # a border of empty cells
    b, ix, iy = np.unravel_index(cells, shape)
    number[b, ix + 1, iy + 1] = np.arange(len(cells))
    neighbours = np.full((count, 9), count, np.int32)
    for tap, (dx, dy) in enumerate(itertools.product((-1, 0, 1), repeat=2)):
        neighbours[: len(cells), tap] = number[b, ix + 1 + dx, iy + 1 + dy]
    above = np.ravel_multi_index((b, ix // 2, iy // 2), (batch, nx // 2, ny // 2))
    parents, parent = np.unique(above, return_inverse=True)
    quarter = 2 * (ix % 2) + iy % 2
    children = np.full((-(-len(parents) // step) * step, 4), count, np.int32)
    children[parent, quarter] = np.arange(len(cells))
    slot = np.zeros(count, np.int32)
    slot[: len(cells)] = 4 * parent + quarter
    return CellNeighbours(neighbours, slot, children, parents.astype(np.int32))


# Two libraries may round arctan2 differently, so points within EDGE of the edge of a beam or column
# (as a fraction of its width) are not compared.
EDGE = 1e-9


def beam(points):
    """Return the number of the beam that sees each point, and whether it is clear of all edges."""
    x, y, z = points[:, :3].T.astype(np.float64)
    angles = np.arctan2(y, x), np.arctan2(z, np.sqrt(x * x + y * y))
    across, up = (angle / step for angle, step in zip(angles, BEAM_RAD, strict=True))
    clear = off_edge(across) & off_edge(up)
    return np.floor(across).astype(np.int64) * 1024 + np.floor(up).astype(np.int64), clear


def off_edge(position):
    """Return whether positions, in units of columns, are clear of the edges of columns."""
    return np.abs(position - np.round(position)) > EDGE


def range_of(points):
    """Return (N,) float32 horizontal distances from the sensor."""
    x, y = points[:, :2].T.astype(np.float64)
    return np.sqrt(x * x + y * y).astype(np.float32)


def _azimuth(points):
    x, y = points[:, :2].T.astype(np.float64)
    return np.arctan2(y, x)


def _wrap(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi


def outline(points):
    """Return the start, and each azimuth column's lowest and highest slope and nearest range."""
    middle = np.arctan2(*points[:, 1::-1].mean(0).astype(np.float64))
    azimuth = _wrap(_azimuth(points) - middle)
    start = azimuth.min()
    position = (azimuth - start) / COLUMN_RAD
    assert off_edge(position[position > 0]).all(), "a point is on an edge: choose different points"
    column = position.astype(np.int64)
    count = column.max() + 1
    range_m = range_of(points)
    slope = points[:, 2] / np.maximum(range_m, np.float32(0.1))
    low, high, near = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, np.inf)
    np.minimum.at(low, column, slope)
    np.maximum.at(high, column, slope)
    np.minimum.at(near, column, range_m)
    return middle + start, low, high, near


def occlusion(start, low, high, near, scene):
    """Return the rows of points behind an outline, in front of it, and too close to an edge."""
    half = len(low) * COLUMN_RAD / 2
    cos, sin, tan = (
        np.float32(value)
        for value in (math.cos(start + half), math.sin(start + half), math.tan(min(half, 1.5)))
    )
    x, y, z = scene[:, :3].T
    across, ahead = np.abs(y * cos - x * sin), (x * cos + y * sin) * tan
    position = _wrap(_azimuth(scene) - start) / COLUMN_RAD
    clear = off_edge(position) & (np.abs(across - ahead) > 1e-5 * np.abs(x) + 1e-5 * np.abs(y))
    column = np.clip(position.astype(np.int64), 0, len(low) - 1)
    range_m = range_of(scene)
    slope = z / np.maximum(range_m, np.float32(0.1))
    inside = (across <= ahead) & (slope >= low[column]) & (slope <= high[column])
    behind, front = range_m > near[column], range_m < near[column] - IN_FRONT_M
    return np.flatnonzero(inside & behind), np.flatnonzero(inside & front), np.flatnonzero(~clear)


def connect(cells, range_m, grid):
    """Return the group of each cell: those that reach each other, directly or through others."""
    at = np.stack(np.divmod(cells, grid.shape[1]), axis=1)
    reach = np.maximum((REACH_M + REACH_PER_M * range_m) / grid.cell_m, 1).astype(int)
    groups, count = np.full(len(cells), -1, np.int32), 0
    for k in range(len(cells)):
        if groups[k] < 0:
            waiting = [k]
            while waiting:
                i = waiting.pop()
                groups[i] = count
                apart = abs(at - at[i]).max(axis=1)
                near = (apart <= np.maximum(reach, reach[i])) & (groups < 0)
                groups[near] = count
                waiting += np.flatnonzero(near).tolist()
            count += 1
    return groups


def add_unknown(known, points, pillars):
    """Return (N,) labels and (G, 7) boxes of the unknown things, after the known instances."""
    height, pillar = pillars.point_height_m, pillars.point_to_pillar
    standing_point = (pillar >= 0) & (known.labels == 0) & (height >= np.float32(MIN_HEIGHT_M))
    standing = [
        p
        for p in np.unique(pillar[standing_point])
        if height[standing_point & (pillar == p)].min() <= np.float32(CLEARANCE_M)
    ]
    range_m = pillars.features[standing, FEATURES.index("range_m")].astype(np.float64)
    groups = connect(pillars.cells[standing], range_m, pillars.grid)
    members = [
        np.flatnonzero(standing_point & np.isin(pillar, np.array(standing)[groups == g]))
        for g in range(groups.max(initial=-1) + 1)
    ]
    members = sorted((m for m in members if len(m) >= MIN_POINTS), key=len, reverse=True)
    labels, boxes = known.labels.copy(), []
    for number, own in enumerate(members, len(known) + 1):
        labels[own] = number
        boxes.append(principal_box(points[own, :3].astype(np.float64)))
    return labels, np.array(boxes, np.float32).reshape(-1, 7)


def principal_box(xyz):
    """Return the box of (n, 3) float64 points along their principal axis, to a degree."""
    x, y, z = xyz.T
    n = float(len(xyz))

    def total(values):
        return np.cumsum(values)[-1]  # point after point

    sxx, syy = total(x * x) - total(x) ** 2 / n, total(y * y) - total(y) ** 2 / n
    sxy = total(x * y) - total(x) * total(y) / n
    degrees = round(np.degrees(0.5 * np.arctan2(2 * sxy, sxx - syy))) % 180
    c, s = math.cos(math.radians(degrees % 90)), math.sin(math.radians(degrees % 90))
    c, s = (c, s) if degrees < 90 else (-s, c)
    u, v = x * c + y * s, y * c - x * s
    along, across = u.max() - u.min(), v.max() - v.min()
    um, vm = (u.min() + u.max()) / 2, (v.min() + v.max()) / 2
    yaw = np.deg2rad((degrees + (0 if along >= across else 90) + 90) % 180 - 90)
    middle = (um * c - vm * s, um * s + vm * c, (z.min() + z.max()) / 2)
    return (*middle, max(along, across), min(along, across), z.max() - z.min(), yaw)


def find_ground(pillars, labels):
    """Return (N,) bool: which points are on the ground."""
    height, pillar = pillars.point_height_m, pillars.point_to_pillar
    highest = {p: height[pillar == p].max() for p in np.unique(pillar[pillar >= 0])}
    tall = np.array([highest.get(p, 0) > np.float32(TALL_M) for p in pillar])
    limit = np.where(tall, np.float32(FOOT_M), np.float32(GROUND_M))
    return (pillar >= 0) & (labels == 0) & (height < limit)
