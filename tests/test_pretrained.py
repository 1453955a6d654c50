"""The package's weights on the bundled sweep."""

import hashlib
import json

import numpy as np
import pytest
import torch
from conftest import ROOT

from bev_instseg import Segmenter, read_scan
from bev_instseg.datasets.frames import list_frames
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.model_files import PRETRAINED, pretrained_8_bit_model, pretrained_weights
from bev_instseg.simulate import simulate_sweep

DEMO = ROOT / "demo"
LICENCES = {
    "default": ("CC-BY-NC-SA-4.0", "Treat these weights as CC BY-NC-SA 4.0"),
    "clean": ("Apache-2.0", "licence | Apache-2.0"),
    "lanes": ("Apache-2.0", 'Apache-2.0, with attribution to "PandaSet, Hesai and Scale AI"'),
}
OBJECTS, LINES = ["vehicle", "pedestrian", "cyclist"], ["marking", "kerb"]
GOLDEN = {  # class: (TP, FP, FN), PQ
    "vehicle": ((19, 0, 0), 0.959),
    "pedestrian": ((6, 1, 0), 0.888),
    "cyclist": ((3, 0, 0), 0.980),
}


@pytest.mark.parametrize("name", PRETRAINED)
def test_weights_come_with_their_hash_names_and_card(name: str) -> None:
    path = pretrained_weights(name)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["class_names"] == (LINES if name == "lanes" else OBJECTS)
    assert path.stat().st_size < 8e6
    spdx, text = LICENCES[name]
    assert card["license"] == spdx
    assert text in (path.parent / "MODEL_CARD.md").read_text()
    rounded = json.loads(pretrained_8_bit_model(name).with_suffix(".json").read_text())
    assert rounded["exported_from_sha256"] == card["sha256"]


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="'cpu'; choose from default, clean, lanes"):
        Segmenter.from_pretrained("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_on_the_bundled_sweep(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same in the native precision of every processor.

    No count depends on the last bits: all scores are at least 0.10 above their threshold of 0.3,
    and in bfloat16 they differ by at most 0.010.
    """
    monkeypatch.setattr("bev_instseg.engines.torch_engine.native_dtype", lambda device: dtype)
    segmenter = Segmenter.from_pretrained(device="cpu", runtime="torch")
    assert {p.dtype for p in segmenter.engine.network.backbone.parameters()} == {dtype}
    refs = list_frames(DEMO, "semantickitti", ["00"])
    result = score_frames(segmenter, refs, segmenter.config).result().per_class
    counts = {name: (m.tp, m.fp, m.fn) for name, m in result.items()}
    assert counts == {name: expected for name, (expected, _) in GOLDEN.items()}
    for name, (_, pq) in GOLDEN.items():
        assert result[name].pq == pytest.approx(pq, abs=0.01)


def test_raised_sensor_sees_the_same_objects() -> None:
    """Raising the sensor by 0.75 m shifts all heights of the same street."""
    segmenter = Segmenter.from_pretrained(device="cpu")
    points = read_scan(DEMO / "sequences" / "00" / "velodyne" / "000000.bin")
    raised = points - np.array([0, 0, 0.75, 0], np.float32)
    one, other = segmenter.segment(points), segmenter.segment(raised)
    both = (one.labels > 0) & (other.labels > 0)
    either = (one.labels > 0) | (other.labels > 0)
    assert both.sum() > 0.99 * either.sum()


def test_objects_are_found_without_intensities() -> None:
    """Recordings whose intensities say nothing are read with intensity 0."""
    segmenter = Segmenter.from_pretrained(device="cpu")
    points = read_scan(DEMO / "sequences" / "00" / "velodyne" / "000000.bin")
    usual = segmenter.segment(points)
    points[:, 3] = 0
    without = segmenter.segment(points)
    for index in range(3):
        assert (without.classes == index).sum() >= 0.8 * (usual.classes == index).sum()


def test_kerbs_of_a_simulated_street_are_found_with_their_courses() -> None:
    points, labels = simulate_sweep(7)
    is_kerb = (labels & 0xFFFF) == 61
    assert is_kerb.sum() > 1000
    instances = Segmenter.from_pretrained("lanes", device="cpu").segment(points)
    kerb = LINES.index("kerb")
    found = np.isin(instances.labels, np.flatnonzero(instances.classes == kerb) + 1)
    assert (found & is_kerb).sum() > 0.6 * is_kerb.sum()
    longest = max(instances, key=lambda one: one.box[3])
    steps_m = np.linalg.norm(np.diff(longest.course_m, axis=0), axis=1)
    assert steps_m.sum() > 15
