"""The C++ library finds the same instances as Python, to the last label."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from conftest import ROOT

from bev_instseg import Segmenter
from bev_instseg.cli import segment
from bev_instseg.cli.export import main as export
from bev_instseg.config_files import config_from_dict
from bev_instseg.engines.threads import num_threads
from bev_instseg.export.semantickitti import semantickitti_labels
from bev_instseg.model_files import pretrained_8_bit_model, read_exported, write_sidecar
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.ground_points import find_ground
from bev_instseg.ops.unknown import add_unknown
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.simulate import simulate_sweep
from bev_instseg.structures import Float32, Instances, PillarEmbeddings

DEMO = ROOT / "demo/sequences/00/velodyne/000000.bin"
DOCS = ROOT / "docs/cpp.md"
REAL = Path(os.environ.get("KITTI_ROOT", ROOT / "../shared/data/kitti")) / "training/velodyne"
NEEDED = {
    "cmake": shutil.which("cmake"),
    "a C++ compiler": os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++"),
    "OpenVINO": importlib.util.find_spec("openvino"),
}
MISSING = ", ".join(name for name, found in NEEDED.items() if not found)
TOLERANCE = 1e-5  # of scores and boxes: sines and logarithms of two libraries, six printed digits

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")


def run(*command: object, **options: object) -> "subprocess.CompletedProcess[str]":
    words = list(map(str, command))
    return subprocess.run(words, capture_output=True, text=True, timeout=600, **options)


def block(kind: str, number: int = 0) -> str:
    """A code block of docs/cpp.md."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)[
        number
    ]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library and the example, built and installed by the lines of docs/cpp.md."""
    folder = tmp_path_factory.mktemp("cpp")
    script = block("sh")
    for documented, here in (
        ("build/cpp", folder / "build"),
        ("~/bev_instseg", folder / "installed"),
        ("$(python", f"$({shlex.quote(sys.executable)}"),
    ):
        assert documented in script
        script = script.replace(documented, str(here))
    built = run("bash", "-e", "-u", "-c", script, cwd=ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning" not in built.stdout + built.stderr
    return folder / "installed"


@pytest.fixture(scope="module")
def kernels(prefix: Path) -> Path:
    """A program that runs one kernel on arrays in a file; see cpp/tests/kernels.cpp."""
    build = prefix.with_name("build")
    built = run("cmake", "--build", build, "--target", "kernels")
    assert built.returncode == 0, built.stdout + built.stderr
    return build / "kernels"


@dataclass(frozen=True)
class Found:
    """What the example prints and writes for a sweep."""

    words: np.ndarray  # of the .label file
    num_ground: int | None
    names: list[str]
    num_points: list[int]
    scores_and_boxes: np.ndarray  # (K, 8)
    courses_m: dict[int, np.ndarray]  # by the number of the instance


def read_output(stdout: str, labels: list[Path]) -> list[Found]:
    found = []
    courses = defaultdict(dict)  # of each sweep
    lines = []
    for line in stdout.splitlines():
        if line.startswith("course "):
            _, number, *vertices = line.split()
            course = np.array([vertex.split(",") for vertex in vertices], float)
            courses[sum(".bin: " in other for other in lines)][int(number)] = course
        else:
            lines.append(line)
    lines = iter(lines)
    for number, path in enumerate(labels, 1):
        pattern = r": \d+ points, (\d+) instances, (?:(\d+) on the ground, )?[\d.]+ ms$"
        counts = re.search(pattern, next(lines))
        count, ground = int(counts[1]), counts[2] and int(counts[2])
        if count:
            assert next(lines) == "number class score points x y z length width height yaw"
        rows = [next(lines).split() for _ in range(count)]
        assert [row[0] for row in rows] == [str(k + 1) for k in range(count)]
        numbers = np.array([[row[2], *row[4:]] for row in rows], float).reshape(-1, 8)
        words = np.fromfile(path, np.uint32)
        names, num_points = [row[1] for row in rows], [int(row[3]) for row in rows]
        found.append(Found(words, ground, names, num_points, numbers, courses[number]))
    assert next(lines, None) is None
    return found


@pytest.fixture
def assert_equal(prefix: Path, tmp_path: Path) -> Callable[..., int]:
    """Compare C++ with Python on sweeps; return the number of instances."""

    def compare(model: Path, sweeps: Sequence[Float32], **extras: bool) -> int:
        files = [tmp_path / f"sweep{k}.bin" for k in range(len(sweeps))]
        for file, points in zip(files, sweeps, strict=True):
            points.tofile(file)
        out = Path(mkdtemp(dir=tmp_path))
        options = ("--out", out, "--threads", num_threads())
        flags = [f"--{name}" for name, wanted in extras.items() if wanted]
        ran = run(prefix / "bin/segment_file", model, *files, *options, *flags)
        assert ran.returncode == 0, ran.stderr
        labels = [out / f"{file.stem}.label" for file in files]
        segmenter = Segmenter.from_checkpoint(model, runtime="openvino", **extras)
        numbers = [c.label for c in segmenter.classes]
        count, warned = 0, []
        for file, found in zip(files, read_output(ran.stdout, labels), strict=True):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                expected = segmenter.segment(np.fromfile(file, np.float32).reshape(-1, 4))
            warned += [f"{file}: {one.message}".partition("; segment_tiles")[0] for one in caught]
            np.testing.assert_array_equal(found.words, semantickitti_labels(expected, numbers))
            assert found.num_ground == (None if expected.ground is None else expected.ground.sum())
            assert found.names == [one.name for one in expected]
            assert found.num_points == expected.num_points.tolist()
            floats = np.column_stack([expected.scores, expected.boxes])
            np.testing.assert_allclose(found.scores_and_boxes, floats, rtol=0, atol=TOLERANCE)
            courses_m = {one.number: one.course_m for one in expected if one.course_m is not None}
            assert found.courses_m.keys() == courses_m.keys()
            for number, course_m in courses_m.items():
                np.testing.assert_allclose(found.courses_m[number], course_m, rtol=0, atol=6e-4)
            count += len(expected)
        assert ran.stderr.splitlines() == warned
        return count

    return compare


def demo() -> Float32:
    return np.fromfile(DEMO, np.float32).reshape(-1, 4)


def random_sweep(seed: int) -> Float32:
    """Scattered points, crowded places, and now and then a value that is not finite or huge."""
    rng = np.random.default_rng(seed)
    count = int(10 ** rng.uniform(1, 5))
    places = rng.uniform((-50, -50, -2, 0), (50, 50, 0, 1), (30, 4))
    points = places[rng.integers(30, size=count)] + rng.normal(0, (0.6, 0.6, 0.4, 0.1), (count, 4))
    scattered = rng.uniform((-60, -60, -12, 0), (60, 60, 12, 1), (count, 4))
    points = np.where(rng.random((count, 1)) < 0.2, scattered, points).astype(np.float32)
    odd = rng.random(points.shape) < 0.002
    points[odd] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -0.0], odd.sum())
    return points


def noisy_demo(seed: int) -> Float32:
    points = demo()
    noise = np.random.default_rng(seed).normal(0, (0.05, 0.05, 0.05, 0.1), points.shape)
    return (points + noise).astype(np.float32)


def around_a_car() -> Float32:
    """The bundled sweep with its first car at the origin, where it is the ego vehicle."""
    return demo() - np.float32([2.911141, 6.507768, 0, 0])


def edited_model(folder: Path, **cluster: object) -> tuple[Path, dict]:
    """A copy of the package's 8-bit model with other thresholds, and its .json to edit further."""
    model = folder / "edited.onnx"
    shutil.copy(pretrained_8_bit_model(), model)
    sidecar = json.loads(pretrained_8_bit_model().with_suffix(".json").read_text())
    sidecar["config"]["cluster"] |= cluster
    return model, sidecar


def test_the_bundled_simulated_and_random_sweeps(assert_equal) -> None:
    sweeps = [demo(), around_a_car(), *(simulate_sweep(seed, None)[0] for seed in range(2))]
    sweeps += [random_sweep(seed) for seed in range(6)] + [noisy_demo(seed) for seed in range(3)]
    assert assert_equal(pretrained_8_bit_model(), sweeps) > 50


@pytest.mark.parametrize("extras", [{"unknown": True}, {"ground": True}], ids=str)
def test_unknown_objects_and_ground(assert_equal, extras: dict[str, bool]) -> None:
    sweeps = [demo(), around_a_car(), noisy_demo(3), *map(random_sweep, range(6, 9))]
    sweeps += [
        simulate_sweep(2, None)[0],
        *(np.float32(np.full((3, 4), value)) for value in (0, np.nan)),
    ]
    assert assert_equal(pretrained_8_bit_model(), sweeps, **extras) > 50


def test_points_that_look_wrong_are_reported(assert_equal, prefix: Path, tmp_path: Path) -> None:
    points = demo() * np.float32([4, 4, 1, 255])
    assert_equal(pretrained_8_bit_model(), [points])  # with the warnings of Python
    points.tofile(tmp_path / "odd.bin")
    ran = run(prefix / "bin/segment_file", pretrained_8_bit_model(), tmp_path / "odd.bin")
    above, outside = ran.stderr.splitlines()
    assert above == f"{tmp_path}/odd.bin: intensities are above 1: scale them to 0..1"
    assert re.search(r"\d\d% of the points are outside the 102 x 102 x 20 m around", outside)


def test_labels_are_those_that_the_command_segment_writes(prefix: Path, tmp_path: Path) -> None:
    both = ["--unknown", "--ground", "--out"]
    assert segment.main([str(DEMO), "--runtime", "openvino", *both, str(tmp_path / "p")]) == 0
    words = pretrained_8_bit_model(), DEMO, "--threads", num_threads()
    assert run(prefix / "bin/segment_file", *words, *both, tmp_path / "cpp").returncode == 0
    (expected,) = (tmp_path / "p").rglob("*.label")
    words = np.fromfile(tmp_path / "cpp/000000.label", np.uint32)
    np.testing.assert_array_equal(words, np.fromfile(expected, np.uint32))
    assert {10, 40, 99} <= set((words & 0xFFFF).tolist())


def test_sweeps_of_no_one_and_unusable_points(assert_equal) -> None:
    nan, far = np.full((3, 4), np.nan), np.full((2, 4), 1e9)
    sweeps = [np.float32(points) for points in (np.empty((0, 4)), np.zeros((1, 4)), nan, far)]
    assert assert_equal(pretrained_8_bit_model(), sweeps) == 0


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no KITTI below KITTI_ROOT ({REAL})")
@pytest.mark.parametrize("extra", [False, True])
def test_real_sweeps(assert_equal, extra: bool) -> None:
    files = sorted(REAL.glob("*.bin"))[::3]
    sweeps = [np.fromfile(file, np.float32).reshape(-1, 4) for file in files]
    count = assert_equal(pretrained_8_bit_model(), sweeps, unknown=extra, ground=extra)
    assert count > 10 * len(files)


def test_thresholds_at_which_everything_counts(assert_equal, tmp_path: Path) -> None:
    """Hundreds of weak, small and overlapping instances on a grid with unequal sides."""
    model, sidecar = edited_model(
        tmp_path,
        seed_threshold=0.001,
        member_threshold=0.0,
        min_free=0.0,
        score_threshold=0.0,
        calibration=[],
    )
    sidecar["config"]["grid"] |= {"x_range_m": [-25.6, 51.2]}
    for each in sidecar["config"]["classes"]:
        each["min_points"] = 0
    sidecar["config"]["classes"][0]["name"] = "Fahrzeug/🚗"  # \ud83d\ude97 in the file
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    sweeps = [demo(), *map(noisy_demo, range(2)), *map(random_sweep, range(4))]
    assert assert_equal(model, sweeps) > 500


def test_pieces_are_joined_and_intensities_made_relative(assert_equal, tmp_path: Path) -> None:
    """The package's network on cars, as if they were long lines."""
    model, sidecar = edited_model(tmp_path, seed_threshold=0.3, score_threshold=0.0)
    sidecar.pop("network_sha256", None)  # of the settings below
    sidecar["config"]["model"]["relative_intensity"] = True
    for each in sidecar["config"]["classes"][:2]:
        each["piece_m"] = 8.0
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    sweeps = [demo(), around_a_car(), noisy_demo(0), random_sweep(1)]
    sweeps += [simulate_sweep(seed, None)[0] for seed in range(2)]
    assert assert_equal(model, sweeps) > 40


def test_lanes_of_the_package(assert_equal) -> None:
    sweeps = [demo(), *(simulate_sweep(seed, None)[0] for seed in range(3))]
    assert assert_equal(pretrained_8_bit_model("lanes"), sweeps) > 10


@pytest.mark.parametrize("seed", range(6))
def test_voxelize_is_equal_to_the_bit(kernels: Path, tmp_path: Path, seed: int) -> None:
    points = noisy_demo(seed) if seed % 2 else random_sweep(seed)
    sidecar = pretrained_8_bit_model().with_suffix(".json")
    points.tofile(tmp_path / "points")
    assert run(kernels, "voxelize", sidecar, tmp_path / "points", tmp_path / "out").returncode == 0
    expected = voxelize(points, read_exported(pretrained_8_bit_model()).config.grid)
    arrays = (expected.features, expected.point_height_m)
    assert (tmp_path / "out").read_bytes() == b"".join(array.tobytes() for array in arrays)


def test_unknown_objects_and_ground_are_equal_to_the_bit(kernels: Path, tmp_path: Path) -> None:
    """Among known objects, near and far, on cells of several sizes."""
    count = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        points = noisy_demo(seed) if seed % 2 else random_sweep(seed)
        shift_m = 51.2 * rng.integers(4)
        points[:, 0] += np.float32(shift_m)
        model, sidecar = edited_model(tmp_path)
        sidecar["config"]["grid"] |= {
            "x_range_m": [shift_m - 51.2, shift_m + 51.2],
            "y_range_m": [-25.6, 51.2],
            "cell_m": (0.1, 0.2, 0.4)[seed % 3],
        }
        model.with_suffix(".json").write_text(json.dumps(sidecar))
        pillars = voxelize(points, config_from_dict(sidecar["config"], "edited").grid)
        owner = pillars.point_to_pillar  # every seventh pillar is an object
        labels = np.where((owner >= 0) & (owner % 7 == 0), owner // 7 + 1, 0).astype(np.int32)
        num_known = labels.max()
        (tmp_path / "in").write_bytes(points.tobytes() + labels.tobytes())
        files = (model.with_suffix(".json"), tmp_path / "in", tmp_path / "out")
        assert run(kernels, "extras", *files).returncode == 0

        scores, boxes = np.zeros(num_known, np.float32), np.zeros((num_known, 7), np.float32)
        known = Instances(labels, scores.astype(np.int32), scores, boxes, ("vehicle",))
        expected = add_unknown(known, points, pillars)
        ground = find_ground(pillars, expected.labels)
        arrays = (expected.labels, ground, expected.boxes[num_known:])
        assert (tmp_path / "out").read_bytes() == b"".join(array.tobytes() for array in arrays)
        count += len(expected) - num_known
    assert count > 300


def random_embeddings(seed: int) -> PillarEmbeddings:
    """Crowds of margins of any shape; ties for some seeds, NaN and huge values for others."""
    rng = np.random.default_rng(seed)
    count = int(10 ** rng.uniform(0, 3.8))
    places = rng.uniform(-50, 50, (rng.integers(1, 40), 2))
    spread = rng.normal(0, rng.uniform(0.01, 5), (count, 2))
    centre = places[rng.integers(len(places), size=count)] + spread
    xx, yy = np.exp(rng.normal(0, 2, (2, count)))
    precision = np.column_stack([xx, rng.uniform(-1.01, 1.01, count) * np.sqrt(xx * yy), yy])
    seeds = rng.random((count, 3))
    if seed % 3 == 0:
        centre, seeds = np.round(4 * centre) / 4, np.round(8 * seeds) / 8
    arrays = [array.astype(np.float32) for array in (centre, precision, seeds)]
    if seed % 2:
        odd = np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38, -0.0, 1e-45])
        for array in arrays:
            chosen = rng.random(array.shape) < 0.01
            array[chosen] = rng.choice(odd, chosen.sum())
    return PillarEmbeddings(*arrays)


def test_cluster_is_equal_to_the_bit(kernels: Path, tmp_path: Path) -> None:
    count = 0
    for seed in range(60):
        embeddings = random_embeddings(seed)
        rng = np.random.default_rng(seed)
        limits = rng.uniform(0.2, 1), rng.uniform(0, 0.5), rng.integers(5) / 4
        names = "seed_threshold", "member_threshold", "min_free"
        model, sidecar = edited_model(tmp_path, **dict(zip(names, limits, strict=True)))
        model.with_suffix(".json").write_text(json.dumps(sidecar))
        arrays = (embeddings.centre_m, embeddings.precision, embeddings.seed)
        np.concatenate([array.ravel() for array in arrays]).tofile(tmp_path / "in")
        files = (model.with_suffix(".json"), tmp_path / "in", tmp_path / "out")
        assert run(kernels, "cluster", *files).returncode == 0
        expected = cluster(embeddings, *limits)
        arrays = (expected.labels, expected.classes, expected.scores)
        assert (tmp_path / "out").read_bytes() == b"".join(array.tobytes() for array in arrays)
        count += len(expected.classes)
    assert count > 1000


@pytest.mark.parametrize(("form", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_exported_networks(assert_equal, weights: str, tmp_path: Path, form, suffix) -> None:
    """Another network, grid and format than those of the package, in float32."""
    pytest.importorskip("onnx")
    out = tmp_path / "exported"
    assert export(["--format", form, "--weights", weights, "--out", str(out)]) == 0
    assert assert_equal(out / f"model{suffix}", [demo(), random_sweep(0)]) > 10
    other = {"onnx": "openvino", "openvino": "onnx"}[form]  # would replace model.json
    assert export(["--format", other, "--weights", weights, "--out", str(out)]) == 2


def test_the_program_of_the_documentation(prefix: Path, tmp_path: Path) -> None:
    with_extras = f"void with_extras() {{\n{block('cpp', 1)}}}\n"
    (tmp_path / "app.cpp").write_text(block("cpp") + with_extras)
    (tmp_path / "CMakeLists.txt").write_text(block("cmake"))
    from openvino.utils import get_cmake_path

    places = f"-DCMAKE_PREFIX_PATH={prefix}", f"-DOpenVINO_DIR={get_cmake_path()}"
    for command in (
        ("cmake", "-S", tmp_path, "-B", tmp_path / "build", *places),
        ("cmake", "--build", tmp_path / "build"),
    ):
        ran = run(*command)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    ran = run(tmp_path / "build/app", pretrained_8_bit_model())
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1 labels\n", "")


def test_the_command_of_the_documentation(prefix: Path, tmp_path: Path) -> None:
    program, model, sweep, *_ = shlex.split(block("sh", 1))
    ran = run(prefix / "bin" / Path(program).name, ROOT / model, ROOT / sweep, "--repeat", 3)
    assert ran.returncode == 0, ran.stderr
    assert re.match(r".*: 57676 points, \d\d instances, [\d.]+ ms\n", ran.stdout)


def cut(text: str) -> str:
    return text[: len(text) // 2]


def without_threshold(text: str) -> str:
    return re.sub('"seed_threshold": [^,]*,', "", text)


def without_coefficient(text: str) -> str:
    return re.sub(r'("calibration": \[\s*\[)[^,]*,', r"\1", text)


def other_hash(text: str) -> str:
    return re.sub(r'(?<="sha256": ").', lambda digit: "1" if digit[0] == "0" else "0", text)


REFUSED_SIDECARS: dict[str, tuple[Callable[[str], str], str]] = {
    "cut short": (cut, "edited.json: not written by"),
    "empty": (lambda text: "", "line 1: not a JSON value"),
    "more": (lambda text: text + "x", "something follows the end"),
    "NaN": (lambda text: text.replace("0.2", "NaN"), "not a JSON value"),
    "twice": (lambda text: '{"format": 1, "format": 2}', "line 1: duplicate key 'format'"),
    "deep": (lambda text: "[" * 100_000, "nested too deeply"),
    "text": (lambda text: text.replace('"bev_instseg/1"', r'"\ud83d"'), "surrogate pair"),
    "huge": (lambda text: text.replace("0.2", "1e999"), "float64 cannot hold"),
    "list": (lambda text: "[]", "format is missing"),
    "version": (lambda text: text.replace("seg/1", "seg/2"), "format bev_instseg/2, expected"),
    "key": (without_threshold, "config.cluster.seed_threshold is missing"),
    "type": (lambda text: text.replace("-51.2", '"x"'), "config.grid.x_range_m is not a number"),
    "grid": (lambda text: text.replace("-51.2", "-51.25"), "not a whole number of cells"),
    "stride": (lambda text: text.replace("-51.2", "-51.0"), "not multiples of 16"),
    "class": (lambda text: text.replace('"label": 10', '"label": 0'), "label is not in 1..65535"),
    "setting of the network": (
        lambda text: re.sub(r' "network_sha256": .*\n', "", text).replace(
            '"model": {', '"model": {"new_input": true,'
        ),
        "edited.json: config.model.new_input is not a setting of this version",
    ),
    "later setting": (
        lambda text: text.replace('"min_free"', '"min_gap": 1, "min_free"'),
        "edited.json: config.cluster.min_gap is not a setting of this version; correct it, or",
    ),
    "setting of a class": (
        lambda text: text.replace('"min_points"', '"colour": 1, "min_points"', 1),
        "config.classes.colour is not a setting",
    ),
    "fraction": (lambda text: text.replace('"min_free": 0.5', '"min_free": 50'), "not in 0..1;"),
    "count": (lambda text: text.replace('"min_points": 10', '"min_points": -1'), "not in 0..1000"),
    "height": (lambda text: text.replace("4.5,", "0,"), "max_height_m is not positive"),
    "same name": (lambda text: text.replace('"cyclist"', '"vehicle"'), "two have the name vehicle"),
    "same label": (lambda text: text.replace('"label": 31', '"label": 10'), "or the label 10"),
    "coefficients": (without_coefficient, "calibration is not three numbers"),
    "hash": (other_hash, "its SHA-256 differs from"),
}


@pytest.mark.parametrize(("damage", "reason"), REFUSED_SIDECARS.values(), ids=REFUSED_SIDECARS)
def test_damaged_sidecars_are_refused(prefix: Path, tmp_path: Path, damage, reason: str) -> None:
    model, sidecar = edited_model(tmp_path)
    text = json.dumps(sidecar, indent=1)
    assert damage(text) != text
    model.with_suffix(".json").write_text(damage(text))
    assert_refused(prefix, [model, DEMO], reason)


@pytest.mark.parametrize(
    ("change", "option", "reason"),
    [
        ({"name": "unknown"}, "unknown", "class unknown has the name or the label 99 of unknown"),
        ({"label": 99}, "unknown", "class pedestrian has the name or the label 99 of unknown"),
        ({"label": 40}, "ground", "class pedestrian has the label 40 of the ground; change it in"),
    ],
)
def test_classes_like_an_extra_are_refused(
    prefix: Path, tmp_path: Path, change: dict[str, object], option: str, reason: str
) -> None:
    model, sidecar = edited_model(tmp_path)
    sidecar["config"]["classes"][1] |= change
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    assert_refused(prefix, [model, DEMO, f"--{option}"], reason)
    assert run(prefix / "bin/segment_file", model, DEMO).returncode == 0


def test_settings_that_the_network_fixes_cannot_be_changed(prefix: Path, tmp_path: Path) -> None:
    model, sidecar = edited_model(tmp_path, seed_threshold=0.5)
    config = config_from_dict(sidecar["config"], "edited")
    write_sidecar(model, sidecar["sha256"], config, {})
    assert run(prefix / "bin/segment_file", model, DEMO).returncode == 0
    text = model.with_suffix(".json").read_text()
    for before, after in (('"cell_m": 0.2', '"cell_m": 0.1'), ("oriented", "scalar")):
        assert before in text
        model.with_suffix(".json").write_text(text.replace(before, after))
        assert_refused(prefix, [model, DEMO], "edited.json: its model, grid.cell_m or number of")


def test_damaged_models_and_sweeps_are_refused(prefix: Path, tmp_path: Path) -> None:
    model, sidecar = edited_model(tmp_path)
    beside = model.with_suffix(".json")
    assert_refused(prefix, [model, DEMO], f"{beside}: cannot be read (No such file or directory)")
    beside.write_text(json.dumps(sidecar))
    model.write_bytes(model.read_bytes()[:-1])
    assert_refused(prefix, [model, DEMO], f"{model}: damaged (its SHA-256 differs")
    model.unlink()
    assert_refused(prefix, [model, DEMO], f"{model}: cannot be read (No such file")
    assert_refused(
        prefix, [tmp_path / "model.pt", DEMO], "is not an exported model; give the .onnx"
    )
    whole = pretrained_8_bit_model()
    assert_refused(prefix, [whole, tmp_path / "none.bin"], "none.bin: cannot be read (No such file")
    assert_refused(prefix, [whole, tmp_path], f"{tmp_path}: cannot be read (Is a directory)")
    (tmp_path / "odd.bin").write_bytes(b"12345")
    assert_refused(prefix, [whole, tmp_path / "odd.bin"], "5 bytes are not four float32 per point")
    assert_refused(prefix, [whole, DEMO, DEMO, "--out", tmp_path], "another sweep has this name")
    (tmp_path / "000000.label").write_bytes(b"mine")
    assert_refused(prefix, [whole, DEMO, "--out", tmp_path], "000000.label: exists; move it or")
    assert (tmp_path / "000000.label").read_bytes() == b"mine"


def test_what_is_no_network_is_refused(prefix: Path, tmp_path: Path) -> None:
    """Files whose hash is right, but not their content."""
    model, sidecar = edited_model(tmp_path)
    sidecar["config"]["classes"].pop()
    sidecar["config"]["cluster"]["calibration"].pop()
    sidecar.pop("network_sha256", None)  # or the change is noticed first
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    assert_refused(prefix, [model, DEMO], "3 seed maps for 2 classes")
    model.write_bytes(b"")
    sidecar["sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    assert_refused(prefix, [model, DEMO], f"{model}: OpenVINO cannot load it (")


def assert_refused(prefix: Path, words: Sequence[object], reason: str) -> None:
    ran = run(prefix / "bin/segment_file", *words)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("segment_file: ")
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert reason in ran.stderr


@pytest.mark.parametrize(
    "words", [(), ("model.onnx",), ("a", "b", "--repeat"), ("a", "b", "--repeat", "x"), ("--x",)]
)
def test_wrong_command_lines_print_the_usage(prefix: Path, words: tuple[str, ...]) -> None:
    ran = run(prefix / "bin/segment_file", *words)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: segment_file MODEL SWEEP... ")
