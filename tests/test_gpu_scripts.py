"""The scripts that train on a GPU machine, run with a stub in the place of the tools."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, write_kitti, write_semantickitti

from bev_instseg.config_files import load_config, save_config
from bev_instseg.training.training_set import list_sources

STUB = """import sys
from pathlib import Path
tool, *options = sys.argv[1:]
Path("notes").open("a").write(" ".join(sys.argv[1:]) + "\\n")
out = Path(options[options.index("--out") + 1])
if tool == "train_kitti":
    out.mkdir(exist_ok=True)
    rows = "".join(f"{step},{10 + step / 50}\\n" for step in range(10, 401, 10))
    (out / "log.csv").write_text("step,time_s\\n" + rows)
    (out / "last.pt").touch()
elif tool == "cut_objects":
    out.touch()
else:
    out.mkdir(exist_ok=True)
"""


def load_script(name: str) -> ModuleType:
    """Import a file of the folder scripts."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its processes find their functions
    spec.loader.exec_module(module)
    return module


def test_packed_frames_are_the_same_after_unpacking(tmp_path: Path, tiny_config) -> None:
    script = load_script("gpu_pack")
    splits = {"train": ["a", "b"], "val": ["c"]}
    write_kitti(tmp_path / "data" / "kitti", splits, "velodyne_reduced")
    write_semantickitti(tmp_path / "data" / "semantickitti", {"00": ["a", "b"], "01": ["c"]})
    script.pack(tmp_path / "frames.tar", tmp_path / "data", tiny_config, ["train", "val"])
    script.unpack(tmp_path / "frames.tar", tmp_path / "copy")
    frames, copies = (
        [
            ref.read(tiny_config.classes, tiny_config.data)
            for part in ("train", "val")
            for _, refs in list_sources(tiny_config, tmp_path / folder, part)
            for ref in refs
        ]
        for folder in ("data", "copy")
    )
    assert [frame.name for frame in copies] == [
        *("a", "b", "00/000000", "00/000001"),
        *("c", "01/000000"),
    ]
    for frame, copy in zip(frames, copies, strict=True):
        kept = (np.abs(frame.points[:, :2]) < 12.8).all(axis=1)
        assert 0.5 < kept.mean() <= 1
        np.testing.assert_allclose(copy.points[:, :3], frame.points[kept, :3], atol=0.0026)
        np.testing.assert_allclose(copy.points[:, 3], frame.points[kept, 3], atol=1e-4)
        assert (copy.instance == frame.instance[kept]).mean() > 0.99  # boxes have sharp edges


def test_coordinates_of_any_sign_and_exact_intensities_survive_packing() -> None:
    script = load_script("gpu_pack")
    points = np.random.default_rng(0).uniform(-150, 150, (500, 4)).astype(np.float32)
    points[:, 3] = np.repeat(np.arange(100) / 100, 5)
    points[::2, 3] = np.arange(250) / 255
    decoded = script.decode_points(script.encode_points(points))
    np.testing.assert_allclose(decoded[:, :3], points[:, :3], atol=0.0026)
    np.testing.assert_allclose(decoded[:, 3], points[:, 3], atol=1e-7)
    assert script.decode_points(script.encode_points(points[:0])).shape == (0, 4)
    with pytest.raises(ValueError, match="over 163 m"):
        script.encode_points(points * 2)


@pytest.fixture
def leg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs the training script: the commands it called, and leg.yaml."""
    script = load_script("gpu_train")
    stub = tmp_path / "stub.py"
    stub.write_text(STUB)

    def command(tool: str, *options: object) -> list[str]:
        return [sys.executable, str(stub), tool, *map(str, options)]

    monkeypatch.setattr(script, "command", command)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def run(*options: str):
        notes = tmp_path / "notes"
        notes.unlink(missing_ok=True)
        monkeypatch.setattr(sys, "argv", ["gpu_train.py", "data", "out", *options])
        script.main()
        return notes.read_text().splitlines(), load_config(tmp_path / "out" / "leg.yaml")

    return run


def test_a_leg_simulates_cuts_times_a_short_run_and_trains(leg, tmp_path: Path) -> None:
    options = ("--seconds", "500", "--sweeps", "100", "--workers", "3")
    called, config = leg(*options)
    tools = [line.split()[0] for line in called]
    assert sorted(tools[:-2]) == ["cut_objects"] * 2 + ["simulate"] * 5
    assert tools[-2:] == ["train_kitti"] * 2
    simulated = [line for line in called if line.startswith("simulate")]
    assert "--sequence 12 --count 26 --sensor any" in simulated[0]
    assert "--streets arterial industrial" in simulated[4]
    assert all("--out out/pace" in line or "--out out/run" in line for line in called[-2:])
    assert "--objects out/real.npz out/simulated.npz --init" in called[-1]
    # 50 steps a second, in 95 % of the time that is left
    assert 0.85 * 490 * 50 < config.train.steps < 0.95 * 490 * 50 + 1
    assert (config.train.batch_size, config.train.workers) == (16, 3)
    assert not any(source.val for source in config.data.sources)
    cut = load_config(tmp_path / "out" / "simulated.yaml")
    assert [s.train for s in cut.data.sources if s.train] == [("12",)]
    real = load_config(tmp_path / "out" / "real.yaml")
    assert [s.path for s in real.data.sources if s.train] == [
        *("kitti", "semantickitti", "pandaset", "pandaset", "nuscenes")
    ]

    called, again = leg(*options)
    assert [line.split()[0] for line in called] == ["train_kitti"]
    assert called[0].endswith("--resume")
    assert again == config


def test_a_leg_of_given_steps_times_nothing(leg, tmp_path: Path, tiny_config) -> None:
    save_config(tiny_config, tmp_path / "tiny.yaml")
    called, config = leg("--seconds", "60", "--steps", "7", "--config", "tiny.yaml")
    assert [line.split()[0] for line in called].count("train_kitti") == 1
    assert (config.train.steps, config.train.log_every) == (7, 1)
