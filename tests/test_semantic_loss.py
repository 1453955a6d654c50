"""The semantic loss: kinds of background from label file to gradient, and a run that uses it."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_tiny_config, write_kitti, write_semantickitti
from scenes import CAR, GRID, crate, generator, slope
from test_trainer import AWKWARD, COLUMNS, SCORES, assert_same_run, trainer_of, variant

from bev_instseg.checkpoint import load_model, load_state, save_state
from bev_instseg.cli import train as train_command
from bev_instseg.config import AugmentConfig, Config
from bev_instseg.config_files import save_config
from bev_instseg.datasets.background import KINDS, background_kinds
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Frame, Pillars
from bev_instseg.training import augment
from bev_instseg.training.batch_targets import BatchTargets
from bev_instseg.training.cutouts import DISTRACTOR
from bev_instseg.training.losses import semantic_loss
from bev_instseg.training.paste import paste_some
from bev_instseg.training.pieces import cut_into_pieces
from bev_instseg.training.targets import PillarTargets, make_targets
from bev_instseg.training.trained_network import TrainedNetwork
from bev_instseg.training.training_set import TrainingSet

pytestmark = pytest.mark.usefixtures("one_thread")
GROUND, STRUCTURE, VEGETATION, POLE, OTHER = 1, 2, 3, 4, 5  # places in `KINDS`, from 1


def with_loss(config: Config, weight: float = 0.5) -> Config:
    return dataclasses.replace(
        config, loss=dataclasses.replace(config.loss, semantic_weight=weight)
    )


# From label files to points


def test_class_numbers_are_mapped_to_kinds_of_background():
    numbers = {
        **dict.fromkeys((40, 44, 48, 49, 60, 72), GROUND),
        **dict.fromkeys((50, 51, 52), STRUCTURE),
        70: VEGETATION,
        **dict.fromkeys((71, 80, 81), POLE),
        **dict.fromkeys((11, 15, 99), OTHER),
        **dict.fromkeys((0, 1, 10, 13, 16, 18, 20, 30, 31, 32, 252, 259, 65535), 0),
    }
    assert background_kinds(np.array(list(numbers))).tolist() == list(numbers.values())
    assert list(KINDS)[OTHER - 1] == "other"


@pytest.mark.parametrize(
    ("numbers", "kinds"),
    [
        ([0, 10, 99, 99], None),  # boxes turned into labels: 99 is all background
        ([0, 11, 15, 70, 80], None),
        ([40, 99, 80, 11], [GROUND, OTHER, POLE, OTHER]),
        ([40, 99, 81, 11], [GROUND, 0, POLE, OTHER]),  # poles may be among 99
        ([], None),
    ],
)
def test_labels_that_do_not_tell_kinds_apart(numbers, kinds):
    found = background_kinds(np.array(numbers, np.uint32))
    assert (None if found is None else found.tolist()) == kinds


def test_frames_have_kinds_where_their_labels_have_them(tmp_path):
    config = make_tiny_config()
    root = write_semantickitti(tmp_path / "classes", {"00": ["a"]})
    frame = FrameRef("semantickitti", str(root), "00/000000").read(config.classes, config.data)
    np.testing.assert_array_equal(frame.background, np.where(frame.instance == 0, GROUND, 0))
    path = root / "sequences" / "00" / "labels" / "000000.label"
    labels = np.fromfile(path, np.uint32)
    labels[:50] = 70  # a class of ours, but these points lack an instance id
    labels.tofile(path)
    classes = dataclasses.replace(config.classes[0], semantickitti=(70,)), *config.classes[1:]
    frame = FrameRef("semantickitti", str(root), "00/000000").read(classes, config.data)
    assert not frame.background[:50].any()
    kitti = write_kitti(tmp_path / "boxes", {"train": ["a"]})
    assert FrameRef("kitti", str(kitti), "a").read(config.classes, config.data).background is None


# From points to pillars


def pillar_of_kinds(*point_kinds: int, instance: int = 0) -> int:
    """Return the kind of a pillar that holds points of these kinds, all of one instance."""
    n = len(point_kinds)
    frame = Frame(
        "test",
        np.zeros((n, 4), np.float32),
        np.full(n, instance, np.int32),
        np.ones(n, np.bool_),
        np.array([2, 1], np.int32),
        np.zeros((2, 2), np.float32),
        np.array(point_kinds, np.uint8),
    )
    pillars = Pillars(
        GRID,
        np.zeros(1, np.int32),
        np.zeros((1, 1), np.float32),
        np.zeros(n, np.int32),
        np.zeros(n, np.float32),
    )
    return int(make_targets(frame, pillars).kind[0])


def test_the_kind_of_a_pillar():
    assert pillar_of_kinds(GROUND) == 0
    assert pillar_of_kinds(GROUND, GROUND, GROUND, POLE) == POLE - 1
    assert pillar_of_kinds(VEGETATION, STRUCTURE, VEGETATION) == VEGETATION - 1
    assert pillar_of_kinds(GROUND, GROUND, 0) == -1  # unknown, a void vehicle say
    assert pillar_of_kinds(POLE, POLE, 0) == POLE - 1
    assert pillar_of_kinds(0, 0, instance=1) == len(KINDS) + 2  # by class
    assert pillar_of_kinds(0, 0, instance=2) == len(KINDS) + 1
    assert pillar_of_kinds(VEGETATION, instance=-1) == VEGETATION - 1  # not judged, yet known


def test_kinds_on_a_window_equal_a_loop_over_its_pillars():
    rng = np.random.default_rng(1)
    n, objects = 5000, 20
    points = np.column_stack([rng.uniform(-10, 10, (n, 2)), rng.uniform(-2, 2, (n, 2))])
    points = points.astype(np.float32)
    instance = np.where(rng.random(n) < 0.1, rng.integers(1, objects + 1, n), 0).astype(np.int32)
    background = np.where(instance > 0, 0, rng.choice([0, 1, 1, 1, 2, 3, 4, 5], n)).astype(np.uint8)
    classes = rng.integers(0, 3, objects).astype(np.int32)
    centres = np.zeros((objects, 2), np.float32)
    frame = Frame("test", points, instance, np.ones(n, bool), classes, centres, background)
    pillars = voxelize(points, GRID)
    targets = make_targets(frame, pillars)
    assert len(np.unique(targets.kind)) == 1 + len(KINDS) + 3
    for p, kind in enumerate(targets.kind):
        inside = background[pillars.point_to_pillar == p].tolist()
        standing = [k for k in inside if k != GROUND]
        if targets.instance[p] > 0:
            assert kind == len(KINDS) + classes[targets.instance[p] - 1]
        elif not standing:
            assert kind == GROUND - 1
        else:
            assert kind == max(sorted(set(standing)), key=standing.count) - 1
    assert (make_targets(dataclasses.replace(frame, background=None), pillars).kind == -1).all()


def test_kinds_travel_with_their_points_through_all_changes():
    bare, height_m = slope()
    points = bare.points.copy()
    kinds = generator().integers(1, 6, len(points)).astype(np.uint8)
    points[:, 3] = kinds / 10  # tells what the point was
    frame = dataclasses.replace(bare, points=points, background=kinds)
    config = AugmentConfig(intensity=0, intensity_gamma=0, thin=1.0)
    pasted = 0
    for seed in range(10):
        rng = generator(seed)
        changed, heights = augment.turn_flip_scale(frame, height_m, config, rng)
        changed, heights = augment.select_points(changed, heights, rng.random(len(points)) < 0.8)
        bank = [[crate()], [], [], [crate((8.0, 3.0), class_index=DISTRACTOR)]]
        changed, _ = paste_some(changed, heights, bank, (3, 0, 0, 3), rng)
        changed = augment.jitter(augment.thin_beams(changed, config, rng), config, rng)
        was = np.round(changed.points[:, 3] * 10)
        np.testing.assert_array_equal(changed.background, np.where(was == 9, 0, was))
        assert (changed.background[changed.instance > 0] == 0).all()
        pasted += len(changed.classes)
        assert set(changed.classes) <= {CAR}
    assert pasted > 5


def test_samples_have_kinds_if_they_are_learned(tmp_path):
    config = make_tiny_config()
    kitti = FrameRef("kitti", str(write_kitti(tmp_path / "k", {"train": ["a"]})), "a")
    root = write_semantickitti(tmp_path / "s", {"00": ["a", "b"]})
    semantickitti = [FrameRef("semantickitti", str(root), f"00/00000{i}") for i in range(2)]
    without = TrainingSet([(1.0, semantickitti)], config)
    for i in range(5):
        pillars, targets = without[i]
        assert (targets.kind == -1).all()
        same, known = TrainingSet([(1.0, semantickitti)], with_loss(config))[i]
        np.testing.assert_array_equal(same.features, pillars.features)  # the same draws
        on_object = known.instance > 0
        np.testing.assert_array_equal(
            known.kind[on_object], len(KINDS) + known.classes[known.instance[on_object] - 1]
        )
        assert (known.kind[known.instance == 0] == GROUND - 1).all()
        boxes = TrainingSet([(1.0, [kitti])], with_loss(config))[i][1]
        assert (boxes.kind == -1).all()  # those of pasted objects, too


def test_pieces_keep_the_kinds_of_their_pillars():
    kind = np.arange(40, dtype=np.int32)
    one, centre = np.ones(40, np.int32), np.zeros((1, 2), np.float32)
    targets = PillarTargets(one, np.zeros(1, np.int32), centre, kind)
    xy_m = np.column_stack([np.arange(40), np.zeros(40)]).astype(np.float32)
    cut = cut_into_pieces(targets, xy_m, np.array([8.0]), generator())
    assert len(cut.classes) > 1
    np.testing.assert_array_equal(cut.kind, kind)


# From pillars to gradients


def targets_of(*frames: list[int]) -> BatchTargets:
    """Return the truth of frames without objects whose pillars have these kinds."""
    none = np.zeros(0, np.int32), np.zeros((0, 2), np.float32)
    return BatchTargets.from_frames(
        [PillarTargets(np.zeros(len(f), np.int32), *none, np.array(f, np.int32)) for f in frames]
    )


def test_the_loss_is_the_mean_cross_entropy_of_known_pillars_over_frames():
    logits = torch.from_numpy(generator().normal(0, 1, (6, 8)))
    log_p = logits.log_softmax(1)
    loss = semantic_loss(logits, targets_of([7, -1, 0], [-1], [3, 2]))
    first, last = -(log_p[0, 7] + log_p[2, 0]) / 2, -(log_p[4, 3] + log_p[5, 2]) / 2
    assert loss.item() == pytest.approx((first + last).item() / 3)
    logits.requires_grad_()
    loss = semantic_loss(logits, targets_of([-1] * 5, [-1]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()


def test_the_gradient_reaches_the_whole_trunk_but_no_head(tmp_path):
    config = with_loss(make_tiny_config())
    root = write_semantickitti(tmp_path, {"00": ["a", "b"]})
    refs = [FrameRef("semantickitti", str(root), f"00/00000{i}") for i in range(2)]
    samples = TrainingSet([(1.0, refs)], config)
    pillars, targets = zip(*(samples[i] for i in range(4)), strict=True)
    network = TrainedNetwork(BEVNet(config), config).train()
    _, logits = network(PillarBatch.from_pillars(pillars, config.model.sparse_levels))
    assert logits.shape == (sum(len(p.cells) for p in pillars), len(KINDS) + len(config.classes))
    semantic_loss(logits, BatchTargets.from_frames(targets)).backward()
    for name, parameter in network.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached != name.startswith("model.heads"), name


# A run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_kitti(root / "kitti", {"train": ["a", "b"], "val": ["c"]})
    write_semantickitti(root / "semantickitti", {"00": ["a", "b"], "01": ["c"]})
    return root


def test_a_run_with_the_loss_resumes_and_its_weights_are_those_of_the_network(
    data, tmp_path, monkeypatch
):
    config = with_loss(variant(make_tiny_config(), **AWKWARD))
    plain = trainer_of(with_loss(config, 0), data, tmp_path / "plain")
    straight = trainer_of(config, data, tmp_path / "straight")
    for one, other in zip(straight.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)  # the layer is drawn last
    straight.run()
    with open(tmp_path / "straight" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[-1]) == {*COLUMNS, *SCORES, "semantic"}
    assert float(rows[0]["semantic"]) > float(rows[-1]["semantic"]) > 0
    for name in ("weights.safetensors", "best.pt", "last.pt"):
        model, its_config, _ = load_model(tmp_path / "straight" / name)
        assert its_config == config
        assert model.state_dict().keys() == BEVNet(make_tiny_config()).state_dict().keys()

    stopped = trainer_of(config, data, tmp_path / "stopped")
    monkeypatch.setattr(stopped, "_agreed_signal", lambda: stopped.progress.step == 7)
    stopped.run()
    trainer_of(config, data, tmp_path / "stopped", resume=True).run()
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")

    other = trainer_of(config, data, tmp_path / "other", initial=tmp_path / "straight" / "best.pt")
    assert len(other.trained.kinds) == 1  # a new layer, as weights have none


def test_a_state_from_before_the_loss_can_be_resumed(data, tmp_path, monkeypatch):
    config = variant(make_tiny_config(), **AWKWARD)
    trainer = trainer_of(config, data, tmp_path)
    monkeypatch.setattr(trainer, "_agreed_signal", lambda: trainer.progress.step == 4)
    trainer.run()
    state = load_state(tmp_path / "last.pt")
    assert not state.pop("kinds")
    del state["config"]["loss"]["semantic_weight"]
    save_state(tmp_path / "last.pt", state)
    assert trainer_of(config, data, tmp_path, resume=True).progress.step == 4


def test_a_run_without_kinds_of_background_is_refused(data, tmp_path, capsys):
    config = with_loss(make_tiny_config())
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, sources=config.data.sources[:1])
    )
    save_config(config, tmp_path / "config.yaml")
    arguments = ["--config", tmp_path / "config.yaml", "--data", data, "--out", tmp_path / "run"]
    assert train_command.main([*map(str, arguments)]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "semantic_weight" in line)
    assert "kitti (train): loss.semantic_weight needs .label files" in line
    assert "set it to 0" in line
    assert not (tmp_path / "run").exists()
