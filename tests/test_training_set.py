import dataclasses
import pickle

import numpy as np
import pytest
from conftest import STREETS, write_kitti

from bev_instseg.config import AugmentConfig, TrainConfig
from bev_instseg.datasets.frames import list_frames
from bev_instseg.exceptions import KittiError
from bev_instseg.ops.voxelize import FEATURES, voxelize
from bev_instseg.training import paste as paste_module
from bev_instseg.training.cutouts import MIN_CUTOUT_POINTS, cut_objects
from bev_instseg.training.targets import make_targets
from bev_instseg.training.training_set import (
    TrainingSet,
    frame_name,
    list_sources,
    read_frame_on_grid,
)


@pytest.fixture
def sources(kitti_root, semantickitti_root):
    return [
        (1.0, list_frames(kitti_root, "kitti", ["train"])),
        (2.0, list_frames(semantickitti_root, "semantickitti", ["00"])),
    ]


def assert_same(one, other):
    (pillars, targets), (same_pillars, same_targets) = one, other
    assert pillars.grid == same_pillars.grid
    for name in ("cells", "features", "point_to_pillar", "point_height_m"):
        np.testing.assert_array_equal(getattr(pillars, name), getattr(same_pillars, name))
    for name in ("instance", "classes", "centres_m"):
        np.testing.assert_array_equal(getattr(targets, name), getattr(same_targets, name))


def test_a_sample_depends_on_its_number_alone(sources, tiny_config):
    forth, back = TrainingSet(sources, tiny_config), TrainingSet(sources, tiny_config)
    numbers = [0, 1, 2, 3, 7, 100, 10**9]
    first = {i: forth[i] for i in numbers}
    second = {i: back[i] for i in reversed(numbers)}
    for i in numbers:
        assert_same(first[i], second[i])
        assert_same(first[i], forth[i])  # requested again
    travelled = pickle.loads(pickle.dumps(forth))
    assert_same(travelled[3], first[3])
    sizes = {len(pillars.point_to_pillar) for pillars, _ in first.values()}
    assert len(sizes) == len(numbers)  # no two alike


def test_a_different_seed_gives_different_samples(sources, tiny_config):
    other = dataclasses.replace(
        tiny_config, train=dataclasses.replace(tiny_config.train, seed=tiny_config.train.seed + 1)
    )
    one, two = TrainingSet(sources, tiny_config)[5], TrainingSet(sources, other)[5]
    assert not np.array_equal(one[0].features, two[0].features)


def test_sources_are_drawn_by_weight_and_their_frames_evenly(kitti_root, tiny_config):
    refs = list_frames(kitti_root, "kitti", ["train", "val"])  # a, b, c
    plain = dataclasses.replace(tiny_config, augment=AugmentConfig(enabled=False))
    plain = dataclasses.replace(plain, train=dataclasses.replace(plain.train, window_cells=0))
    samples = TrainingSet([(3.0, refs[:1]), (1.0, refs[1:]), (0.0, refs[:1])], plain)
    samples.load()
    sizes = [len(frame.points) for frame, _ in samples._frames]
    assert len(set(sizes)) == 3  # tells frames apart
    drawn = [len(samples[i][0].point_to_pillar) for i in range(400)]
    share = [drawn.count(size) / 400 for size in sizes]
    np.testing.assert_allclose(share, [0.75, 0.125, 0.125], atol=0.07)
    assert samples._probability.tolist() == [0.75, 0.125, 0.125]


def test_without_augmentation_a_sample_is_its_frame(sources, tiny_config):
    plain = dataclasses.replace(
        tiny_config,
        augment=AugmentConfig(enabled=False),
        train=dataclasses.replace(tiny_config.train, window_cells=0, min_object_points=20),
    )
    ref = sources[0][1][0]
    frame = ref.read(plain.classes, plain.data)
    pillars = voxelize(frame.points, plain.grid)
    sample = TrainingSet([(1, [ref])], plain)[4]
    np.testing.assert_array_equal(sample[0].features, pillars.features)
    np.testing.assert_array_equal(sample[0].cells, pillars.cells)
    targets = make_targets(frame, pillars, 20)
    np.testing.assert_array_equal(sample[1].instance, targets.instance)
    assert set(targets.instance.tolist()) == {-1, 0, 1, 2, 3}


def test_samples_are_windows_of_the_configured_size(sources, tiny_config):
    samples = TrainingSet(sources, tiny_config)
    found = set()
    for i in range(20):
        pillars, targets = samples[i]
        assert pillars.grid.shape == (32, 32)
        assert len(pillars.cells) == len(targets.instance) > 0
        assert (pillars.point_to_pillar >= 0).mean() > 0.9  # cropped before, but for pasted objects
        found |= {int(targets.classes[k - 1]) for k in set(targets.instance.tolist()) if k > 0}
    assert found == {0, 1, 2}


def test_objects_are_pasted_from_all_frames(sources, tiny_config):
    samples = TrainingSet(sources, tiny_config)
    samples.load()
    (bank,) = samples._banks
    assert [len(cutouts) for cutouts in bank] == [2 * 3, 2 * 2, 2 * 1, 0]  # streets a and b
    assert all(len(c.points) >= MIN_CUTOUT_POINTS for cutouts in bank for c in cutouts)
    without = dataclasses.replace(tiny_config, augment=AugmentConfig(paste=(0, 0, 0)))
    max_objects = max(len(samples[i][1].classes) for i in range(30))
    assert (
        max_objects > max(len(TrainingSet(sources, without)[i][1].classes) for i in range(30)) == 3
    )


def test_objects_of_a_database_replace_the_frames_own(sources, kitti_root, tiny_config):
    (ref,) = list_frames(kitti_root, "kitti", ["val"])
    (cyclist,) = [
        c for c in cut_objects(*read_frame_on_grid(ref, tiny_config)) if c.class_index == 2
    ]
    assert cyclist.origin == "kitti/c"
    samples = TrainingSet(sources, tiny_config, [[cyclist]])
    samples.load()
    assert samples._banks == [[[], [], [cyclist], []]]
    added = {tuple(samples[i][1].classes[3:].tolist()) for i in range(30)}
    assert added == {(), (2,)}


def test_each_sample_pastes_from_one_of_the_databases(sources, kitti_root, tiny_config):
    (ref,) = list_frames(kitti_root, "kitti", ["val"])
    cutouts = cut_objects(*read_frame_on_grid(ref, tiny_config))
    databases = [[c for c in cutouts if c.class_index == k] for k in (1, 2)]
    config = dataclasses.replace(tiny_config, augment=AugmentConfig(paste=(0, 3, 3)))
    samples = TrainingSet(sources, config, databases)
    added = [set(samples[i][1].classes[3:].tolist()) for i in range(40)]
    assert {1} in added
    assert {2} in added
    assert {1, 2} not in added


def test_points_outside_the_window_can_occlude_pasted_objects(sources, tiny_config, monkeypatch):
    seen = []
    paste_some = paste_module.paste_some
    monkeypatch.setattr(
        "bev_instseg.training.training_set.paste_some",
        lambda *args: seen.append((args[0], args[-1])) or paste_some(*args),
    )
    samples = TrainingSet(sources, tiny_config)
    for i in range(10):
        grid = samples[i][0].grid
        frame, outside = seen[-1]
        assert (grid.cell_of(frame.points) >= 0).all()
        assert (grid.cell_of(outside) < 0).all()
    assert max(len(outside) for _, outside in seen) > 100
    whole = dataclasses.replace(tiny_config, train=TrainConfig(window_cells=0))
    TrainingSet(sources, whole)[0]
    assert len(seen[-1][1]) == 0


@pytest.mark.parametrize("change", ["thin", "intensity_gamma"])
def test_sweeps_are_changed_to_resemble_other_sensors(change, sources, tiny_config):
    off = AugmentConfig(thin=0.0, intensity_gamma=0.0, paste=(0, 0, 0), dropout=0.0)
    on = dataclasses.replace(off, **{change: 1.0})
    plain, changed = (
        TrainingSet(sources, dataclasses.replace(tiny_config, augment=augment))[2][0]
        for augment in (off, on)
    )
    if change == "thin":
        share = len(changed.point_to_pillar) / len(plain.point_to_pillar)
        assert 0.3 < share < 0.7
    else:
        np.testing.assert_array_equal(changed.cells, plain.cells)
        different = (changed.features != plain.features).any(0)
        changed_names = [FEATURES[k] for k in np.flatnonzero(different)]
        assert changed_names == ["intensity_mean", "intensity_max"]


def test_list_sources_returns_weights_and_frames(
    tmp_path, kitti_root, semantickitti_root, tiny_config
):
    for part, names in (
        ("train", [["a", "b"], ["00/000000", "00/000001"]]),
        ("val", [["c"], ["01/000000"]]),
    ):
        listed = list_sources(tiny_config, tmp_path, part)
        assert [weight for weight, _ in listed] == [1.0, 1.0]
        assert [[ref.name for ref in refs] for _, refs in listed] == names


def test_frames_are_read_once(sources, tiny_config, monkeypatch):
    reads = []
    read = type(sources[0][1][0]).read
    monkeypatch.setattr(
        type(sources[0][1][0]), "read", lambda self, *args: reads.append(self) or read(self, *args)
    )
    samples = TrainingSet(sources, tiny_config)
    assert reads == []  # not before the first sample
    for i in range(5):
        samples[i]
    assert len(reads) == 4


def test_a_frame_without_points_or_objects_makes_a_sample(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setitem(STREETS, "bare", ())
    root = write_kitti(tmp_path, {"train": ["bare"]})
    refs = list_frames(root, "kitti", ["train"])
    pillars, targets = TrainingSet([(1, refs)], tiny_config)[0]
    assert len(targets.classes) == 0
    assert (targets.instance <= 0).all()
    assert len(pillars.cells) > 100
    (root / "training" / "velodyne" / "bare.bin").write_bytes(b"")
    pillars, targets = TrainingSet([(1, refs)], tiny_config)[0]
    assert len(pillars.cells) == len(targets.instance) == 0


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0]])
def test_a_training_set_without_frames_is_an_error(kitti_root, tiny_config, weights):
    refs = list_frames(kitti_root, "kitti", ["train"])
    with pytest.raises(ValueError, match="no frames to train on"):
        TrainingSet([(weight, refs) for weight in weights], tiny_config)
    with pytest.raises(ValueError, match="no frames to train on"):
        TrainingSet([(1.0, [])], tiny_config)


def test_a_broken_frame_is_reported_every_time(sources, kitti_root, tiny_config):
    path = kitti_root / "training" / "label_2" / "b.txt"
    path.write_text("Car\n")
    samples = TrainingSet(sources, tiny_config)
    for _ in range(2):  # not half a set the second time
        with pytest.raises(KittiError, match=r"b\.txt: line 1"):
            samples[0]


def test_frames_of_the_current_folder_have_its_name(kitti_root, monkeypatch):
    monkeypatch.chdir(kitti_root)
    names = [frame_name(list_frames(root, "kitti", ["val"])[0]) for root in (".", kitti_root)]
    assert names == ["kitti/c", "kitti/c"]
