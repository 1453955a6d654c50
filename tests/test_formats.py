"""A sweep reads the same from every format; damaged and unsuitable files are refused."""

import contextlib
import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.io.formats import SUFFIXES
from bev_instseg.io.infer_frame import FAR_AWAY
from bev_instseg.io.las import doubt_unit
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.sweep import read_sweep, stem_of

pytestmark = pytest.mark.kernel

Points = NDArray[np.float32]
PCD_TYPES = {"f": "F", "u": "U", "i": "I"}
PLY_TYPES = {"f4": "float", "f8": "double", "u1": "uchar", "u2": "ushort", "i4": "int"}


def sweep_of(num_points: int) -> Points:
    """(N, 4) points in no particular order, some NaN or infinite; intensity 0..1."""
    rng = np.random.default_rng(3)
    xyz = rng.normal(0, (30, 30, 1), (num_points, 3))
    points = np.column_stack([xyz, rng.uniform(0, 1, num_points)]).astype(np.float32)
    points[3::10, :3] = np.nan
    points[4::50, 0] = np.inf
    return points


def records_of(columns: dict[str, NDArray]) -> np.ndarray:
    """A packed little-endian structured array with these columns."""
    dtype = [(name, column.dtype.newbyteorder("<").str) for name, column in columns.items()]
    records = np.empty(len(next(iter(columns.values()))), dtype)
    for name, column in columns.items():
        records[name] = column
    return records


def fields_of(points: Points, intensity: str = "intensity") -> np.ndarray:
    return records_of(dict(zip(("x", "y", "z", intensity), points.T, strict=True)))


def text_of(records: np.ndarray) -> bytes:
    return b"".join(b" ".join(b"%r" % float(v) for v in row) + b"\n" for row in records.tolist())


def pcd_of(records: np.ndarray, kind: str = "binary") -> bytes:
    types = [records.dtype[name] for name in records.dtype.names or ()]
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        f"FIELDS {' '.join(records.dtype.names or ())}\n"
        f"SIZE {' '.join(str(t.itemsize) for t in types)}\n"
        f"TYPE {' '.join(PCD_TYPES[t.kind] for t in types)}\n"
        f"COUNT {' '.join('1' for _ in types)}\nWIDTH {len(records)}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(records)}\nDATA {kind}\n"
    )
    body = {"binary": records.tobytes, "ascii": lambda: text_of(records)}
    return header.encode() + (body[kind]() if kind in body else packed(records))


def packed(records: np.ndarray) -> bytes:
    """The body of a binary_compressed PCD: LZF that compresses only runs of equal bytes."""
    planes = b"".join(records[name].tobytes() for name in records.dtype.names or ())
    out, i = bytearray(), 0
    while i < len(planes):
        run = len(planes[i:]) - len(planes[i:].lstrip(planes[i : i + 1])) if i < 4000 else 1
        if run >= 4:  # a literal byte, then an overlapping copy of either length code
            count = min(run - 1, 264)
            out += bytes([0, planes[i]])
            out += bytes([count - 2 << 5, 0]) if count < 9 else bytes([7 << 5, count - 9, 0])
            i += 1 + count
        else:
            piece = planes[i : i + 1 if i < 4000 else i + 32]
            out += bytes([len(piece) - 1]) + piece
            i += len(piece)
    return struct.pack("<II", len(out), len(planes)) + bytes(out)


def ply_of(records: np.ndarray, kind: str = "binary_little_endian") -> bytes:
    names = records.dtype.names or ()
    properties = [f"property {PLY_TYPES[records.dtype[n].str[1:]]} {n}\n" for n in names]
    header = (
        f"ply\nformat {kind} 1.0\ncomment by a test\nelement vertex {len(records)}\n"
        f"{''.join(properties)}element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    order = ">" if "big" in kind else "<"
    binary = records.astype(records.dtype.newbyteorder(order)).tobytes()
    face = b"3 0 1 2\n" if kind == "ascii" else struct.pack(f"{order}Biii", 3, 0, 1, 2)
    return header.encode() + (text_of(records) if kind == "ascii" else binary) + face


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


WRITERS: dict[str, tuple[str, Callable[[Points], bytes]]] = {
    "npy": (".npy", npy_of),
    "npy, float64": (".npy", lambda points: npy_of(points.astype(np.float64))),
    "npy, by columns": (".npy", lambda points: npy_of(np.asfortranarray(points))),
    "npy, big-endian": (".npy", lambda points: npy_of(points.astype(">f4"))),
    "npz": (".npz", lambda points: npz_of(cloud=points, stamp=np.array(17))),
    "npz, by name": (".npz", lambda p: npz_of(X=p[:, 0], y=p[:, 1], z=p[:, 2], intensity=p[:, 3])),
    "npz, beside": (".npz", lambda p: npz_of(points=p[:, :3], reflectance=p[:, 3], gps=p[:, 1])),
    "npy, fields": (".npy", lambda points: npy_of(fields_of(points, "reflectivity"))),
    "pcd": (".pcd", lambda points: pcd_of(fields_of(points))),
    "pcd, ascii": (".pcd", lambda points: pcd_of(fields_of(points), "ascii")),
    "pcd, packed": (".PCD", lambda points: pcd_of(fields_of(points), "binary_compressed")),
    "ply": (".ply", lambda points: ply_of(fields_of(points, "scalar_Intensity"))),
    "ply, big-endian": (".ply", lambda points: ply_of(fields_of(points), "binary_big_endian")),
    "ply, ascii": (".PLY", lambda points: ply_of(fields_of(points, "reflectance"), "ascii")),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write_file(suffix: str, data: bytes) -> Path:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        return path

    return write_file


Write = Callable[[str, bytes], Path]


def refusal(path: Path, setup: SensorSetup | None = None) -> str:
    """Return the ScanError's message after checking that it is one line that names the file."""
    with pytest.raises(ScanError) as caught:
        read_sweep(path, setup)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def equal(a: NDArray, b: NDArray) -> bool:
    return np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("num_points", [0, 1, 7, 2500])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_like_bin(write: Write, name: str, num_points: int) -> None:
    points = sweep_of(num_points)
    from_bin = read_sweep(write(".bin", points.tobytes()))
    suffix, data_of = WRITERS[name]
    sweep = read_sweep(write(suffix, data_of(points)))
    assert equal(from_bin.points, points)
    assert sweep.points.dtype == np.float32
    assert sweep.points.flags.c_contiguous
    assert sweep.points.flags.writeable
    assert equal(sweep.points, points)
    assert equal(sweep.xyz, points[:, :3])
    assert (sweep.axes, sweep.origin_m, sweep.notices) == ("flu", (0, 0, 0), ())


def test_every_suffix_is_tested() -> None:
    assert {suffix.lower() for suffix, _ in WRITERS.values()} == set(SUFFIXES) - {
        ".bin",
        ".las",
        ".laz",
    }


# nuScenes


def with_rings(points: Points) -> bytes:
    """The bytes of a nuScenes file: a ring number after each point."""
    return np.column_stack([points, np.arange(len(points)) % 32]).astype(np.float32).tobytes()


@pytest.mark.parametrize("suffix", [".bin", ".pcd.bin"])
@pytest.mark.parametrize("num_points", [4001, 4000])  # 4000 * 5 floats are also a multiple of 4
def test_nuscenes_is_recognised(write: Write, suffix: str, num_points: int) -> None:
    points = sweep_of(num_points)
    sweep = read_sweep(write(suffix, with_rings(points)))
    assert equal(sweep.points, points)
    assert sweep.points.flags.c_contiguous
    assert sweep.notices == ("5 floats per point: read as nuScenes x, y, z, intensity, ring",)


def test_explicit_format_overrides_detection(write: Write) -> None:
    points = sweep_of(40)
    path = write(".bin", with_rings(points))
    sweep = read_sweep(path, SensorSetup("nuscenes"))
    assert equal(sweep.points, points)
    assert sweep.notices == ()
    sweep = read_sweep(path, SensorSetup("kitti", axes="flu"))
    assert len(sweep.points) == 50
    assert sweep.notices[0] == "looks like 5 floats per point, but is read as xyzi: check --format"
    path = write(".bin", points[:39].tobytes())
    message = refusal(path, SensorSetup("nuscenes"))
    assert "624 bytes are 4 more than a whole number of points" in message
    assert "20 bytes each: 5 floats" in message


# Intensity


@pytest.mark.parametrize(
    ("top", "divided"),
    [(1, 1), (1.4, 1), (200, 255), (255, 255), (400, 4095), (4095, 4095), (65535, 65535)],
)
def test_intensity_scales(write: Write, top: float, divided: int) -> None:
    points = sweep_of(3000)
    points[:, 3] = np.random.default_rng(0).permutation(np.linspace(0, top, 3000))
    sweep = read_sweep(write(".bin", points.tobytes()))
    expected = np.minimum(points[:, 3] / np.float32(divided), 1)
    np.testing.assert_allclose(sweep.points[:, 3], expected, rtol=1e-6)
    notice = f"intensity 0..{divided}: divided by {divided}"
    clipped = ("28.6% of the intensities are outside 0..1: clipped",) if top == 1.4 else ()
    assert sweep.notices == ((notice,) if divided > 1 else clipped)


@pytest.mark.parametrize(("bright", "divided"), [(3, 1), (40, 255)])
def test_rare_outliers_do_not_change_the_scale(write: Write, bright: int, divided: int) -> None:
    points = sweep_of(3000)
    points[:bright, 3] = 200
    points[50:60, 3] = [np.inf] * 5 + [np.nan] * 5
    sweep = read_sweep(write(".bin", points.tobytes()))
    assert sweep.points[0, 3] == np.float32(min(200 / divided, 1))
    assert not sweep.points[50:60, 3].any()
    np.testing.assert_array_equal(sweep.points[60:, 3], points[60:, 3] / np.float32(divided))


@pytest.mark.parametrize("of", [lambda r: (".pcd", pcd_of(r)), lambda r: (".ply", ply_of(r))])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_integer_intensities(write: Write, of: Callable, kind: type[np.unsignedinteger]) -> None:
    points = sweep_of(1000)
    full = np.iinfo(kind).max
    whole = (points[:, 3] * full).astype(kind)
    records = records_of(
        {
            **{"t": whole, "x": points[:, 0], "y": points[:, 1].astype(np.float64)},
            **{"z": points[:, 2], "remission": whole},
        }
    )
    sweep = read_sweep(write(*of(records)))
    assert equal(sweep.points[:, :3], points[:, :3])
    np.testing.assert_array_equal(sweep.points[:, 3], whole / np.float32(full))
    assert sweep.notices == (f"intensity 0..{full}: divided by {full}",)
    assert sweep.xyz.dtype == np.float64


@pytest.mark.parametrize("suffix", [".npy", ".pcd", ".ply"])
def test_missing_intensity_is_zero(write: Write, suffix: str) -> None:
    points = sweep_of(100)
    records = records_of({name: points[:, k] for k, name in enumerate("XYZ")})
    data = {".npy": npy_of(points[:, :3]), ".pcd": pcd_of(records), ".ply": ply_of(records)}
    sweep = read_sweep(write(suffix, data[suffix]))
    assert equal(sweep.points[:, :3], points[:, :3])
    assert not sweep.points[:, 3].any()
    assert sweep.notices == ("no intensity: set to 0",)


# NumPy


def test_npy_with_more_columns(write: Write) -> None:
    points = sweep_of(100)
    sweep = read_sweep(write(".npy", npy_of(np.column_stack([points, points[:, ::-1]]))))
    assert equal(sweep.points, points)
    assert sweep.notices == ("more than 4 columns: read the first four as x, y, z, intensity",)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((5, 2), np.float32), "float32 of shape (5, 2)"),
        (np.zeros(5, np.float32), "float32 of shape (5,)"),
        (np.zeros((5, 4), np.int32), "int32 of shape (5, 4)"),
        (np.zeros(5, [("x", "f4"), ("y", "f4"), ("i", "f4")]), "no field z among x, y, i"),
        (np.zeros(5, [("x", "f4"), ("y", "f4"), ("z", "f4", 2)]), "one number per point"),
        (np.zeros((4, 100), np.float32), "shape (4, 100), not (N, 3 or more): transpose it"),
        (np.array([{}, None]), "object of shape (2,), not numbers"),
        (np.zeros((20, 300), np.float32), "shape (20, 300), not (N, 3 or more): transpose it"),
        (np.zeros((3, 20, 300), np.float32), "transpose it"),
    ],
)
def test_npy_without_points_is_refused(write: Write, array: np.ndarray, reason: str) -> None:
    assert reason in refusal(write(".npy", npy_of(array)))


def npz_of(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(300,), (300, 1), (10, 30)])
@pytest.mark.parametrize("num_columns", [3, 4, 6])
def test_a_named_intensity_takes_the_place_of_other_columns(
    write: Write, num_columns: int, shape: tuple[int, ...]
) -> None:
    points = sweep_of(300)
    ring = np.arange(300)[:, None] % 16 * np.ones(num_columns - 3)
    stored = np.column_stack([points[:, :3], ring]).astype(np.float32)
    data = npz_of(points=stored, intensity=points[:, 3].reshape(shape))
    sweep = read_sweep(write(".npz", data))
    assert equal(sweep.points, points)
    assert sweep.notices == ()


def test_an_array_with_the_name_but_not_the_size_of_an_intensity_is_left_out(write: Write) -> None:
    points = sweep_of(300)
    assert equal(read_sweep(write(".npz", npz_of(points=points, i=np.array(7)))).points, points)


def test_npz_with_suffix_npy_is_refused(write: Write) -> None:
    file = io.BytesIO()
    np.savez(file, points=sweep_of(5))
    assert zipfile.is_zipfile(file)
    assert ".npz archive" in refusal(write(".npy", file.getvalue()))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": np.zeros((5, 4)), "b": np.zeros((5, 4))}, "holds the points (a (5, 4), b (5, 4))"),
        ({"a": np.zeros(5)}, "holds the points (a (5,))"),
        ({}, "holds the points (none)"),
        ({"x": np.zeros(5), "y": np.zeros(5), "z": np.zeros(4)}, "differ in length"),
        ({"a": np.zeros((5, 4), np.int16)}, "int16 of shape (5, 4), not floats"),
        ({"a": np.array([{}, None])}, "not numbers"),
    ],
)
def test_npz_without_clear_points_is_refused(
    write: Write, arrays: dict[str, np.ndarray], reason: str
) -> None:
    assert reason in refusal(write(".npz", npz_of(**arrays)))


def test_damaged_npz_is_refused(write: Write) -> None:
    data = npz_of(points=sweep_of(500))
    for share in (0, 0.3, 0.99):
        assert "copy it again" in refusal(write(".npz", data[: int(share * len(data))]))
    assert "copy it again" in refusal(write(".npz", data[:300] + b"damage" + data[306:]))


def test_organised_arrays_are_read_row_by_row(write: Write) -> None:
    points = sweep_of(600)
    assert equal(read_sweep(write(".npy", npy_of(points.reshape(20, 30, 4)))).points, points)
    assert equal(read_sweep(write(".npz", npz_of(a=points.reshape(1, 600, 4)))).points, points)
    rows = fields_of(points).reshape(20, 30)
    assert equal(read_sweep(write(".npy", npy_of(rows))).points, points)


def test_what_follows_an_array_is_not_ignored(write: Write) -> None:
    data = npy_of(sweep_of(20))
    assert "follows the array" in refusal(write(".npy", data + data))
    short = data.replace(b"(20, 4)", b"(90, 4)")
    assert "cut short: float32 of shape (90, 4) needs 1440 bytes, not 320" in refusal(
        write(".npy", short)
    )


# PCD and PLY


def with_lists(points: Points, order: str, kind: str) -> bytes:
    """PLY with other elements before the points, and lists in both."""
    head = (
        f"ply\nformat {kind} 1.0\nelement camera 2\nproperty list ushort double pose\n"
        f"element empty 0\nproperty char c\nelement vertex {len(points)}\n"
        "property list uchar short before\nproperty float x\nproperty float y\n"
        "property float z\nproperty list uint uchar between\nproperty float scalar_Reflectance\n"
        "end_header\n"
    )
    rows = [
        ((k % 3) * [k], row[:3], (k % 2) * [7], row[3]) for k, row in enumerate(points.tolist())
    ]
    if kind == "ascii":
        lines = [" ".join(map(str, [len(a), *a, *xyz, len(b), *b, i])) for a, xyz, b, i in rows]
        return (head + "comment made up\n3 1 2 3\n0\n" + "\n".join(lines)).encode()
    body = struct.pack(f"{order}HdddH", 3, 1, 2, 3, 0)
    for a, xyz, b, i in rows:
        body += struct.pack(f"{order}B{len(a)}h3fI{len(b)}Bf", len(a), *a, *xyz, len(b), *b, i)
    return head.encode() + body


@pytest.mark.parametrize(
    ("order", "kind"), [("<", "binary_little_endian"), (">", "binary_big_endian"), ("", "ascii")]
)
def test_ply_with_lists_and_other_elements(write: Write, order: str, kind: str) -> None:
    points = sweep_of(200)
    data = with_lists(points, order, kind)
    assert equal(read_sweep(write(".ply", data)).points, points)
    assert "cut short" in refusal(write(".ply", data[:-30]))
    negative = data.replace(b"list ushort", b"list short ").replace(b"\n3 1 2", b"\n-3 1 2")
    if order:
        place = negative.index(b"end_header\n") + 11
        negative = negative[:place] + b"\xff\xff" + negative[place + 2 :]
    assert "length of a list" in refusal(write(".ply", negative))


@pytest.mark.parametrize("name", ["scalar_Intensity", "Scalar_reflectance", "REMISSION", "I"])
def test_names_of_intensity(write: Write, name: str) -> None:
    points = sweep_of(50)
    assert equal(read_sweep(write(".ply", ply_of(fields_of(points, name)))).points, points)


def test_pcd_of_other_tools(write: Write) -> None:
    """The old header, comments among the points, and NaN and infinity as C libraries write them."""
    data = (
        "# .PCD v.5\nVERSION .5\nCOLUMNS x y z intensity\nPOINTS 5\nDATA ascii\n# made by hand\n"
        "1 2 3 0.5\n-nan(ind) 1.#QNAN -1.#IND 0.25\n  # and a comment\n"
        "nan NaN -nan 1\n1.#INF -1.#INF inf 0\n-Infinity 2e1 -3 0.125\n"
    )
    inf, nan = np.inf, np.nan
    expected = np.float32(
        [
            *([1, 2, 3, 0.5], [nan, nan, nan, 0.25], [nan, nan, nan, 1]),
            *([inf, -inf, inf, 0], [-inf, 20, -3, 0.125]),
        ]
    )
    assert equal(read_sweep(write(".pcd", data.encode())).points, expected)
    message = refusal(write(".pcd", data.replace("2e1", "2,1").encode()))
    assert "'2,1' among the points is not a number" in message


def test_pcd_with_more_points_than_announced_is_refused(write: Write) -> None:
    for kind in ("ascii", "binary"):
        data = pcd_of(fields_of(sweep_of(50)), kind).replace(b"POINTS 50", b"POINTS 49")
        assert "more points than its PCD header announces" in refusal(write(".pcd", data))


def test_pcd_viewpoint_is_reported(write: Write) -> None:
    data = pcd_of(fields_of(sweep_of(50))).replace(b"VIEWPOINT 0 0 0", b"VIEWPOINT 9 0 1.5")
    sweep = read_sweep(write(".pcd", data))
    assert equal(sweep.points, sweep_of(50))
    assert sweep.notices == (
        "the PCD viewpoint is not the origin: it is ignored, and coordinates are read as stored",
    )


def test_pcd_with_padding_and_rows(write: Write) -> None:
    """The Point Cloud Library writes an organised cloud of XYZI points like this."""
    points = sweep_of(100)
    records = np.zeros(100, [("xyz", "<f4", 3), ("_", "u1", 4), ("i", "<f4"), ("__", "u1", 12)])
    records["xyz"], records["i"] = points[:, :3], points[:, 3]
    header = (
        b"VERSION .7\r\nFIELDS x y z _ intensity _\r\nSIZE 4 4 4 1 4 1\r\nTYPE F F F U F U\r\n"
        b"COUNT 1 1 1 4 1 12\r\nWIDTH 25\r\nHEIGHT 4\r\nDATA binary\n"
    )
    assert equal(read_sweep(write(".pcd", header + records.tobytes())).points, points)
    rows = [[*x, *[0] * 4, i, *[0] * 12] for *x, i in points.tolist()]
    text = "\n".join(" ".join(map(repr, row)) for row in rows).encode()
    ascii_header = header.replace(b"binary", b"ascii")
    assert equal(read_sweep(write(".pcd", ascii_header + text)).points, points)


@pytest.mark.parametrize("suffix", [".pcd", ".ply"])
@pytest.mark.parametrize("kind", ["binary", "ascii", "binary_compressed"])
def test_files_written_by_open3d(tmp_path: Path, suffix: str, kind: str) -> None:
    import open3d as o3d

    points = sweep_of(3000)
    points[:, 0] = np.where(np.isinf(points[:, 0]), 0, points[:, 0])  # not written to PLY
    points[1000:2000] = [1.5, 2.5, -1.25, 0.25]  # compressible
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(points[:, :3].copy()))
    cloud.point["intensity"] = o3d.core.Tensor(points[:, 3:].copy())
    path = tmp_path / f"a{suffix}"
    assert o3d.t.io.write_point_cloud(
        str(path), cloud, write_ascii=kind == "ascii", compressed=kind == "binary_compressed"
    )
    read = read_sweep(path).points
    if kind == "ascii":  # to the digits that Open3D writes
        np.testing.assert_allclose(read, points, rtol=2e-5, atol=1e-6)
    else:
        assert equal(read, points)


CUT = [
    *((".pcd", kind) for kind in ("binary", "ascii", "binary_compressed")),
    *((".ply", kind) for kind in ("binary_little_endian", "binary_big_endian", "ascii")),
]


@pytest.mark.parametrize(("suffix", "kind"), CUT)
@pytest.mark.parametrize("share", [0.002, 0.5, 0.99])
def test_truncated_files_are_refused(write: Write, suffix: str, kind: str, share: float) -> None:
    records = fields_of(sweep_of(300))
    data = pcd_of(records, kind) if suffix == ".pcd" else ply_of(records, kind)
    if suffix == ".ply":
        data = data[: -8 if kind == "ascii" else -13]  # drop the face
    message = refusal(write(suffix, data[: int(share * len(data))]))
    assert ("header" if share == 0.002 else "cut short") in message


@pytest.mark.parametrize("suffix", [".npy", ".pcd", ".ply"])
def test_truncated_headers_are_refused(write: Write, suffix: str) -> None:
    points = sweep_of(5)
    records = fields_of(points)
    data = {".npy": npy_of(points), ".pcd": pcd_of(records), ".ply": ply_of(records)}[suffix]
    for end in range(0, 60, 7):
        assert "copy it again" in refusal(write(suffix, data[:end]))
    assert "copy it again" in refusal(write(".npy", npy_of(points)[:-1]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".npy", ".pcd", ".ply"])
def test_damaged_bytes_never_raise_anything_but_scan_error(write: Write, suffix: str) -> None:
    """Changing any bytes yields either a sweep or a ScanError."""
    records = fields_of(sweep_of(20))
    kinds = {
        ".npy": [npy_of(records)],
        ".pcd": [pcd_of(records, kind) for kind in ("binary", "ascii", "binary_compressed")],
        ".ply": [ply_of(records, kind) for kind in ("binary_little_endian", "ascii")],
    }
    rng = np.random.default_rng(0)
    for data in kinds[suffix]:
        for _ in range(150):
            damaged = bytearray(data)
            for place in rng.integers(0, min(len(data), 400), rng.integers(1, 4)):
                damaged[place] = rng.integers(0, 256)
            path = write(suffix, bytes(damaged))
            with contextlib.suppress(ScanError):
                sweep = read_sweep(path)
                assert sweep.points.shape == (len(sweep.xyz), 4)


@pytest.mark.parametrize(
    ("suffix", "old", "new", "reason"),
    [
        (".pcd", b"DATA binary", b"DATA zipped", "unknown PCD data 'zipped'"),
        (".pcd", b"TYPE F F", b"TYPE F Q", "PCD field y has an unknown type Q4"),
        (".pcd", b"SIZE 4 4", b"SIZE 4", "differ in length"),
        (".pcd", b"TYPE F F F F\n", b"", "the PCD header has no TYPE"),
        (".pcd", b"POINTS 9", b"POINTS nine", "POINTS of the PCD header is not a whole number"),
        (".pcd", b"FIELDS x y z", b"FIELDS a b c", "no field x, y, z among a, b, c, intensity"),
        (".pcd", b"FIELDS x y", b"FIELDS x x", "'x'"),
        (".ply", b"property float y", b"property bool y", "'property bool y' in the PLY header"),
        (".ply", b"property float y", b"property list float int y", "'property list float int y'"),
        (".ply", b"property float y", b"property list uchar int y", "cut short after"),
        (".ply", b"element vertex 9", b"element corner 9", "no vertices"),
        (".ply", b"float x", b"float a", "no field x among a, y, z, intensity"),
    ],
)
def test_invalid_headers_are_refused(
    write: Write, suffix: str, old: bytes, new: bytes, reason: str
) -> None:
    records = fields_of(sweep_of(9))
    data = pcd_of(records) if suffix == ".pcd" else ply_of(records)
    assert data.count(old) == 1
    assert reason in refusal(write(suffix, data.replace(old, new)))


def test_damaged_compressed_pcd_is_refused(write: Write) -> None:
    data = pcd_of(fields_of(sweep_of(100)), "binary_compressed")
    start = data.index(b"compressed\n") + len(b"compressed\n")
    before_start = data[: start + 8] + bytes([7 << 5]) * (len(data) - start - 8)
    assert "damaged" in refusal(write(".pcd", before_start))
    other_size = data[: start + 4] + struct.pack("<I", 1599) + data[start + 8 :]
    assert "100 points need 1600 bytes, not 1599" in refusal(write(".pcd", other_size))


def test_millimetres_are_refused(write: Write) -> None:
    points = sweep_of(2000) * np.float32([1000, 1000, 1000, 1])
    assert "metres" in refusal(write(".ply", ply_of(fields_of(points))))


# LAS


def las_of(
    points: NDArray[np.float64],
    compress: bool = False,
    point_format: int = 3,
    version: str = "1.2",
    place: tuple[int, bytes] | None = None,
    place_is_last: bool = False,
) -> bytes:
    """A LAS file with 16-bit intensities and millimetre steps from the rounded first point.

    ``place`` is id and content of the record that describes the coordinate system, which may be
    behind the points.
    """
    laspy = pytest.importorskip("laspy")
    if compress:
        pytest.importorskip("lazrs")
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.offsets, header.scales = np.round(points[0, :3]), [0.001] * 3
    las = laspy.LasData(header)
    if place is not None:
        records = header.vlrs
        if place_is_last:
            records = header.evlrs = laspy.vlrs.vlrlist.VLRList()
        records.append(laspy.VLR("LASF_Projection", place[0], "", place[1]))
    las.x, las.y, las.z = points[:, :3].T
    las.intensity = np.round(points[:, 3]).astype(np.uint16)
    file = io.BytesIO()
    las.write(file, do_compress=compress)
    return file.getvalue()


def millimetres(num_points: int) -> NDArray[np.float64]:
    """(N, 4) finite points rounded to millimetres; intensity 0..65535."""
    points = np.nan_to_num(sweep_of(num_points).astype(np.float64), posinf=5)
    return np.column_stack([points[:, :3].round(3), (points[:, 3] * 65535).round()])


@pytest.mark.parametrize("suffix", [".las", ".laz", ".LAS"])
@pytest.mark.parametrize("offset", [(0, 0, 0), (512_000, 5_412_000, 300)])
def test_las_in_map_coordinates(
    write: Write, suffix: str, offset: tuple[float, float, float]
) -> None:
    points = millimetres(2000) + np.array([*offset, 0])
    sweep = read_sweep(write(suffix, las_of(points, suffix == ".laz")))
    scaled = ("intensity 0..65535: divided by 65535",)
    moved = (FAR_AWAY,)
    assert sweep.notices == (scaled if offset == (0, 0, 0) else scaled + moved)
    np.testing.assert_allclose(sweep.xyz, points[:, :3], rtol=0, atol=1e-6)
    assert np.abs(np.array(sweep.origin_m) - offset).max() <= 3
    np.testing.assert_allclose(
        sweep.points[:, :3], points[:, :3] - sweep.origin_m, rtol=0, atol=2e-5
    )
    np.testing.assert_allclose(sweep.points[:, 3], points[:, 3] / 65535, atol=1e-7)


def test_las_with_zero_intensities_has_none(write: Write) -> None:
    points = millimetres(100) * [1, 1, 1, 0]
    assert read_sweep(write(".las", las_of(points))).notices == ("no intensity: set to 0",)


def geo_keys(*keys: tuple[int, int]) -> tuple[int, bytes]:
    rows = [(1, 1, 0, len(keys)), *((key, 0, 1, value) for key, value in keys)]
    return 34735, np.array(rows, "<u2").tobytes()


def well_known_text(text: str) -> tuple[int, bytes]:
    return 2112, text.encode() + b"\0"


IN_DEGREES = 'GEOGCS["NAD83",UNIT["degree",0.0174532925199433]]'


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("place", "unit"),
    [
        (geo_keys((1024, 1), (3072, 32632), (3076, 9001)), ""),
        (geo_keys((1024, 1), (3076, 9003)), "feet"),
        (geo_keys((1024, 1), (3076, 9001), (4099, 9002)), "feet"),
        (geo_keys((1024, 2)), "degrees"),
        (geo_keys(), ""),
        ((34735, b""), ""),
        (well_known_text(f'PROJCS["UTM",{IN_DEGREES},UNIT["metre",1]]'), ""),
        (well_known_text(f'PROJCS["NY",{IN_DEGREES},UNIT["US foot",0.3048006096]]'), "feet"),
        (well_known_text('PROJCRS["NY",CS[Cartesian,2],LENGTHUNIT["foot", 0.3048]]'), "feet"),
        (well_known_text('PROJCRS["NY",CS[Cartesian,2],LENGTHUNIT["foot", .3048]]'), "feet"),
        (well_known_text('PROJCRS["NY",CS[Cartesian,2],LENGTHUNIT["foot", 3.048E-1]]'), "feet"),
        (well_known_text(IN_DEGREES), "degrees"),
        (well_known_text(f'COMPD_CS["3D",{IN_DEGREES},VERT_CS["up",UNIT["metre",1]]]'), "degrees"),
        (well_known_text('GEODCRS["WGS 84",CS[ellipsoidal,3]]'), "degrees"),
        (well_known_text('GEODCRS["geocentric",CS[Cartesian,3],LENGTHUNIT["metre",1]]'), ""),
    ],
)
def test_las_that_says_that_it_is_not_in_metres_is_refused(
    write: Write, place: tuple[int, bytes], unit: str, compress: bool
) -> None:
    path = write(".laz", las_of(millimetres(300), compress, place=place))
    if unit:
        assert f"its coordinate system is in {unit}; convert it to metres" in refusal(path)
    else:
        assert len(read_sweep(path).points) == 300


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("text", [IN_DEGREES, 'PROJCRS["NY",LENGTHUNIT["foot", 0.3048]]'])
def test_las_may_name_its_unit_behind_the_points(write: Write, text: str, compress: bool) -> None:
    place = well_known_text(text)
    data = bytearray(las_of(millimetres(300), compress, 6, "1.4", place, place_is_last=True))
    assert "convert it to metres" in refusal(write(".laz", bytes(data)))
    struct.pack_into("<I", data, 243, 0xFFFFFFFF)
    assert "convert it to metres" in refusal(write(".laz", bytes(data)))
    for start in (len(data), 1 << 60, (1 << 64) - 1):  # damaged, but not needed for the points
        struct.pack_into("<Q", data, 235, start)
        assert len(read_sweep(write(".laz", bytes(data))).points) == 300
    start = data.index(b"LASF_Projection") - 2
    struct.pack_into("<Q", data, 235, start)
    struct.pack_into("<Q", data, start + 20, (1 << 64) - 1)
    assert "convert it to metres" in refusal(write(".laz", bytes(data)))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("point_format", range(11))
def test_las_versions(write: Write, point_format: int, compress: bool) -> None:
    if compress and point_format in (4, 5, 9, 10):
        pytest.skip("lazrs does not compress waveforms")
    points = millimetres(700)
    data = las_of(points, compress, point_format, "1.4" if point_format > 5 else "1.3")
    sweep = read_sweep(write(".laz" if compress else ".las", data))
    np.testing.assert_allclose(sweep.xyz, points[:, :3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(sweep.points[:, 3], points[:, 3] / 65535, atol=1e-7)


@pytest.mark.parametrize("point_format", [3, 6])
def test_las_cut_between_points_is_refused(write: Write, point_format: int) -> None:
    data = las_of(millimetres(500), point_format=point_format, version="1.4")
    size = struct.unpack_from("<H", data, 105)[0]
    for missing in (1, 250, 500):
        message = refusal(write(".las", data[: len(data) - missing * size]))
        assert f"cut short: 500 points need {500 * size} bytes" in message


@pytest.mark.parametrize("announced", [0, 100, 299])
@pytest.mark.parametrize(("point_format", "version"), [(3, "1.2"), (4, "1.3"), (6, "1.4")])
@pytest.mark.parametrize("with_record", [False, True])
def test_las_with_more_points_than_announced_is_refused(
    write: Write, point_format: int, version: str, with_record: bool, announced: int
) -> None:
    place, is_last = well_known_text('PROJCRS["UTM"]' + " " * 500), version == "1.4"
    data = bytearray(
        las_of(
            *(millimetres(300), False, point_format, version),
            *(place if with_record else None, is_last),
        )
    )
    assert len(read_sweep(write(".las", bytes(data))).points) == 300
    struct.pack_into("<I", data, 107, announced if version < "1.4" else 0)
    if version == "1.4":
        struct.pack_into("<Q", data, 247, announced)
    assert (
        f"the header announces {announced} points, but there are 300; write the file again"
        in refusal(write(".las", bytes(data)))
    )


def test_waveforms_behind_the_points_of_las_are_no_points(write: Write) -> None:
    data = bytearray(las_of(millimetres(300), False, 4, "1.3"))
    struct.pack_into("<Q", data, 227, len(data))
    assert len(read_sweep(write(".las", bytes(data) + bytes(5000))).points) == 300


@pytest.mark.parametrize(
    ("place", "number"),
    [
        (geo_keys((1024, 1), (3072, 2263)), 2263),
        (geo_keys((1024, 1), (3072, 2263), (3076, 9001)), 0),
        (geo_keys((1024, 1), (3072, 32767)), 0),
        (geo_keys((1024, 1)), 0),
        (None, 0),
    ],
)
def test_a_coordinate_system_without_a_unit_is_said(
    place: tuple[int, bytes] | None, number: int
) -> None:
    data = np.frombuffer(las_of(millimetres(300), place=place), np.uint8)
    notice = f"its coordinate system EPSG:{number} names no unit: metres assumed"
    assert doubt_unit(data) == ((notice,) if number else ())


@pytest.mark.parametrize(
    ("place", "new", "reason"),
    [
        (104, "B 11", "point format 11"),
        (105, "H 5", "point format 3 of 5 bytes"),
        (96, "I 4000000000", "is longer than the file"),
        (107, "I 0", "announces 0 points, but there are 80"),
        (107, "I 4294967295", "more than a sweep may have"),
        (131, "d 0", "scale or offset"),
        (155, "d nan", "scale or offset"),
        (100, "I 4294967295", ""),  # not needed to read the points
    ],
)
def test_damaged_las_headers(write: Write, place: int, new: str, reason: str) -> None:
    kind, number = new.split()
    data = bytearray(las_of(millimetres(80)))
    struct.pack_into(f"<{kind}", data, place, float(number) if kind == "d" else int(number))
    path = write(".las", bytes(data))
    assert reason in refusal(path) if reason else len(read_sweep(path).points) == 80


@pytest.mark.parametrize("point_format", [3, 6])
@pytest.mark.parametrize("fault", ["chunks", "table", "sizes", "count", "items"])
def test_damaged_laz_asks_for_no_memory(write: Write, point_format: int, fault: str) -> None:
    """lazrs allocates what the file says, and ends the process if there is less."""
    data = bytearray(las_of(millimetres(500), True, point_format, "1.4"))
    start = struct.unpack_from("<I", data, 96)[0]
    table = struct.unpack_from("<q", data, start)[0]
    vlr = data.index(b"laszip encoded") + 52
    places = {
        "chunks": (table + 4, "<I", 3_712_867_198),
        "table": (start, "<q", 1 << 40),
        "sizes": (start + 8 + 30 + 4, "<I", 0xFFFFFFF0),  # of a layer; other points are damaged
        "count": (247, "<Q", 600),
        "items": (vlr + 32, "<H", 0),
    }
    place, kind, value = places[fault]
    struct.pack_into(kind, data, place, value)
    if fault == "count":
        struct.pack_into("<I", data, 107, 600 if point_format < 6 else 0)
    path = write(".laz", bytes(data))
    if fault != "sizes" or point_format >= 6:
        assert "damaged" in refusal(path) or "cut short" in refusal(path)
    else:
        with contextlib.suppress(ScanError):
            read_sweep(path)


@pytest.mark.parametrize("compress", [False, True])
def test_truncated_las_is_refused(write: Write, compress: bool) -> None:
    suffix = ".laz" if compress else ".las"
    data = las_of(millimetres(500), compress)
    for share in (0, 0.001, 0.1, 0.6, 0.99):
        assert "copy it again" in refusal(write(suffix, data[: int(share * len(data))]))


def test_laz_without_its_package_names_the_extra(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(".laz", las_of(millimetres(50), compress=True))
    monkeypatch.setitem(sys.modules, "lazrs", None)
    assert "needs lazrs: pip install 'bev-instseg[las]'" in refusal(path)


# Names


def test_unknown_suffixes_are_refused(write: Write) -> None:
    message = refusal(write(".txt", b"1 2 3\n"))
    assert ".bin, .npy, .npz, .pcd, .ply, .las, .laz" in message


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        assert "no such sweep file" in refusal(tmp_path / f"none{suffix}")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a/000.bin", "000"), ("n015.1.pcd.bin", "n015.1"), ("b.c.ply", "b.c"), ("d.PCD.BIN", "d")],
)
def test_stem_of(name: str, stem: str) -> None:
    assert stem_of(name) == stem
    assert stem_of(Path(name)) == stem


def test_the_plain_name_of_a_field_comes_first(tmp_path: Path) -> None:
    """CloudCompare writes the scalar field Z as scalar_Z, beside the coordinate z."""
    points = sweep_of(200)
    columns = dict(zip(("x", "y", "z", "intensity"), points.T, strict=True))
    other = np.arange(200, dtype=np.float32)
    more = {"scalar_Z": other, "X": other, "scalar_intensity": other, "scalar_x": other}
    for name, data in (("a.ply", ply_of), ("a.pcd", pcd_of)):
        path = tmp_path / name
        path.write_bytes(data(records_of({**columns, **more})))
        np.testing.assert_array_equal(read_sweep(path).xyz, points[:, :3])
    upper = {name.upper(): column for name, column in columns.items()}
    path.write_bytes(pcd_of(records_of({"scalar_x": other, **upper})))
    np.testing.assert_array_equal(read_sweep(path).xyz, points[:, :3])
    np.savez(tmp_path / "a.npz", **columns, **more)
    np.testing.assert_array_equal(read_sweep(tmp_path / "a.npz").xyz, points[:, :3])


@pytest.mark.parametrize("value", [4095, 0.5, -1])
def test_numbers_that_are_not_of_their_declared_type_are_refused(
    tmp_path: Path, value: float
) -> None:
    columns = dict(zip(("x", "y", "z"), sweep_of(100).T, strict=False))
    stored = records_of({**columns, "intensity": np.full(100, 77, np.uint8)})
    for name, data in (("a.ply", ply_of(stored, "ascii")), ("a.pcd", pcd_of(stored, "ascii"))):
        path = tmp_path / name
        path.write_bytes(data.replace(b" 77.0\n", f" {value}\n".encode()))
        with pytest.raises(ScanError, match=rf"intensity is declared as uint8, but holds {value}"):
            read_sweep(path)


def test_a_stack_of_sweeps_is_no_organised_cloud(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.tile(sweep_of(20_001), (2, 1, 1)))
    with pytest.raises(ScanError, match=r"shape \(2, 20001, 4\) looks like a stack of 2 sweeps"):
        read_sweep(path)
    np.save(path, sweep_of(400).reshape(2, 200, 4))
    with pytest.raises(ScanError, match=r"shape \(2, 200, 4\) may be 2 sweeps or one; save each"):
        read_sweep(path)
    np.save(path, np.zeros((3, 200, 6), np.float32))
    with pytest.raises(ScanError, match=r"shape \(3, 200, 6\) may be 3 sweeps or one; save each"):
        read_sweep(path)
    np.save(path, sweep_of(20_001)[None])
    assert len(read_sweep(path).points) == 20_001


def test_an_intensity_of_another_length_is_refused(tmp_path: Path) -> None:
    points, path = sweep_of(100), tmp_path / "a.npz"
    np.savez(path, x=points[:, 0], y=points[:, 1], z=points[:, 2], intensity=points[1:, 3])
    with pytest.raises(ScanError, match="99 intensities for 100 points"):
        read_sweep(path)
