"""Right or refused: what files of other tools, damaged files and hostile files must give.

Each refusal is one line that names the file, the reason and the remedy.
"""

import base64
import gzip
import io
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import CALIBRATION, ROOT, one_thread_environment
from numpy.typing import NDArray

from bev_instseg import BevInstsegError, ScanError, SweepResult, read_labels, read_sweep
from bev_instseg import config as config_module
from bev_instseg.checkpoint import load_model
from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.datasets.kitti_files import read_boxes, read_calibration
from bev_instseg.exceptions import CheckpointError, ConfigError, KittiError, ObjectsError
from bev_instseg.model_files import pretrained_weights
from bev_instseg.training.cutouts import load_objects

SWEEP = np.fromfile(ROOT / "demo/sequences/00/velodyne/000000.bin", np.float32).reshape(-1, 4)
SWEEP = SWEEP[:50_000]  # beam by beam
FEW = SWEEP[:500]
NAMES = Config().class_names
Content = bytes | Callable[[Path], object]  # of a file, or what makes it


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


# Damaged headers. The first asks lazrs for 59 GB, the second keeps laspy busy for ever.
EVIL_LAZ = unpacked(
    "c-r%E40dC{0vMV6Lp)rA7;uA}#NvWV1tUFkJp-)r-i)u<A2awe0?h*Qnw1!Aa2WJw<;P3DNdflgG%kxjEI;OL-uZJs#~"
    "PWa6l>-Kc3jsN7ubp%5MAf~u<DB9fy$R^h8$}i*!!4wIwm~5VGnj{Rc3)gYF=`FN@@xN!=5k`hK!Pu0xNxeh?HJ_Q97C"
    "}Od!kzVFw&$VEB&)m>Jj@M1ZQ;890C>2aw0auo9|%&bR;nxnKYPKLhA<WvqU1yj->A+ra}_J5F}45)X7w<lj^<%WdwYS"
    "%=G`%@m)u{C?Np`n@B_V|i=w^%mI&^X2^Gt7Ih>eZI(D@GxVyex%%f<L5=I1gqJtn8KI@)|O7`Q+b!`r<2-qv#`u>@7s"
    "t!lA8<E8WetSbuxY!_WkU%-xF@JFO4(^Tl3E{=GBQEoGWs6&g0<P^?!k<-Ff$Jxh9EFTgt#JIT5K1ZyGfo-!)KvyyNW_"
    ")dh|HjKb0LIh|Ff8*{#WkYqdMzMrvWsl_)o4xxiLAI~<Jy>-LI(%<Wg{@QxGF0POI@zZmAtF!UfBfcekD!&#eEn&7;`R"
    "47FilFFgd5+C)CL-diH<#4i_PzV-YxvU>fB!HW8q~QK-hX`KhT>Icju4L1;-xtv5i=I?9d}&2?ei7q3AP+JW0Fg^y4_m"
    "O^8=Qqf!OOakN^ODiuxn"
)
EVIL_LAS = unpacked(
    "c-r%E40dC{0vK8RLp)rA7;uB*^Z+@D#RZiLMtbIY23Q^8&G?GFoUxn{mm?XO2zi5efaI3av>bdY=Y0GBpZoRy|1%gE0o"
    ";~j!v"
)


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def stop(number: int, frame: object) -> None:
        pytest.fail("not finished in time")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)  # also enough on a busy machine
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def write(path: Path, content: Content) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def npy(array: NDArray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: NDArray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def wider(*columns: NDArray) -> bytes:
    """The bytes of a .bin file of the sweep with further columns."""
    return np.column_stack([SWEEP, *columns]).astype(np.float32).tobytes()


def rows_of(points: NDArray, end: str = "\n") -> str:
    return "".join(" ".join(map(repr, row)) + end for row in points.tolist())


def ply(
    body: str = rows_of(FEW), before: str = "", after: str = "", intensity: str = "intensity"
) -> bytes:
    fields = "".join(f"property float {name}\n" for name in ("x", "y", "z", intensity))
    head = f"ply\nformat ascii 1.0\n{before}element vertex {len(FEW)}\n{fields}{after}end_header\n"
    return (head + body).encode()


def binary_ply(count: int = len(FEW)) -> bytes:
    head = ply("").replace(b"ascii", b"binary_big_endian").replace(b"500", str(count).encode())
    return head + FEW.astype(">f4").tobytes()


def pcd(body: str | bytes = rows_of(FEW), kind: str = "ascii", count: int = len(FEW)) -> bytes:
    head = "# .PCD\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\n"
    head += f"COUNT 1 1 1 1\nWIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA {kind}\n"
    return head.encode() + (body.encode() if isinstance(body, str) else body)


def las(suffix: str = ".las", version: str = "1.4", point_format: int = 6) -> bytes:
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(version=version, point_format=point_format)
    header.scales = np.full(3, 1e-4)
    file = laspy.LasData(header)
    file.x, file.y, file.z = FEW[:, :3].T.astype(np.float64)
    file.intensity = np.rint(65535 * FEW[:, 3]).astype(np.uint16)
    out = io.BytesIO()
    file.write(out, do_compress=suffix == ".laz")
    return out.getvalue()


def with_missing_returns(points: NDArray) -> NDArray:
    damaged = points.copy()
    damaged[10::10, :3] = np.nan
    damaged[11::50, 0] = np.inf
    damaged[12::50, :3] = 1e30  # how some drivers mark them
    return damaged


# Files that must be understood: their points in the file's order, NaN where there is none.

RIGHT: dict[str, tuple[str, Content, NDArray]] = {
    "empty": ("a.bin", b"", FEW[:0]),
    "4 floats": ("a.bin", SWEEP.tobytes(), SWEEP),
    "nan, inf and 1e30": ("a.bin", with_missing_returns(SWEEP).tobytes(), SWEEP),
    "float64": ("a.npy", npy(FEW.astype(np.float64)), FEW),
    "big-endian": ("a.npy", npy(FEW.astype(">f4")), FEW),
    "organised": ("a.npy", npy(FEW.reshape(10, 50, 4)), FEW),
    "archive of one array": ("a.npz", npz(points=FEW), FEW),
    "archive of columns": (
        "a.npz",
        npz(**dict(zip(("x", "y", "z", "intensity"), FEW.T, strict=True))),
        FEW,
    ),
    "list property": (
        "a.ply",
        ply(rows_of(FEW, " 2 5 6\n"), after="property list uchar int more\n"),
        FEW,
    ),
    "camera first": (
        "a.ply",
        ply("1.5\n" + rows_of(FEW), "element camera 1\nproperty float focal\n"),
        FEW,
    ),
    "CloudCompare": ("a.ply", ply(intensity="scalar_Reflectance"), FEW),
    "big-endian ply": ("a.ply", binary_ply(), FEW),
    "old PCD": ("a.pcd", pcd().replace(b"FIELDS", b"COLUMNS"), FEW),
    "comments": ("a.pcd", pcd("# by a tool\n" + rows_of(FEW)), FEW),
    "LAS 1.2": ("a.las", lambda path: path.write_bytes(las(".las", "1.2", 1)), FEW),
    "LAS 1.4": ("a.las", lambda path: path.write_bytes(las()), FEW),
    "LAZ": ("a.laz", lambda path: path.write_bytes(las(".laz")), FEW),
}


@pytest.mark.parametrize("name", RIGHT)
def test_understood(name: str, tmp_path: Path) -> None:
    file, content, expected = RIGHT[name]
    points = read_sweep(write(tmp_path / file, content)).points
    assert points.shape == expected.shape
    known = np.isfinite(points[:, :3]).all(axis=1) & (np.abs(points[:, :3]) < 1e4).all(axis=1)
    assert np.count_nonzero(known) >= 0.8 * len(points)
    # Map formats round coordinates to 0.1 mm.
    assert np.allclose(points[known], expected[known], rtol=0, atol=1e-4)


# Files that are either understood or refused, but never misread.

RING, TIME = np.arange(len(SWEEP)) % 64, np.linspace(0, 0.1, len(SWEEP))
EITHER: dict[str, tuple[str, bytes, NDArray]] = {
    "3 floats": ("a.bin", np.ascontiguousarray(SWEEP[:, :3]).tobytes(), SWEEP),
    "5 floats, ring": ("a.bin", wider(RING), SWEEP),
    "5 floats, time": ("a.bin", wider(TIME), SWEEP),
    "5 floats, zero": ("a.bin", wider(0 * TIME), SWEEP),
    "6 floats": ("a.bin", wider(RING, TIME), SWEEP),
    "7 floats": ("a.bin", wider(RING, TIME, TIME), SWEEP),
    "8 floats": ("a.bin", wider(*SWEEP[:, :3].T / 80, RING), SWEEP),
    "one point": ("a.bin", SWEEP[:1].tobytes(), SWEEP[:1]),
    "ten points": ("a.bin", SWEEP[:10].tobytes(), SWEEP[:10]),
    "all equal": ("a.bin", np.repeat(SWEEP[:1], 1000, 0).tobytes(), np.repeat(SWEEP[:1], 1000, 0)),
    "all zero": ("a.bin", bytes(16_000), np.zeros((1000, 4), np.float32)),
    "integers": ("a.npy", npy(np.rint(FEW).astype(np.int32)), np.rint(FEW)),
    "sentinels of ascii": (
        "a.pcd",
        pcd(rows_of(FEW[:-1]) + "-nan(ind) -nan(ind) 1.#QNAN 0\n"),
        FEW,
    ),
}


@pytest.mark.parametrize("name", EITHER)
def test_never_misread(name: str, tmp_path: Path) -> None:
    file, content, expected = EITHER[name]
    path = write(tmp_path / file, content)
    try:
        points = read_sweep(path).points
    except ScanError as error:
        assert_one_line(str(error), path, ".")
        return
    known = np.isfinite(points[:, :3]).all(axis=1)
    assert points.shape == expected.shape
    assert np.array_equal(points[known, :3], expected[known, :3])


def test_ten_million_points_are_read_and_segmented_in_bounded_memory(tmp_path: Path) -> None:
    copies = -(-10_000_000 // len(SWEEP))
    np.tile(SWEEP, (copies, 1)).tofile(tmp_path / "a.bin")
    script = """if True:
        import resource, sys, warnings
        from bev_instseg import Segmenter, read_scan
        warnings.simplefilter("ignore")
        points = read_scan(sys.argv[1])
        assert len(points) >= 10_000_000 and len(Segmenter.from_pretrained().segment(points)) > 0
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.bin")],
        env=one_thread_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) / 2**20 < 2.5  # GB; the points alone are 0.15


# Files that must be refused.


class Bad(NamedTuple):
    """A file that must be refused.

    Attributes:
        file: Its name.
        content: Its bytes, or what makes it.
        words: A pattern that the refusal must contain, in lower case.
        read: What reads it.
        error: What must be raised.
    """

    file: str
    content: Content
    words: str
    read: Callable[[Path], object] = read_sweep
    error: type[BevInstsegError] = ScanError


def link_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def cut_at_a_record(path: Path) -> None:
    data = las()
    (record_bytes,) = struct.unpack_from("<H", data, 105)
    path.write_bytes(data[: -200 * record_bytes])


def sparse(size: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def npy_header(shape: str, dtype: str = "<f4") -> bytes:
    """An .npy file of a header alone."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zip_bomb(path: Path) -> None:
    """An archive of 0.5 MB that unpacks to 0.5 GB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("points.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy_header("(134217728,)"))
        for _ in range(32):
            file.write(bytes(1 << 24))


TEXT = b"# exported by a tool\n" + rows_of(FEW).encode()
LABELS = np.repeat(np.array([10 | 1 << 16, 40, 48, 50], "<u4"), 4000).tobytes()
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + zlib.compress(SWEEP.tobytes())
BAD_SWEEPS = {
    "missing": Bad("a.bin", lambda path: None, "no such .*; check the path"),
    "folder": Bad("a.bin", Path.mkdir, "is a directory; check that it is a regular file"),
    "pipe": Bad("a.bin", os.mkfifo, "not a regular file.*;"),
    "endless": Bad("a.bin", link_to("/dev/zero"), "not a regular file.*;"),
    "loop": Bad("a.bin", link_to("a.bin"), "too many levels of symbolic links; check"),
    "dangling": Bad("a.bin", link_to("nowhere"), "no such sweep file; check the path"),
    "terabyte": Bad("a.bin", sparse(1 << 40), "too large: 1,099,511,.*; split it"),
    "suffix": Bad("a.xyz", SWEEP.tobytes(), "not one of .*; convert"),
    "cut bin": Bad("a.bin", SWEEP.tobytes()[:-5], "cut short.*copy it again"),
    "float64 bin": Bad("a.bin", SWEEP.astype("<f8").tobytes(), "float64.*astype"),
    "big-endian bin": Bad("a.bin", SWEEP.astype(">f4").tobytes(), "big-endian.*; "),
    "picture": Bad(
        "a.bin", JPEG[: len(JPEG) // 16 * 16], "like a jpeg picture, not like points; .* convert"
    ),
    "text": Bad("a.bin", TEXT[: len(TEXT) // 16 * 16], "text.*convert"),
    "labels": Bad("a.bin", LABELS, "like a .label file .*, not .*; .* convert"),
    "gzip": Bad("a.bin", gzip.compress(SWEEP.tobytes(), 1), "gzip.*unpack"),
    "random bin": Bad(
        "a.bin", np.random.default_rng(0).bytes(160_000), "not hold float32.*convert it"
    ),
    **{
        f"empty {suffix}": Bad(f"a{suffix}", b"", f"{reason}.*; copy it again")
        for suffix, reason in (
            (".npy", "header"),
            (".npz", "not a whole .npz archive"),
            (".pcd", "no pcd header"),
            (".ply", "no ply header"),
            (".las", "no las header"),
            (".laz", "no las header"),
        )
    },
    "cut npy": Bad("a.npy", npy(FEW)[:-100], "cut short.* 8000 bytes, not 7900; copy it again"),
    "sideways": Bad("a.npy", npy(np.ascontiguousarray(SWEEP.T)), "transpose"),
    "sideways, 6": Bad("a.npy", npy(np.zeros((6, 20_000), np.float32)), "transpose"),
    "two columns": Bad("a.npy", npy(FEW[:, :2]), r"\(500, 2\), not floats .*; save it as"),
    "text array": Bad("a.npy", npy(np.array(["1", "2"])), "<u1 of shape .*, not floats .*; save"),
    "pickle": Bad("a.npy", npy_header("(1,)", "|O") + pickle.dumps(FEW), "object|not numbers"),
    "announced": Bad("a.npy", npy_header("(1000000000000, 4)"), "cut short.*copy it again"),
    "archive of many": Bad("a.npz", npz(a=FEW, b=FEW), "unclear which .*a .*, b .*; save them"),
    "bomb npz": Bad("a.npz", zip_bomb, "536871040 bytes, too many.*; split it"),
    "cut npz": Bad("a.npz", npz(points=FEW)[:-100], "not a whole .npz archive.*; copy it again"),
    "wide ply": Bad("a.ply", ply(rows_of(FEW, " 7\n")), "holds more than its ply header announces"),
    "cut ascii pcd": Bad("a.pcd", pcd(rows_of(FEW[:-1])), "cut short.*copy it again"),
    "cut pcd": Bad("a.pcd", pcd(FEW[:-1].tobytes(), "binary"), "cut short.*copy it again"),
    "words in pcd": Bad(
        "a.pcd", pcd(rows_of(FEW[:-1]) + "1 2 three 4\n"), "'three' .* is not a number; write"
    ),
    "announced pcd": Bad("a.pcd", pcd(b"", "binary", 10**15), "cut short.*copy it again"),
    "cut ply": Bad("a.ply", binary_ply(501), "cut short.*copy it again"),
    "no vertices": Bad("a.ply", b"ply\nformat ascii 1.0\nend_header\n", "no vertices; write"),
    "cut las": Bad("a.las", lambda path: path.write_bytes(las()[:-7]), "cut short.*copy"),
    "cut las at a record": Bad("a.las", cut_at_a_record, "cut short.*copy"),
    "cut laz": Bad("a.laz", lambda path: path.write_bytes(las(".laz")[:-400]), "cut short.*; copy"),
    "evil las": Bad("a.las", EVIL_LAS, "damaged: the las header is longer than the file; copy"),
    "evil laz": Bad("a.laz", EVIL_LAZ, "damaged: 3712867198 chunks.*; copy"),
    "all sentinels": Bad(
        "a.npy", npy(np.full((500, 4), 1e30, np.float32)), "over 9 km.*must be in metres"
    ),
    "millimetres": Bad("a.npy", npy(SWEEP * np.float32([1e3, 1e3, 1e3, 1])), "divide|metres"),
}


def sidecar(**changes: object) -> Callable[[Path], object]:
    """Write the shipped weights with changes to the configuration beside them."""

    def make(path: Path) -> None:
        text = pretrained_weights().with_suffix(".json").read_text()
        text = re.sub(r' "network_sha256": .*\n', "", text)  # or the change is noticed first
        for key, value in changes.items():
            text, count = re.subn(
                rf'"{key}": (\[[^\]]*\]|[^,\n]*)', f'"{key}": {value}', text, count=1
            )
            assert count
        path.with_suffix(".json").write_text(text)
        path.write_bytes(pretrained_weights().read_bytes())

    return make


def nested(path: Path) -> None:
    path.with_suffix(".json").write_text("[" * 100_000)
    path.write_bytes(pretrained_weights().read_bytes())


class Runs:
    """An object whose unpickling would run a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def matrices(**changes: str) -> bytes:
    lines = dict(line.split(": ") for line in CALIBRATION.splitlines()) | changes
    return "".join(f"{name}: {numbers}\n" for name, numbers in lines.items()).encode()


BOX = "Car 0 0 -1.5 500 100 600 200 1.5 1.8 4.0 1.0 1.7 12.0 -1.6\n"
to_weights = {"read": load_model, "error": CheckpointError}
to_objects = {"read": lambda path: load_objects(path, NAMES), "error": ObjectsError}
to_calib = {"read": read_calibration, "error": KittiError}
to_boxes = {"read": read_boxes, "error": KittiError}
to_config = {"read": load_config, "error": ConfigError}
BAD_OTHERS = {
    "labels of another sweep": Bad(
        "a.label", bytes(36), "uint32.*;", lambda path: read_labels(path, 10)
    ),
    "pickle as weights": Bad("a.pt", pickle.dumps(Runs()), "not a .*checkpoint", **to_weights),
    "text as weights": Bad("a.safetensors", TEXT, "have a .json next to them", **to_weights),
    "huge network": Bad(
        "a.safetensors", sidecar(widths=[4096] * 5), "needs about 31.8 gb.*; choose", **to_weights
    ),
    "huge grid": Bad(
        "a.safetensors", sidecar(cell_m=0.0002), "512,000 cells .*; choose", **to_weights
    ),
    "other weights": Bad("a.safetensors", sidecar(sha256='"00"'), "sha-256.*;", **to_weights),
    "nested sidecar": Bad(
        "a.safetensors", nested, "or damaged; copy it and a.safetensors again", **to_weights
    ),
    "no sidecar": Bad(
        "a.safetensors",
        pretrained_weights().read_bytes(),
        "have a .json next to them",
        **to_weights,
    ),
    "loop as weights": Bad("a.pt", link_to("a.pt"), "cannot be read", **to_weights),
    "pickle in objects": Bad("a.npz", npz(points=np.array(["x"])), "make it again", **to_objects),
    "objects, empty": Bad("a.npz", b"", "make it again", **to_objects),
    "objects, bomb": Bad("a.npz", zip_bomb, "not an object database.*make it again", **to_objects),
    "calib, empty": Bad("a.txt", b"", "no matrix", **to_calib),
    "calib, NaN": Bad("a.txt", matrices(P2="nan " * 12), "p2.*finite", **to_calib),
    "calib, words": Bad("a.txt", matrices(P2="one " * 12), "p2 has a value", **to_calib),
    "calib, zero": Bad(
        "a.txt", matrices(P2="0 " * 12), "p2 is not a projection.*; use", **to_calib
    ),
    "calib, not a rotation": Bad(
        "a.txt", matrices(R0_rect="1 " * 9), "not a rotation; use", **to_calib
    ),
    "calib, a picture": Bad("a.txt", JPEG, "not a text file", **to_calib),
    "boxes, short": Bad("a.txt", b"Car 0 0 1 2 3\n", "line 1 .*15 fields", **to_boxes),
    "boxes, NaN": Bad("a.txt", BOX.replace("12.0", "nan").encode(), "finite.*; fix", **to_boxes),
    "boxes, a picture": Bad("a.txt", JPEG, "not a text file", **to_boxes),
    "config, tag": Bad(
        "a.yaml", b'train: {steps: !!int ""}\n', "not valid yaml.*!!int", **to_config
    ),
    "config, code": Bad(
        "a.yaml", b"!!python/object/apply:os.system [ls]\n", "not valid yaml.*tag", **to_config
    ),
    "config, pipe": Bad("a.yaml", os.mkfifo, "not a regular file.*;", **to_config),
    "config, nested": Bad("a.yaml", b"[" * 5000, "nested too deeply; check", **to_config),
    "config, huge grid": Bad("a.yaml", b"grid: {cell_m: 1.0e-4}\n", "grid.*; choose", **to_config),
    "config, wide": Bad(
        "a.yaml",
        b"model: {widths: [4096, 4096, 4096, 4096, 4096]}\n",
        "needs about 31.8 gb .* there are 16.0 gb; choose .* smaller widths",
        **to_config,
    ),
    "result, nested": Bad("a.json", b"[" * 100_000, "not a complete result.*;", SweepResult.read),
    "result, loop": Bad("a.json", link_to("a.json"), "cannot be read.*; check", SweepResult.read),
    "result, large": Bad("a.json", sparse(1 << 36), "too large.*; check", SweepResult.read),
}
BAD = BAD_SWEEPS | BAD_OTHERS


def assert_one_line(message: str, path: Path, words: str) -> None:
    assert len(message.splitlines()) == 1
    assert str(path.with_suffix("")) in message
    assert re.search(words, message.lower()), message
    assert len(message) < 600


@pytest.mark.parametrize("name", BAD)
def test_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_module, "machine_bytes", lambda: 16 * 10**9)  # on any machine
    bad = BAD[name]
    path = write(tmp_path / bad.file, bad.content)
    with pytest.raises(bad.error) as caught:
        bad.read(path)
    assert_one_line(str(caught.value), path, bad.words)
    assert not (tmp_path / "executed").exists()
