"""The weights that come with the package, on the sweep that comes with the project."""

import hashlib
import json

import numpy as np
from conftest import ROOT

from bev_instseg import Segmenter, read_scan
from bev_instseg.checkpoint import default_weights
from bev_instseg.datasets.frames import list_frames
from bev_instseg.evaluation.score_frames import score_frames

DEMO = ROOT / "demo"


def test_weights_come_with_their_hash_names_and_card() -> None:
    path = default_weights()
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["class_names"] == ["vehicle", "pedestrian", "cyclist"]
    assert path.stat().st_size < 8e6
    assert card["license"] == "CC-BY-NC-SA-4.0"
    assert "CC BY-NC-SA" in (path.parent / "MODEL_CARD.md").read_text()


def test_the_bundled_sweep_is_segmented_well() -> None:
    segmenter = Segmenter.from_pretrained("cpu")
    refs = list_frames(DEMO, "semantickitti", ["00"])
    result = score_frames(segmenter, refs, segmenter.config).result().per_class
    assert result["vehicle"].tp + result["vehicle"].fn >= 12
    assert result["vehicle"].pq > 0.7
    assert result["pedestrian"].recall_50 > 0.2
    assert result["cyclist"].recall_50 > 0.5


def test_the_mounting_height_is_no_surprise() -> None:
    """A sensor 0.75 m higher sees the same objects: the same street, all heights shifted."""
    segmenter = Segmenter.from_pretrained("cpu")
    points = read_scan(DEMO / "sequences" / "00" / "velodyne" / "000000.bin")
    raised = points - np.array([0, 0, 0.75, 0], np.float32)
    one, other = segmenter.segment(points), segmenter.segment(raised)
    both = (one.labels > 0) & (other.labels > 0)
    either = (one.labels > 0) | (other.labels > 0)
    assert both.sum() > 0.99 * either.sum()
