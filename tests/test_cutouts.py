import io
import os
import zipfile

import numpy as np
import pytest
from scenes import CAR, PERSON, crate, empty_frame, frame_of, generator

from bev_instseg.exceptions import ObjectsError
from bev_instseg.structures import Instances
from bev_instseg.training import cutouts
from bev_instseg.training.cutouts import (
    DISTRACTOR,
    MIN_CUTOUT_POINTS,
    Cutout,
    cut_distractors,
    cut_objects,
    group_by_class,
    hash_databases,
    load_objects,
    save_objects,
)

NAMES = ("vehicle", "pedestrian")


def test_objects_with_enough_usable_points_are_cut_out():
    per_object = MIN_CUTOUT_POINTS + 2
    points = np.zeros((3 * per_object, 4), np.float32)
    points[:, 0] = np.arange(len(points))
    points[:, 2] = -9
    instance = np.repeat([1, 2, 0], per_object)
    labelled = np.arange(len(points)) % per_object >= 1
    height = np.arange(len(points), dtype=np.float32) / 10
    height[1] = np.nan
    frame = frame_of(points, instance, [PERSON, CAR], [[3, 4], [1, 2]], labelled)
    first, second = cut_objects(frame, height)
    assert first.points[:, 0].tolist() == list(range(2, per_object))  # exactly enough
    np.testing.assert_array_equal(first.points[:, 2], height[2:per_object])
    assert (first.class_index, first.centre_m.tolist(), first.origin) == (PERSON, [3, 4], "test")
    assert first.range_m == 5
    np.testing.assert_allclose(first.size_m, [14, 0, 1.4], atol=1e-5)
    assert (second.class_index, len(second.points)) == (CAR, per_object - 1)
    height[2] = np.nan
    assert [cutout.class_index for cutout in cut_objects(frame, height)] == [CAR]
    assert cut_objects(empty_frame(), np.zeros(0, np.float32)) == []
    assert (frame.points[:, 2] == -9).all()


def test_the_size_is_that_of_the_box_around_a_turned_object():
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    box = crate(size_m=(4.0, 1.5, 1.2), count=4000).points
    box[:, :2] = (box[:, :2] - [10, 0]) @ turn + [3, -7]
    (cutout,) = cut_objects(frame_of(box, np.ones(4000), [CAR], [[3, -7]]), box[:, 2])
    np.testing.assert_allclose(cutout.size_m, [4.0, 1.5, 1.2], atol=0.05)


def test_the_hash_distinguishes_databases():
    one, other = [crate(), crate((8.0, 1.0))], [crate(class_index=PERSON)]
    assert hash_databases([]) == ""
    assert hash_databases([one, other]) == hash_databases([list(one), list(other)])
    different = (
        [],
        [[]],
        [one],
        [other],
        [one, other],
        [other, one],
        [one[:1], one[1:]],
        [one[::-1]],
    )
    assert len({hash_databases(databases) for databases in different}) == len(different)


def test_objects_are_grouped_by_class_with_distractors_last():
    objects = [crate(class_index=c) for c in (PERSON, CAR, DISTRACTOR, PERSON)]
    assert group_by_class(objects, 3) == [[objects[1]], [objects[0], objects[3]], [], [objects[2]]]


def test_distractors_are_false_positives_on_labelled_background():
    n = MIN_CUTOUT_POINTS
    # Predictions: an object found, background, background with too few points, unlabelled
    # background, and a piece of a missed object.
    truth = np.repeat([1, 0, 0, 0, 2, 2], [20, n + 5, n - 1, 30, 10, 20]).astype(np.int32)
    labels = np.repeat([1, 2, 3, 4, 5, 0], [20, n + 5, n - 1, 30, 10, 20]).astype(np.int32)
    labelled = labels != 4
    points = np.zeros((len(truth), 4), np.float32)
    points[:, 0] = np.arange(len(truth)) / 10
    frame = frame_of(points, truth, [CAR, CAR], [[0, 0], [0, 0]], labelled)
    boxes = np.arange(35, dtype=np.float32).reshape(5, 7)
    classes, scores = np.array([CAR, PERSON, CAR, CAR, CAR], np.int32), np.ones(5, np.float32)
    instances = Instances(labels, classes, scores, boxes, NAMES)
    height = np.full(len(truth), 0.7, np.float32)
    height[22] = np.nan
    (cutout,) = cut_distractors(frame, height, instances)
    assert (cutout.class_index, cutout.origin) == (DISTRACTOR, "test")
    np.testing.assert_array_equal(cutout.points[:, 0], points[[20, 21, *range(23, 25 + n)], 0])
    assert (cutout.points[:, 2] == np.float32(0.7)).all()
    assert cutout.centre_m.tolist() == [7, 8]
    np.testing.assert_allclose(cutout.size_m, [(n + 4) / 10, 0, 0], atol=1e-4)


def some_objects(count=5):
    rng = generator(2)
    return [
        Cutout(
            rng.normal(size=(n, 4)).astype(np.float32),
            int(rng.integers(DISTRACTOR, 2)),
            rng.normal(size=2).astype(np.float32),
            rng.random(3).astype(np.float32),
            f"kitti/{i:06}",
        )
        for i, n in enumerate(rng.integers(1, 50, count))
    ]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_database_returns_the_saved_objects(count, tmp_path):
    objects = some_objects(count)
    save_objects(tmp_path / "one.npz", objects, NAMES)
    loaded = load_objects(tmp_path / "one.npz", NAMES)
    assert len(loaded) == count
    for one, other in zip(objects, loaded, strict=True):
        for name in ("points", "centre_m", "size_m"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert mine.dtype == theirs.dtype
            assert mine.tobytes() == theirs.tobytes()
        assert (one.class_index, one.origin) == (other.class_index, other.origin)
    save_objects(tmp_path / "two.npz", loaded, NAMES)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2  # no temporary files


def damaged(data, how):
    if how == "cut short":
        return data[: len(data) // 2]
    if how == "a bit flipped":
        middle = len(data) // 2  # in the points
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    if how == "an array":
        body = io.BytesIO()
        np.save(body, np.zeros(3))
        return body.getvalue()
    if how == "empty":
        return b""
    arrays = dict(np.load(io.BytesIO(data)))
    if how == "an array missing":
        del arrays["offsets"]
    elif how == "a different format":
        arrays["format"] = np.array("objects/7")
    elif how == "offsets":
        arrays["offsets"][-1] += 1
    elif how == "class":
        arrays["classes"][0] = 2
    elif how == "nan":
        arrays["points"][3] = np.nan
    elif how == "float64":
        arrays["points"] = arrays["points"].astype(np.float64)
    elif how == "pickle":
        arrays["origins"] = arrays["origins"].astype(object)
    body = io.BytesIO()
    np.savez(body, **arrays)
    return body.getvalue()


@pytest.mark.parametrize(
    "how",
    [
        *("cut short", "a bit flipped", "an array", "empty", "an array missing"),
        *("a different format", "offsets", "class", "nan", "float64", "pickle"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(how, tmp_path):
    path = tmp_path / "objects.npz"
    save_objects(path, some_objects(), NAMES)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(ObjectsError) as caught:
        load_objects(path, NAMES)
    message = str(caught.value)
    assert message.startswith(f"{path}: is not an object database, or is damaged; make it again")
    assert "\n" not in message


def test_a_database_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "objects.npz"
    np.savez_compressed(path, points=np.zeros((10**6, 4), np.float32))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(cutouts, "machine_bytes", lambda: 10**6)
    with pytest.raises(ObjectsError, match=r"objects\.npz: needs about 0.0 GB of memory"):
        load_objects(path, NAMES)


def test_a_header_that_claims_to_be_terabytes_is_refused(tmp_path):
    path = tmp_path / "objects.npz"
    save_objects(path, some_objects(), NAMES)
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**13, 4)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", header.getvalue())
    with pytest.raises(ObjectsError, match="is not an object database, or is damaged"):
        load_objects(path, NAMES)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "objects.npz")
    with pytest.raises(ObjectsError, match=r"cannot be read \(not a regular file\)"):
        load_objects(tmp_path / "objects.npz", NAMES)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ObjectsError, match=r"absent\.npz: cannot be read \(No such file"):
        load_objects(tmp_path / "absent.npz", NAMES)


@pytest.mark.parametrize("names", [("vehicle",), ("pedestrian", "vehicle"), (*NAMES, "cyclist")])
def test_objects_of_different_classes_are_refused(names, tmp_path):
    save_objects(tmp_path / "objects.npz", some_objects(), NAMES)
    with pytest.raises(ObjectsError, match="has the classes vehicle, pedestrian, but the config"):
        load_objects(tmp_path / "objects.npz", names)
