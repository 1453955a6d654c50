"""Results are read back as they were written, and mismatched files are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_export import CLASS_LABELS, NAMES, PROVENANCE, cloud, instances

from bev_instseg.config import CLASSES
from bev_instseg.exceptions import ScanError
from bev_instseg.export import read_instances, semantickitti_labels, write_result


def written(out: Path, k: int = 3) -> tuple[Path, Path]:
    found = instances(k)
    label, json_path = write_result(out / "a", cloud(2 * k + 2), found, CLASSES, PROVENANCE)
    return label, json_path


def test_instances_are_read_as_written(tmp_path: Path) -> None:
    read = read_instances(*written(tmp_path))
    expected = instances(3)
    assert read.class_names == NAMES
    np.testing.assert_array_equal(read.labels, expected.labels)
    np.testing.assert_array_equal(read.classes, [2, 0, 2])
    np.testing.assert_array_equal(read.scores, np.float32([0.9877, 0.7438, 0.5]))
    box = np.float32([9.235, -2, 0.5, 4, 2, 1.5, 0.1235])
    np.testing.assert_array_equal(read.boxes, np.tile(box, (3, 1)))


def test_writing_again_makes_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = replace(
        instances(40),
        boxes=rng.uniform(-80, 80, (40, 7)).astype(np.float32),
        scores=np.sort(rng.uniform(0, 1, 40).astype(np.float32))[::-1].copy(),
    )
    paths = write_result(tmp_path / "1" / "a", cloud(82), found, CLASSES)
    read = read_instances(*paths)
    again = write_result(tmp_path / "2" / "a", cloud(82), read, CLASSES)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]


def test_no_instances_and_no_points(tmp_path: Path) -> None:
    read = read_instances(*written(tmp_path / "none", 0))
    assert (len(read), read.boxes.shape, read.labels.tolist()) == (0, (0, 7), [0, 0])
    empty = replace(instances(0), labels=np.zeros(0, np.int32))
    paths = write_result(tmp_path / "empty" / "a", cloud(0), empty, CLASSES)
    assert read_instances(*paths).labels.shape == (0,)


def refusal(label: Path, json_path: Path) -> str:
    with pytest.raises(ScanError) as caught:
        read_instances(label, json_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mismatched_files_are_refused(tmp_path: Path) -> None:
    label, json_path = written(tmp_path)
    words = semantickitti_labels(instances(3), CLASS_LABELS)

    def refused(changed: np.ndarray) -> str:
        changed.tofile(label)
        message = refusal(label, json_path)
        assert message.startswith(f"{label}: ")
        return message

    assert "needs 32" in refused(words[:-1])
    other = words.copy()
    other[0] = words[-1]  # one more point for the last instance
    assert "numbers of points" in refused(other)
    assert "numbers of points" in refused(np.zeros_like(words))
    fourth = words.copy()
    fourth[:2] = 4 << 16 | 10
    assert "numbers of points" in refused(fourth)
    swapped = words.copy()
    swapped[2:4] = 1 << 16 | 30  # a cyclist in the .json
    assert "classes" in refused(swapped)
    road = words.copy()
    road[:2] = 40
    assert "classes" in refused(road)
    words.tofile(label)
    read_instances(label, json_path)


@pytest.mark.parametrize(
    "doctor",
    [
        lambda tree: tree.pop("instances"),
        lambda tree: tree.pop("num_points"),
        lambda tree: tree.update(num_points=True),
        lambda tree: tree.update(class_names=[1, 2, 3]),
        lambda tree: tree["instances"][0].update({"class": "tram"}),
        lambda tree: tree["instances"][0].update(id=2),
        lambda tree: tree["instances"][0].update(score=float("nan")),
        lambda tree: tree["instances"][0].update(score=10**400),
        lambda tree: tree["instances"][0].update(score="0.5"),
        lambda tree: tree["instances"][0].update(num_points=2.5),
        lambda tree: tree["instances"][0].update(centre_m=[1, 2]),
        lambda tree: tree["instances"][0]["box"].pop("yaw_rad"),
        lambda tree: tree["instances"].reverse(),
    ],
)
def test_a_wrong_json_is_refused(tmp_path: Path, doctor: Callable[[Any], object]) -> None:
    label, json_path = written(tmp_path)
    tree = json.loads(json_path.read_text())
    doctor(tree)
    json_path.write_text(json.dumps(tree))
    assert refusal(label, json_path).startswith(f"{json_path}: not a complete result")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b'"text"', b"\xff\xfe{", b"[" * 100_000, b"null", b"{}"),
        b'{"num_points": -1, "class_names": [], "instances": []}',
        *(b'{"num_points": 3}', b'{"class_names": ["a"]}'),
    ],
)
def test_content_that_is_not_a_result_is_refused(tmp_path: Path, content: bytes) -> None:
    label, json_path = written(tmp_path)
    json_path.write_bytes(content)
    assert "not a complete result" in refusal(label, json_path)


def test_missing_files_are_reported(tmp_path: Path) -> None:
    label, json_path = written(tmp_path)
    label.unlink()
    assert refusal(label, json_path).startswith(f"{label}: no such label file")
    json_path.unlink()
    assert refusal(label, json_path).startswith(f"{json_path}: cannot be read (No such file")
