"""What happens to a sweep before and after the network, under a configuration."""

import warnings

import numpy as np

from bev_instseg.config import Config
from bev_instseg.ops.assemble import AssemblyRules
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.join import join_pieces
from bev_instseg.ops.relative_intensity import relative_intensity
from bev_instseg.ops.voxelize import point_heights, voxelize
from bev_instseg.structures import Clusters, Float32, PillarEmbeddings, Pillars

MAX_SAMPLE = 1000  # intensities that are checked


def make_pillars(points: Float32, config: Config) -> Pillars:
    """Sort the points of a sweep into pillars with the intensities that the network expects.

    See `voxelize` and `relative_intensity`. If intensities are above 1, there is a warning.

    Args:
        points: (N, 4) float32, as for `Segmenter.segment`.
        config: Configuration of the network.

    Raises:
        ValueError: The array has the wrong shape or dtype.
    """
    given = points
    if config.model.relative_intensity:
        points = relative_intensity(points, point_heights(points, config.grid))
    pillars = voxelize(points, config.grid)
    if (given[:: 1 + len(given) // MAX_SAMPLE, 3] > 1).any():
        warnings.warn("intensities are above 1: scale them to 0..1", stacklevel=3)
    return pillars


def cluster_pillars(embeddings: PillarEmbeddings, pillars: Pillars, config: Config) -> Clusters:
    """Group pillars into instances with the thresholds of a configuration.

    See `cluster`, and `join_pieces` for classes that come in pieces.

    Args:
        embeddings: Embeddings of P pillars.
        pillars: These pillars.
        config: Configuration with the thresholds.
    """
    thresholds = config.cluster
    clusters = cluster(
        embeddings,
        thresholds.seed_threshold,
        thresholds.member_threshold,
        thresholds.min_free,
    )
    if not any(config.in_pieces):
        return clusters
    return join_pieces(clusters, embeddings, pillars.centres_m, np.array(config.in_pieces))


def assembly_rules(config: Config) -> AssemblyRules:
    """Return the rules of a configuration for assembling instances.

    Args:
        config: Configuration with the classes and thresholds.
    """
    return AssemblyRules(
        class_names=config.class_names,
        min_height_m=config.cluster.min_height_m,
        max_height_m=tuple(c.max_height_m for c in config.classes),
        in_pieces=config.in_pieces,
        min_points=tuple(c.min_points for c in config.classes),
        calibration=config.cluster.calibration,
        score_threshold=config.cluster.score_threshold,
    )
