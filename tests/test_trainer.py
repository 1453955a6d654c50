import csv
import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from conftest import (
    ROOT,
    STREETS,
    make_tiny_config,
    one_thread_environment,
    write_kitti,
    write_semantickitti,
)
from scenes import crate

from bev_instseg.checkpoint import load_model, load_state, save_state
from bev_instseg.cli import train as train_command
from bev_instseg.config import AugmentConfig
from bev_instseg.config_files import load_config, save_config
from bev_instseg.datasets.frames import list_frames
from bev_instseg.engines import torch_engine
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.exceptions import TrainingError
from bev_instseg.models.backbone import NEW_BLOCK_SCALE
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.segmenter import Segmenter
from bev_instseg.training import progress as progress_module
from bev_instseg.training import run_folder
from bev_instseg.training import trainer as trainer_module
from bev_instseg.training.batches import lost_worker_explained, prepare_worker
from bev_instseg.training.losses import LOSSES, SEMANTIC
from bev_instseg.training.optimization import learning_rate_factor
from bev_instseg.training.progress import duration
from bev_instseg.training.stop_signals import StopSignals
from bev_instseg.training.trained_network import TrainedNetwork
from bev_instseg.training.trainer import Trainer
from bev_instseg.training.training_set import TrainingSet

pytestmark = pytest.mark.usefixtures("one_thread")
TOOL = ROOT / "tools" / "train_kitti.py"
COLUMNS = ["step", "time_s", "lr", *LOSSES]
SCORES = [
    f"val_{what}_{n}" for n in ("vehicle", "pedestrian", "cyclist") for what in ("pq", "recall")
]
# Intervals none of which is a multiple of another.
AWKWARD = {"steps": 11, "log_every": 3, "validate_every": 4, "checkpoint_every": 5}


def variant(config, **train):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


def trainer_of(config, data, out, resume=False, initial=None):
    """Return a trainer on the configuration's sources, set up as the command does."""
    sources, validation = [], []
    for source in config.data.sources:
        root = data / source.path
        sources.append((source.weight, list_frames(root, source.layout, source.train)))
        validation += list_frames(root, source.layout, source.val)
    return Trainer(config, TrainingSet(sources, config), validation, out, resume, initial)


def rows_of(out):
    """Return the rows of log.csv without their times."""
    with open(out / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "time_s"} for row in csv.DictReader(file)]


def assert_equal(one, other, path="state"):
    """Compare nested dictionaries and lists of tensors and numbers, bit by bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one.keys() - {"time_s", "seconds"}:
            assert_equal(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{path}[{i}]")
    else:
        assert one == other or (one != one and other != other), path


def assert_same_run(one, other):
    """Compare the runs in two folders to the bit, times excluded."""
    assert_equal(load_state(one / "last.pt"), load_state(other / "last.pt"))
    assert rows_of(one) == rows_of(other)
    assert (one / "weights.safetensors").read_bytes() == (
        other / "weights.safetensors"
    ).read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write both data sets where the tiny configuration expects them."""
    root = tmp_path_factory.mktemp("data")
    write_kitti(root / "kitti", {"train": ["a", "b"], "val": ["c"]})
    write_semantickitti(root / "semantickitti", {"00": ["a", "b"], "01": ["c"]})
    return root


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """Run the awkward intervals from start to end without a stop."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("straight") / "run"
    trainer_of(variant(make_tiny_config(), **AWKWARD), data, out).run()
    torch.set_num_threads(before)
    return out


# The run's folder


def test_a_run_writes_all_its_files(straight, data):
    names = {path.name for path in straight.iterdir()}
    assert names == {
        *("config.yaml", "log.csv", "last.pt", "best.pt"),
        *("weights.safetensors", "weights.json"),
    }
    config = variant(make_tiny_config(), **AWKWARD)
    assert load_config(straight / "config.yaml") == config
    last = load_state(straight / "last.pt")
    assert last["step"] == 11
    model, its_config, _ = load_model(straight / "weights.safetensors")
    assert its_config == config
    assert_equal(model.state_dict(), last["model"])


def test_the_log_has_a_row_at_each_interval_and_at_the_end(straight):
    with open(straight / "log.csv", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS + SCORES
    assert [int(row["step"]) for row in rows] == [3, 4, 6, 8, 9, 11]
    scored = [int(row["step"]) for row in rows if row["val_pq_vehicle"]]
    assert scored == [4, 8, 11]
    times = [float(row["time_s"]) for row in rows]
    assert times == sorted(times)
    for row in rows:
        parts = [float(row[name]) for name in ("instance", "smoothness", "seed")]
        assert math.isclose(float(row["loss"]), parts[0] + parts[1] + 10 * parts[2], rel_tol=1e-5)
        assert float(row["lr"]) == pytest.approx(
            2e-3
            * learning_rate_factor(int(row["step"]), variant(make_tiny_config(), **AWKWARD).train)
        )


def test_a_row_averages_the_losses_since_the_previous_row(straight, data, tmp_path):
    trainer_of(variant(make_tiny_config(), **AWKWARD | {"log_every": 1}), data, tmp_path).run()
    each = {int(row["step"]): row for row in rows_of(tmp_path)}
    assert list(each) == list(range(1, 12))
    before = 0
    for row in rows_of(straight):
        steps = range(before + 1, int(row["step"]) + 1)
        for name in LOSSES:
            mean = sum(float(each[step][name]) for step in steps) / len(steps)
            assert float(row[name]) == pytest.approx(mean, rel=1e-12)
        before = int(row["step"])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_moving_average_of_the_weights_is_saved(data, tmp_path, monkeypatch, decay):
    trained = []
    step = Trainer._train_step

    def noting(trainer, batch):
        losses = step(trainer, batch)
        trained.append({k: v.clone() for k, v in trainer.model.state_dict().items()})
        return losses

    monkeypatch.setattr(Trainer, "_train_step", noting)
    config = variant(make_tiny_config(), steps=6, validate_every=100, average_decay=decay)
    trainer_of(config, data, tmp_path).run()
    model, _, _ = load_model(tmp_path / "weights.safetensors")
    for name, saved in model.state_dict().items():
        mean = trained[0][name]
        for count, weights in enumerate(trained[1:], 1):
            share = max(1 - decay, 1 / (1 + 0.1 * count))
            if mean.is_floating_point():
                mean = mean + share * (weights[name] - mean)
        if mean.is_floating_point():
            torch.testing.assert_close(saved, mean)
    assert_equal(load_state(tmp_path / "last.pt")["trained"], trained[-1])


def test_states_are_saved_exactly_at_their_steps(data, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        run_folder, "save_state", lambda path, state: saved.append((path.name, state["step"]))
    )
    scores = iter([0.2, 0.5, 0.3])

    class Scripted:
        def result(self):
            each = SimpleNamespace(pq=next(scores), recall_50=0.0)
            return SimpleNamespace(mean_pq=each.pq, per_class={"vehicle": each})

    monkeypatch.setattr(trainer_module, "score_frames", lambda *_: Scripted())
    trainer = trainer_of(variant(make_tiny_config(), **AWKWARD), data, tmp_path)
    trainer.run()
    assert saved == [
        *[("best.pt", 4), ("last.pt", 5), ("best.pt", 8)],
        *[("last.pt", 10), ("last.pt", 11)],
    ]
    assert trainer.progress.best == 0.5


def test_no_best_state_is_saved_without_objects_to_score(tmp_path, data, monkeypatch):
    monkeypatch.setitem(STREETS, "bare", ())
    write_kitti(tmp_path, {"val": ["bare"]})
    config = variant(make_tiny_config(), steps=2, validate_every=1)
    refs = list_frames(data / "kitti", "kitti", ["train"])
    samples = TrainingSet([(1, refs)], config)
    for name, validation in (
        ("nan", list_frames(tmp_path, "kitti", ["val"])),
        ("none", []),
    ):
        out = tmp_path / name
        Trainer(config, samples, validation, out).run()
        assert load_state(out / "last.pt")["best"] == -math.inf
        assert not (out / "best.pt").exists()
        assert ("val_pq_vehicle" in rows_of(out)[0]) == bool(validation)


def test_validation_can_be_limited_to_some_frames(data, tmp_path):
    refs = list_frames(data / "kitti", "kitti", ["train", "val"]) * 4  # 12
    for count, expected in ((0, 12), (5, 5), (99, 12)):
        config = variant(make_tiny_config(), validate_frames=count)
        trainer = Trainer(config, TrainingSet([(1, refs)], config), refs, tmp_path / str(count))
        assert len(trainer.validation) == expected
    config = variant(make_tiny_config(), validate_frames=3)
    numbered = [dataclasses.replace(refs[0], name=str(i)) for i in range(12)]
    trainer = Trainer(config, TrainingSet([(1, refs)], config), numbered, tmp_path / "spread")
    assert [ref.name for ref in trainer.validation] == ["0", "4", "8"]


# Stopping and resuming

DRIVER = f"""
import os, runpy, signal, sys, threading, time
from bev_instseg.training.stop_signals import StopSignals
from bev_instseg.training.trainer import Trainer
from bev_instseg.training.trained_network import TrainedNetwork
from bev_instseg.training.training_set import TrainingSet

number, at, whom = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if signal.getsignal(number) == signal.SIG_IGN:  # tests that run below nohup inherit that
    signal.signal(number, signal.SIG_DFL)
step, sample = Trainer._train_step, TrainingSet.__getitem__

def train_step(self, batch):
    losses = step(self, batch)
    if whom == "self" and self.progress.step + 1 == at:
        os.kill(os.getpid(), number)
    if whom == "group" and self.progress.step + 2 == at:  # while the loop waits for the next batch
        threading.Timer(0.2, os.killpg, (0, number)).start()
    return losses

def slow_sample(self, index):
    time.sleep(0.3)
    return sample(self, index)

if whom == "group":
    TrainingSet.__getitem__ = slow_sample
if __name__ == "__main__":
    Trainer._train_step = train_step
    sys.exit(runpy.run_path({str(TOOL)!r}, run_name="tool")["main"](sys.argv[4:]))
"""


def run_until(number, at, whom, config, data, out, tmp_path):
    """Run the command in a process group of its own that gets a signal before step ``at``."""
    (tmp_path / "driver.py").write_text(DRIVER)
    save_config(config, tmp_path / "config.yaml")
    return subprocess.run(
        [
            *(sys.executable, tmp_path / "driver.py", str(int(number)), str(at), whom),
            *("--config", tmp_path / "config.yaml", "--data", data, "--out", out),
        ],
        env=one_thread_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "whom", "workers", "at"),
    [
        (signal.SIGTERM, "self", 0, 7),
        (signal.SIGINT, "group", 1, 4),  # as Ctrl-C does
        (signal.SIGHUP, "group", 1, 4),  # as a closed terminal does
    ],
)
def test_a_stopped_run_resumes_as_if_never_stopped(
    straight, data, tmp_path, number, whom, workers, at
):
    config = variant(make_tiny_config(), **AWKWARD, workers=workers)
    out = tmp_path / "run"
    stopped = run_until(number, at, whom, config, data, out, tmp_path)
    assert stopped.returncode == 128 + number, stopped.stderr
    assert "Traceback" not in stopped.stderr
    step = load_state(out / "last.pt")["step"]
    assert step == at or (whom == "group" and at < step < 11)  # a timer may be late
    assert f"stopped at step {step} of 11; its state is saved, --resume continues" in stopped.stdout
    assert not (out / "weights.safetensors").exists()
    assert (out / "log.png").exists()
    state = load_state(out / "last.pt")
    state["config"]["train"]["workers"] = 0  # the samples are the same
    save_state(out / "last.pt", state)
    trainer_of(variant(config, workers=0), data, out, resume=True).run()
    assert_same_run(straight, out)


def test_a_killed_run_resumes_from_its_last_checkpoint(straight, data, tmp_path):
    config, out = variant(make_tiny_config(), **AWKWARD), tmp_path / "run"
    killed = run_until(signal.SIGKILL, 9, "self", config, data, out, tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert load_state(out / "last.pt")["step"] == 5  # between two rows of the log
    trainer_of(config, data, out, resume=True).run()
    assert_same_run(straight, out)


@pytest.mark.parametrize("at", range(1, 11))
def test_stopping_after_any_step_changes_nothing(straight, data, tmp_path, at, monkeypatch):
    config = variant(make_tiny_config(), **AWKWARD)
    trainer = trainer_of(config, data, tmp_path)
    monkeypatch.setattr(trainer, "_agreed_signal", lambda: trainer.progress.step == at)
    trainer.run()
    trainer_of(config, data, tmp_path, resume=True).run()
    assert_same_run(straight, tmp_path)


def test_a_finished_run_can_be_resumed_and_stays_the_same(straight, data, tmp_path):
    config = variant(make_tiny_config(), **AWKWARD)
    save_state(tmp_path / "last.pt", load_state(straight / "last.pt"))
    trainer_of(config, data, tmp_path, resume=True).run()
    assert (tmp_path / "weights.json").exists()
    weights = [(out / "weights.safetensors").read_bytes() for out in (straight, tmp_path)]
    assert weights[0] == weights[1]


def test_a_run_can_be_resumed_from_its_best_state(straight, data, tmp_path):
    state = load_state(straight / "best.pt")
    assert state["step"] in (4, 8, 11)
    assert state["rows"][-1]["step"] == state["step"]  # its own scores included
    assert state["rows"][-1]["val_pq_vehicle"] >= 0
    save_state(tmp_path / "last.pt", state)
    trainer_of(variant(make_tiny_config(), **AWKWARD), data, tmp_path, resume=True).run()
    assert_same_run(straight, tmp_path)


def test_an_old_state_without_partial_rows_can_be_resumed(straight, data, tmp_path):
    state = load_state(straight / "best.pt")
    assert state.pop("recent") == []
    save_state(tmp_path / "last.pt", state)
    trainer_of(variant(make_tiny_config(), **AWKWARD), data, tmp_path, resume=True).run()
    assert_same_run(straight, tmp_path)


def test_a_signal_stops_the_run_and_leaves_the_handlers_as_they_were(data, tmp_path, monkeypatch):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    trainer = trainer_of(make_tiny_config(), data, tmp_path)
    step = trainer._train_step

    def train_step(batch):
        if trainer.progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batch)

    monkeypatch.setattr(trainer, "_train_step", train_step)
    trainer.run()
    assert trainer.progress.step == 3
    assert trainer.stopped_by == signal.SIGTERM
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_second_signal_ends_the_process_without_saving():
    code = (
        "import os, signal\n"
        "from bev_instseg.training.stop_signals import StopSignals\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with StopSignals(second_kills=True):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 130
    assert ended.stdout == "first\n"
    assert ended.stderr.strip() == (
        "stopped without saving; --resume continues from the last checkpoint"
    )


def test_an_ignored_hangup_stays_ignored():
    """As nohup asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals(second_kills=True) as signals:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == 0
    finally:
        signal.signal(signal.SIGHUP, before)


KILLED_PARENT = """
import multiprocessing, os, signal, time
from bev_instseg.training.batches import end_with_parent

def work():
    end_with_parent()
    time.sleep(3600)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_loader_process_ends_with_a_killed_parent(tmp_path):
    """It would hold the standard output open, and the call would time out."""
    (tmp_path / "parent.py").write_text(KILLED_PARENT)
    ended = subprocess.run(
        [sys.executable, tmp_path / "parent.py"],
        env=one_thread_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == -signal.SIGKILL
    assert int(ended.stdout)


def test_loader_processes_do_not_repeat_notices():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_worker(0)
        for module in ("bev_instseg.datasets.kitti", "torch.nn"):
            warnings.warn_explicit(module, UserWarning, "file.py", 1, module)
    assert [str(warning.message) for warning in caught] == ["torch.nn"]


def test_a_killed_loader_process_is_explained():
    reason = r"each of the 2 keeps all training frames; lower train\.workers"
    with pytest.raises(TrainingError, match=reason), lost_worker_explained(2):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match="of a different kind"), lost_worker_explained(2):
        raise RuntimeError("of a different kind")


def test_memory_is_checked_before_anything_is_allocated(data, tmp_path):
    config = variant(make_tiny_config(), batch_size=10**9, window_cells=0)
    refused(config, data, tmp_path / "run", False, "train.batch_size 1000000000", "GB of memory")
    assert not (tmp_path / "run").exists()


# Refusals


def refused(config, data, out, resume, *words):
    with pytest.raises(TrainingError) as caught:
        trainer_of(config, data, out, resume)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_run_is_not_overwritten(straight, data):
    before = {path.name: path.read_bytes() for path in straight.iterdir()}
    refused(
        make_tiny_config(), data, straight, False, "last.pt", "a run already exists", "--resume"
    )
    assert {path.name: path.read_bytes() for path in straight.iterdir()} == before


def test_a_run_with_a_different_configuration_is_not_resumed(straight, data):
    before = {path.name: path.read_bytes() for path in straight.iterdir()}
    config = variant(make_tiny_config(), **AWKWARD, learning_rate=1e-4)
    refused(config, data, straight, True, "last.pt", "different configuration", "config.yaml")
    assert {path.name: path.read_bytes() for path in straight.iterdir()} == before


def test_a_run_with_different_objects_is_not_resumed(straight, data):
    config = variant(make_tiny_config(), **AWKWARD)
    samples = trainer_of(config, data, straight, resume=True).training_set
    samples = TrainingSet([(1.0, samples.refs)], config, [[crate()]])
    with pytest.raises(TrainingError, match="made with different --objects"):
        Trainer(config, samples, [], straight, resume=True)


def test_a_run_with_different_frames_is_not_resumed(straight, data):
    config = variant(make_tiny_config(), **AWKWARD)
    refs = trainer_of(config, data, straight, resume=True).training_set.refs
    samples = TrainingSet([(1.0, refs[1:])], config)
    with pytest.raises(TrainingError, match="made with different training frames; restore them"):
        Trainer(config, samples, [], straight, resume=True)


def test_a_run_with_different_validation_frames_is_not_resumed(straight, data):
    config = variant(make_tiny_config(), **AWKWARD)
    trainer = trainer_of(config, data, straight, resume=True)
    with pytest.raises(TrainingError, match="scored on different validation frames; restore them"):
        Trainer(config, trainer.training_set, trainer.validation[1:], straight, resume=True)


def test_a_warm_up_as_long_as_the_run_is_reported(data, tmp_path):
    config = variant(make_tiny_config(), steps=8, warmup_steps=8)
    with pytest.warns(UserWarning, match=r"warmup_steps is 8, train\.steps 8: .* a tenth of steps"):
        trainer_of(config, data, tmp_path)


def test_a_run_can_start_from_given_weights(straight, data, tmp_path):
    weights = straight / "weights.safetensors"
    trainer = trainer_of(make_tiny_config(), data, tmp_path / "run", initial=weights)
    assert trainer.progress.step == 0
    assert_equal(trainer.model.state_dict(), load_state(straight / "last.pt")["model"])
    config, model = make_tiny_config(), make_tiny_config().model
    relative = dataclasses.replace(model, relative_intensity=True)
    finer = dataclasses.replace(
        config, model=relative, grid=dataclasses.replace(config.grid, cell_m=0.2)
    )
    with pytest.warns(UserWarning, match="the network must get used to that") as notices:
        trainer = trainer_of(finer, data, tmp_path / "finer", initial=weights)
    told = " ".join(str(notice.message) for notice in notices)
    assert "trained with grid.cell_m 0.4, not 0.2" in told
    assert "trained with model.relative_intensity False, not True" in told
    assert_equal(trainer.model.state_dict(), load_state(straight / "last.pt")["model"])
    for sizes in (
        {"widths": (4, 8, 8)},
        {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)},
        {"blocks": (1, 0, 2)},
        {"bandwidth": "scalar"},
    ):
        other = dataclasses.replace(config, model=dataclasses.replace(model, **sizes))
        with pytest.raises(
            TrainingError, match=r"weights\.safetensors: belongs to a different network"
        ):
            trainer_of(other, data, tmp_path / "other", initial=weights)
        assert not (tmp_path / "other").exists()


def test_a_network_with_more_blocks_starts_from_given_weights(straight, data, tmp_path):
    weights = straight / "weights.safetensors"
    config = make_tiny_config()
    blocks = config.model.blocks
    more = dataclasses.replace(config.model, blocks=tuple(count + 1 for count in blocks))
    deeper = dataclasses.replace(config, model=more)
    trainer = trainer_of(deeper, data, tmp_path / "run", initial=weights)
    old, new = load_state(straight / "last.pt")["model"], trainer.model.state_dict()
    assert_equal({name: new[name] for name in old}, old)
    added = [name for name in new.keys() - old.keys() if name.endswith("second.norm.weight")]
    assert len(added) == len(blocks)
    assert all((new[name] == NEW_BLOCK_SCALE).all() for name in added)


def test_weights_with_other_classes_pass_on_all_but_the_new_seed_maps(straight, data, tmp_path):
    weights = straight / "weights.safetensors"
    tiny = make_tiny_config()
    vehicle, _, cyclist = tiny.classes
    config = dataclasses.replace(
        tiny,
        classes=(cyclist, dataclasses.replace(vehicle, name="lorry")),
        loss=dataclasses.replace(tiny.loss, foreground_weight=(1.0, 1.0)),
        augment=dataclasses.replace(tiny.augment, paste=(1, 1)),
    )
    with pytest.warns(
        UserWarning, match="classes vehicle, pedestrian, cyclist; .*untrained: lorry"
    ):
        trainer = trainer_of(config, data, tmp_path / "run", initial=weights)
    old, new = load_state(straight / "last.pt")["model"], trainer.model.state_dict()
    for name in old.keys() - {"heads.out.weight", "heads.out.bias"}:
        assert torch.equal(old[name], new[name])
    for name in ("heads.out.weight", "heads.out.bias"):
        assert torch.equal(new[name][0], old[name][2])  # cyclist
        assert not any(torch.equal(new[name][1], row) for row in old[name])
        assert torch.equal(new[name][2:], old[name][3:])  # offsets and precision


def test_each_row_is_reported_after_its_scores_are_logged(data, tmp_path):
    rows, logged = [], []

    def note(row, scored):
        rows.append(dict(row))
        if scored is not None:
            logged.append(rows_of(tmp_path)[-1])
            result = score_frames(scored, trainer.validation, config).result()
            assert result.per_class["vehicle"].pq == row["val_pq_vehicle"]

    config = variant(make_tiny_config(), **AWKWARD)
    trainer = trainer_of(config, data, tmp_path)
    trainer.run(note)
    assert rows == trainer.progress.rows
    assert [row["step"] for row in logged] == ["4", "8", "11"]
    assert all(row["val_pq_vehicle"] for row in logged)


def lines_of_time(config, data, out, monkeypatch, step_s, resume=False):
    """Return what a run prints if step ``i`` takes ``step_s(i)`` and a validation 120 s."""
    now = [0.0]

    class Scripted:
        def result(self):
            now[0] += 120
            each = SimpleNamespace(pq=0.5, recall_50=0.0)
            return SimpleNamespace(mean_pq=0.5, per_class={"vehicle": each})

    def train_step(self, samples):
        now[0] += step_s(self.progress.step + 1)
        return dict.fromkeys(LOSSES, 0.0)

    monkeypatch.setattr(progress_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(trainer_module, "score_frames", lambda *_: Scripted())
    monkeypatch.setattr(Trainer, "_train_step", train_step)
    lines = []
    monkeypatch.setattr(trainer_module.tqdm, "write", lines.append)
    trainer_of(config, data, out, resume).run()
    return lines


def test_the_time_left_includes_validations_at_the_recent_pace(data, tmp_path, monkeypatch):
    times = {"steps": 12, "validate_every": 4, "log_every": 5, "checkpoint_every": 6}
    config = variant(make_tiny_config(), **times)
    lines = lines_of_time(
        config, data, tmp_path / "a", monkeypatch, lambda step: 60 if step <= 4 else 30
    )
    assert lines == [
        "step 4 of 12: PQ vehicle 50.0; 6 min so far, 12 min left",  # 90 s a step
        "step 8 of 12: PQ vehicle 50.0; 10 min so far, 4 min left",  # 60 s
        "step 12 of 12: PQ vehicle 50.0; 14 min in all",
    ]
    state = load_state(tmp_path / "a" / "last.pt")
    assert state["seconds"] == 14 * 60
    with monkeypatch.context() as patch:  # as if it had been stopped at step 6
        patch.setattr(Trainer, "_agreed_signal", lambda self: self.progress.step == 6)
        lines = lines_of_time(config, data, tmp_path / "b", monkeypatch, lambda step: 60)
    lines += lines_of_time(config, data, tmp_path / "b", monkeypatch, lambda step: 60, resume=True)
    assert lines == [
        "step 4 of 12: PQ vehicle 50.0; 6 min so far, 12 min left",
        "step 8 of 12: PQ vehicle 50.0; 12 min so far, 6 min left",
        "step 12 of 12: PQ vehicle 50.0; 18 min in all",
    ]


def test_durations_are_formatted_to_about_a_percent():
    seconds = (0.4, 99.4, 100, 90 * 60, 5999, 6000, 7500, 36_000)
    assert [duration(s) for s in seconds] == [
        *("0 s", "99 s", "2 min", "90 min", "1 h 40 min", "1 h 40 min", "2 h 5 min", "10 h 0 min"),
    ]


def test_resuming_without_a_run_is_refused(data, tmp_path):
    refused(make_tiny_config(), data, tmp_path / "none", True, "last.pt", "no run to resume")
    assert not (tmp_path / "none").exists()


def test_a_broken_state_is_not_resumed(straight, data, tmp_path):
    config = variant(make_tiny_config(), **AWKWARD)
    path = tmp_path / "last.pt"
    state = load_state(straight / "last.pt")
    whole = (straight / "last.pt").read_bytes()
    path.write_bytes(whole[:1000])
    refused(config, data, tmp_path, True, "last.pt", "damaged")
    path.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    refused(config, data, tmp_path, True, "last.pt", "damaged")
    for key in ("model", "optimizer", "schedule", "rows", "step"):
        save_state(path, {k: v for k, v in state.items() if k != key})
        refused(config, data, tmp_path, True, "last.pt", "is not a training state")
    save_state(path, state | {"model": {}})
    refused(config, data, tmp_path, True, "last.pt", "is not a training state")
    save_state(path, {})
    refused(config, data, tmp_path, True, "last.pt", "different configuration")


def test_a_batch_that_cannot_be_shared_evenly_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    refused(make_tiny_config(), data, tmp_path, False, "batch_size 2", "3 processes")


# Failures during training


def nan_loss(losses):
    losses["loss"] = losses["loss"] * math.nan
    return losses


def nan_part(losses):
    losses["seed"] = losses["seed"] * math.inf
    return losses


def nan_gradient(losses):
    losses["loss"] = losses["loss"] + (0 * losses["loss"]).sqrt()  # 0, of infinite slope
    return losses


@pytest.mark.parametrize(
    ("spoil", "word"), [(nan_loss, "loss"), (nan_part, "seed"), (nan_gradient, "gradient norm")]
)
def test_a_number_that_is_not_finite_stops_the_run(
    data, tmp_path, monkeypatch, capsys, spoil, word
):
    config = variant(make_tiny_config(), checkpoint_every=3, steps=9)
    save_config(config, tmp_path / "config.yaml")
    out, count, original = tmp_path / "run", itertools.count(1), trainer_module.batch_losses

    def losses(*args):
        found = original(*args)
        return spoil(found) if next(count) == 5 else found

    monkeypatch.setattr(trainer_module, "batch_losses", losses)
    arguments = ["--config", tmp_path / "config.yaml", "--data", data, "--out", out]
    assert train_command.main([str(a) for a in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "train_kitti" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"train_kitti: {out}: {word} is ")
    assert "at step 5" in lines[0]
    assert load_state(out / "last.pt")["step"] == 3
    assert all(value.isfinite().all() for value in load_state(out / "last.pt")["model"].values())
    assert not (out / "weights.safetensors").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_data_file_is_reported_in_one_line(tmp_path, capsys, workers):
    root = write_kitti(tmp_path / "kitti", {"train": ["a", "b"], "val": ["c"]})
    (root / "training" / "label_2" / "b.txt").write_text("Car\n")
    config = variant(make_tiny_config(), workers=workers)
    source = config.data.sources[0]
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, sources=(source,)))
    save_config(config, tmp_path / "config.yaml")
    arguments = ["--config", tmp_path / "config.yaml", "--data", tmp_path, "--out", tmp_path / "r"]
    assert train_command.main([str(a) for a in arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    path = root / "training" / "label_2" / "b.txt"
    reason = "line 1 is not a KITTI label of 15 fields with finite numbers; fix or remove it"
    assert last == f"train_kitti: {path}: {reason}"


def test_frames_without_points_or_objects_can_be_trained_on(tmp_path, monkeypatch):
    monkeypatch.setitem(STREETS, "bare", ())
    root = write_kitti(tmp_path / "kitti", {"train": ["bare"]})
    config = variant(make_tiny_config(), steps=2, log_every=1)
    refs = list_frames(root, "kitti", ["train"])
    for name in ("bare", "empty"):
        out = tmp_path / name
        Trainer(config, TrainingSet([(1, refs)], config), [], out).run()
        for row in rows_of(out):
            assert float(row["instance"]) == float(row["smoothness"]) == 0
            assert (float(row["seed"]) > 0) == (name == "bare")
        (root / "training" / "velodyne" / "bare.bin").write_bytes(b"")


# The command


def test_help_covers_the_main_options(capsys):
    with pytest.raises(SystemExit) as caught:
        train_command.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in ("--config", "--data", "--out", "--resume", "torchrun", "Ctrl-C"):
        assert word in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--config": "none.yaml"}, ["none.yaml", "cannot read the configuration"]),
        ({"--data": "nowhere"}, ["train.txt", "cannot be read"]),
        ({"--resume": None}, ["last.pt", "no run to resume"]),
    ],
)
def test_a_wrong_command_line_is_reported_in_one_line(
    data, tmp_path, monkeypatch, capsys, change, words
):
    monkeypatch.chdir(tmp_path)
    save_config(make_tiny_config(), tmp_path / "config.yaml")
    options = {"--config": "config.yaml", "--data": str(data), "--out": "run"} | change
    assert train_command.main([word for pair in options.items() for word in pair if word]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("train_kitti: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


def test_learning_rate_warms_up_and_falls_to_zero():
    train = variant(make_tiny_config(), steps=110, warmup_steps=10).train
    factors = [learning_rate_factor(step, train) for step in range(111)]
    assert factors[0] == 0.1
    assert factors[9] == factors[10] == 1
    assert factors[60] == pytest.approx(0.5)
    assert factors[110] == 0
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert learning_rate_factor(500, train) == 0
    assert learning_rate_factor(0, variant(make_tiny_config(), warmup_steps=0).train) == 1


# Learning


@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16])
def test_auto_precision_follows_the_machine(data, tmp_path, monkeypatch, own):
    monkeypatch.setattr(trainer_module, "native_dtype", lambda device: own)
    config = variant(make_tiny_config(), precision="auto")
    trainer = trainer_of(config, data, tmp_path / "run")
    assert trainer.bf16 == (own == torch.bfloat16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_network_memorizes_a_street(data, tmp_path, precision):
    """Train on one frame, load the weights and find the frame's objects."""
    config = variant(
        make_tiny_config(),
        **{"steps": 200, "window_cells": 0, "learning_rate": 1e-2, "warmup_steps": 10},
        **{"log_every": 20, "validate_every": 1000, "precision": precision},
    )
    config = dataclasses.replace(config, augment=AugmentConfig(enabled=False))
    refs = list_frames(data / "kitti", "kitti", ["train"])[1:]  # street b: one of each class
    Trainer(config, TrainingSet([(1, refs)], config), refs, tmp_path).run()
    losses = [float(row["loss"]) for row in rows_of(tmp_path)]
    assert losses[-1] < 0.1 * losses[0]
    result = score_frames(
        Segmenter.from_checkpoint(tmp_path / "weights.safetensors", "cpu"), refs, config
    ).result()
    for name, each in result.per_class.items():
        assert (each.tp, each.fp, each.fn) == (1, 0, 0), name
        assert each.pq > 0.8, name
    assert float(rows_of(tmp_path)[-1]["val_pq_vehicle"]) == result.per_class["vehicle"].pq


def in_double(setattr):
    """Make trainers compute in double precision, where the order of a sum matters 1e-14, not 1e-7.

    In single precision, a value that rounding moves across the kink of a ReLU changes a gradient
    by far more than rounding itself, and Adam divides small gradients by their own size.
    """
    to, step, single = PillarBatch.to, Trainer._train_step, torch.Tensor.float

    def network(config):
        model = BEVNet(config).double()
        model.heads.out.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
        return model

    def trained_network(model, config):
        return TrainedNetwork(model, config).double()

    def batch_to(self, device):
        batch = to(self, device)
        return dataclasses.replace(
            batch, features=batch.features.double(), centres_m=batch.centres_m.double()
        )

    def train_step(self, samples):
        torch.Tensor.float = torch.Tensor.double
        try:
            return step(self, samples)
        finally:
            torch.Tensor.float = single

    setattr(trainer_module, "BEVNet", network)
    setattr(trainer_module, "TrainedNetwork", trained_network)
    setattr(torch_engine, "native_dtype", lambda device: torch.float64)  # validation too
    setattr(PillarBatch, "to", batch_to)
    setattr(Trainer, "_train_step", train_step)


def test_two_processes_equal_one_with_the_whole_batch(data, tmp_path, monkeypatch):
    """Compare the losses of each step, thus gradients and batch norm too, and the validation."""
    config = variant(
        make_tiny_config(),
        **{"steps": 60, "batch_size": 4, "learning_rate": 1e-2, "log_every": 1},
        **{"validate_every": 60, "window_cells": 0},
    )
    boxes, classes = config.data.sources  # only the frames of the second have a semantic loss
    boxes = dataclasses.replace(boxes, val=("train", "val"), weight=4.0)
    sources = boxes, dataclasses.replace(classes, val=())
    config = dataclasses.replace(
        config,
        augment=AugmentConfig(enabled=False),
        data=dataclasses.replace(config.data, sources=sources),
        loss=dataclasses.replace(config.loss, semantic_weight=0.1),
    )
    save_config(config, tmp_path / "config.yaml")
    (tmp_path / "driver.py").write_text(
        f"import runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        f"from test_trainer import in_double\n"
        f"in_double(setattr)\n"
        f"sys.exit(runpy.run_path({str(TOOL)!r}, run_name='tool')['main'](sys.argv[1:]))\n"
    )
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", tmp_path / "driver.py"),
            *("--config", tmp_path / "config.yaml", "--data", data, "--out", tmp_path / "two"),
        ],
        env=one_thread_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("step 60 of 60: PQ") == 1
    pictures = sorted(path.name for path in (tmp_path / "two" / "pictures").iterdir())
    assert pictures == [f"step_000060_kitti_{name}.png" for name in "abc"]
    in_double(monkeypatch.setattr)
    trainer_of(config, data, tmp_path / "one").run()
    one, two = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for row, same in zip(one, two, strict=True):
        for name in (*LOSSES, SEMANTIC):
            assert float(same[name]) == pytest.approx(float(row[name]), rel=1e-6), row["step"]
    for name in SCORES:  # of all three frames, although each process scored only one or two
        assert float(two[-1][name]) == pytest.approx(float(one[-1][name]))
        assert float(two[-1][name]) > 0.1
