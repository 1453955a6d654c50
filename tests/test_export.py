"""Instances as ``.label`` and ``.json`` files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bev_instseg.datasets.scan_io import read_labels
from bev_instseg.export import instances_to_dict, semantickitti_labels, write_result
from bev_instseg.structures import Instances

NAMES = ("vehicle", "pedestrian", "cyclist")
CLASS_LABELS = (10, 30, 31)


def instances(k: int = 2) -> Instances:
    """``k`` cyclists and vehicles in turns, two points each, after two points of background."""
    return Instances(
        labels=np.repeat(np.arange(k + 1, dtype=np.int32), 2),
        classes=np.resize(np.array([2, 0], np.int32), k),
        scores=np.linspace(0.987654, 0.5, k, dtype=np.float32),
        boxes=np.resize(np.float32([1.23456, -2, 0.5, 4, 2, 1.5, 0.123456]), (k, 7)),
        class_names=NAMES,
    )


def test_labels_hold_class_and_instance() -> None:
    labels = semantickitti_labels(instances(), CLASS_LABELS)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels & 0xFFFF, [0, 0, 31, 31, 10, 10])
    np.testing.assert_array_equal(labels >> 16, [0, 0, 1, 1, 2, 2])


def test_no_instances_and_no_points() -> None:
    some = instances(0)
    np.testing.assert_array_equal(semantickitti_labels(some, CLASS_LABELS), [0, 0])
    none = replace(some, labels=some.labels[:0])
    assert semantickitti_labels(none, CLASS_LABELS).shape == (0,)


def test_16_bits_are_used_to_the_last() -> None:
    labels = semantickitti_labels(instances(65535), CLASS_LABELS)
    assert labels[-1] >> 16 == 65535
    with pytest.raises(ValueError, match="65536 instances"):
        semantickitti_labels(instances(65536), CLASS_LABELS)


def test_class_labels_are_checked() -> None:
    with pytest.raises(ValueError, match="2 numbers"):
        semantickitti_labels(instances(), (10, 30))
    with pytest.raises(ValueError, match="must lie in 0"):
        semantickitti_labels(instances(), (10, 30, 70000))


def test_dictionary_lists_the_objects() -> None:
    tree = instances_to_dict(instances(), {"sweep": "a.bin"})
    assert list(tree) == ["sweep", "instances"]
    first, second = tree["instances"]
    assert first == {
        "id": 1,
        "class": "cyclist",
        "score": 0.9877,
        "num_points": 2,
        "centre_m": [1.235, -2.0, 0.5],
        "box": {
            "length_m": 4.0,
            "width_m": 2.0,
            "height_m": 1.5,
            "yaw_rad": 0.1235,
        },
    }
    assert (second["id"], second["class"], second["score"]) == (2, "vehicle", 0.5)
    with pytest.raises(ValueError, match="entry 'instances'"):
        instances_to_dict(instances(), {"instances": []})


def test_writes_both_files(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    extra = {"timing_ms": {"network": 12.5}, "grid": {"cell_m": 0.2}}
    label_path, json_path = write_result(out, "000042", instances(), CLASS_LABELS, extra)
    assert sorted(out.iterdir()) == [json_path, label_path]
    assert (label_path.name, json_path.name) == ("000042.label", "000042.json")
    expected = semantickitti_labels(instances(), CLASS_LABELS)
    np.testing.assert_array_equal(read_labels(label_path, 6), expected)
    tree = json.loads(json_path.read_text(encoding="utf-8"))
    assert tree == instances_to_dict(instances(), extra)


@pytest.mark.parametrize(
    ("extra", "error"), [({"time": float("nan")}, ValueError), ({"path": Path()}, TypeError)]
)
def test_writes_nothing_that_json_cannot_hold(
    tmp_path: Path, extra: dict, error: type[Exception]
) -> None:
    with pytest.raises(error):
        write_result(tmp_path / "out", "a", instances(), CLASS_LABELS, extra)
    assert not (tmp_path / "out").exists()
