"""Precision and recall of points by class, for labels without instance ids."""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.datasets.semantickitti import read_words
from bev_instseg.segmenter import Segmenter
from bev_instseg.tables import markdown_table, table_cell

Bool = NDArray[np.bool_]


class PointScores:
    """Counts points of sweeps, by class.

    A predicted point is correct if a labelled point of its class is horizontally within the
    tolerance; a labelled point is found if a predicted point of its class is. Void points, and
    points farther away than ``max_range_m``, are not judged.
    """

    def __init__(self, config: Config, tolerance_m: float = 0.0, max_range_m: float = 50.0) -> None:
        """Begin with no points.

        Args:
            config: Its C classes are scored; it says which labels are theirs.
            tolerance_m: Horizontal tolerance, metres; 0 compares each point with itself only.
            max_range_m: Points farther from the sensor than this are not judged, metres.
        """
        self._config = config
        self._tolerance_m, self._max_range_m = tolerance_m, max_range_m
        # correct, predicted, found and labelled points of each class
        self._counts = np.zeros((len(config.classes), 4), np.int64)

    def add(
        self,
        xy_m: NDArray[np.float32],
        kinds: NDArray[np.integer],
        predicted: NDArray[np.int32],
        void: Collection[int],
    ) -> None:
        """Add a sweep.

        Args:
            xy_m: (N, 2) float32 positions of its points, metres.
            kinds: (N,) class number of each point in the labels.
            predicted: (N,) int32 predicted class of each point, -1 for none.
            void: Class numbers whose points are not judged.
        """
        judged = ~np.isin(kinds, list(void))
        judged &= np.hypot(*xy_m.astype(np.float64).T) <= self._max_range_m
        for c, (kind, counts) in enumerate(zip(self._config.classes, self._counts, strict=True)):
            found, labelled = judged & (predicted == c), judged & np.isin(kinds, kind.semantickitti)
            counts += (
                self._close(xy_m, found, labelled),
                found.sum(),
                self._close(xy_m, labelled, found),
                labelled.sum(),
            )

    def _close(self, xy_m: NDArray[np.float32], some: Bool, others: Bool) -> int:
        """Count the points of one side that are close to a point of the other."""
        if not self._tolerance_m or not some.any() or not others.any():
            return int((some & others).sum())
        limit_m = np.nextafter(self._tolerance_m, np.inf)  # the limit itself is close
        nearest_m = cKDTree(xy_m[others]).query(xy_m[some], distance_upper_bound=limit_m)[0]
        return int(np.isfinite(nearest_m).sum())

    def table(self) -> str:
        """Return a Markdown table: a row per class, ratios in percent."""
        rows = [["class", "precision", "recall", "predicted points", "labelled points"]]
        for kind, (correct, predicted, found, labelled) in zip(
            self._config.classes, self._counts.tolist(), strict=True
        ):
            shares = [
                table_cell(part / whole if whole else np.nan)
                for part, whole in ((correct, predicted), (found, labelled))
            ]
            rows.append([kind.name, *shares, f"{predicted:,}", f"{labelled:,}"])
        return markdown_table(rows)


def score_points(
    segmenter: Segmenter, root: Path, refs: Iterable[FrameRef], tolerance_m: float
) -> PointScores:
    """Segment labelled frames and score their points.

    Args:
        segmenter: The segmenter.
        root: Folder of a data set in SemanticKITTI layout.
        refs: Its frames; may be a progress bar over them.
        tolerance_m: As for `PointScores`.

    Raises:
        ScanError: A frame cannot be read.
    """
    config = segmenter.config
    scores = PointScores(config, tolerance_m)
    for ref in refs:
        frame = ref.read(config.classes, config.data)
        instances = segmenter.segment(frame.points)
        predicted = np.append(np.int32(-1), instances.classes)[instances.labels]
        kinds, void = read_words(root, frame) & 0xFFFF, ref.own(config.data).void_semantickitti
        scores.add(frame.points[:, :2], kinds, predicted, void)
    return scores
