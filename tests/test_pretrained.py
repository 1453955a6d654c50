"""The package's weights on the bundled sweep."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from conftest import ROOT

from bev_instseg import Segmenter, read_scan
from bev_instseg.checkpoint import default_weights
from bev_instseg.datasets.frames import list_frames
from bev_instseg.evaluation.score_frames import score_frames

DEMO = ROOT / "demo"
GOLDEN = {  # class: (TP, FP, FN), PQ
    "vehicle": ((19, 0, 0), 0.959),
    "pedestrian": ((5, 1, 1), 0.819),
    "cyclist": ((3, 0, 0), 0.980),
}


def test_weights_come_with_their_hash_names_and_card() -> None:
    path = default_weights()
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["class_names"] == ["vehicle", "pedestrian", "cyclist"]
    assert path.stat().st_size < 8e6
    assert card["license"] == "CC-BY-NC-SA-4.0"
    assert "CC BY-NC-SA" in (path.parent / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_on_the_bundled_sweep(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same in the native precision of every processor.

    No count depends on the last bits: in float32 the score nearest to its threshold of 0.4 is
    0.396, and the IoU nearest to 0.5 is 0.75. In bfloat16 that score varies by 0.0005 between
    instruction sets, so the threshold is raised to 0.45, at least 0.05 away from all scores.
    """
    monkeypatch.setattr("bev_instseg.segmenter.native_dtype", lambda device: dtype)
    segmenter = Segmenter.from_pretrained("cpu")
    if dtype == torch.bfloat16:
        config = segmenter.config
        cluster = dataclasses.replace(config.cluster, score_threshold=0.45)
        segmenter = segmenter.with_config(dataclasses.replace(config, cluster=cluster))
    assert {p.dtype for p in segmenter.network.backbone.parameters()} == {dtype}
    refs = list_frames(DEMO, "semantickitti", ["00"])
    result = score_frames(segmenter, refs, segmenter.config).result().per_class
    counts = {name: (m.tp, m.fp, m.fn) for name, m in result.items()}
    assert counts == {name: expected for name, (expected, _) in GOLDEN.items()}
    for name, (_, pq) in GOLDEN.items():
        assert result[name].pq == pytest.approx(pq, abs=0.01)


def test_raised_sensor_sees_the_same_objects() -> None:
    """Raising the sensor by 0.75 m shifts all heights of the same street."""
    segmenter = Segmenter.from_pretrained("cpu")
    points = read_scan(DEMO / "sequences" / "00" / "velodyne" / "000000.bin")
    raised = points - np.array([0, 0, 0.75, 0], np.float32)
    one, other = segmenter.segment(points), segmenter.segment(raised)
    both = (one.labels > 0) & (other.labels > 0)
    either = (one.labels > 0) | (other.labels > 0)
    assert both.sum() > 0.99 * either.sum()
