"""Point files read back by Open3D and laspy, every field of every point."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_export import PROVENANCE, cloud, instances

from bev_instseg.config import CLASSES
from bev_instseg.export import Cloud, ResultFiles, write_result
from bev_instseg.structures import Instances

CODES = np.array([0, 0, 31, 31, 10, 10])  # for the six points of `instances`
SCORES = np.float32([0, 0, 0.987654, 0.987654, 0.5, 0.5])
LABELS = np.array([0, 0, 1, 1, 2, 2])


def written(out: Path, suffix: str, points: Cloud, found: Instances) -> str:
    write_result(out / "a", points, found, CLASSES, files=ResultFiles((suffix,)))
    return str(out / f"a.{suffix}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["ply", "pcd"])
def test_open3d_reads_every_field(tmp_path: Path, suffix: str, dtype: type) -> None:
    import open3d as o3d

    points = cloud(6, dtype)
    points.xyz[1] = np.inf
    read = o3d.t.io.read_point_cloud(written(tmp_path, suffix, points, instances())).point
    columns = {name: read[name].numpy() for name in read}
    assert columns.keys() == {"positions", "colors", "intensity", "instance", "class", "score"}
    assert columns["positions"].dtype == dtype
    np.testing.assert_array_equal(columns["positions"], points.xyz)  # NaN equals NaN here
    for name, expected, kind in (
        ("intensity", points.intensity, np.float32),
        ("instance", LABELS, np.int32),
        ("class", CODES, np.int32),
        ("score", SCORES, np.float32),
    ):
        assert columns[name].dtype == kind
        np.testing.assert_array_equal(columns[name][:, 0], expected, err_msg=name)

    colours = columns["colors"]
    assert colours.dtype == np.uint8
    assert (colours[:2] == np.rint(100 + 100 * points.intensity[:2])[:, None]).all()
    assert (colours[2] == colours[3]).all()
    assert (colours[4] == colours[5]).all()
    assert np.abs(colours[2].astype(int) - colours[4]).max() > 50
    assert (np.ptp(colours[2:].astype(int), axis=1) > 50).all(), "only the background is grey"


def test_open3d_shows_the_colours(tmp_path: Path) -> None:
    import open3d as o3d

    shown = [
        np.asarray(o3d.io.read_point_cloud(written(tmp_path, s, cloud(), instances())).colors)
        for s in ("ply", "pcd")
    ]
    assert shown[0].shape == (6, 3)  # including the NaN point
    np.testing.assert_array_equal(shown[0], shown[1])


@pytest.mark.parametrize("suffix", ["ply", "pcd"])
def test_the_header_matches_the_bytes(tmp_path: Path, suffix: str) -> None:
    """x, y, z, intensity, instance, class, score: 7 x 4 bytes; 3 of colour, padded to 4 in PCD."""
    for n in (0, 2):
        found = Instances(
            np.zeros(n, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros((0, 7), np.float32),
            tuple(c.name for c in CLASSES),
        )
        data = Path(written(tmp_path, suffix, cloud(n), found)).read_bytes()
        end = b"end_header\n" if suffix == "ply" else b"DATA binary\n"
        header, body = data.split(end, 1)
        count = f"element vertex {n}" if suffix == "ply" else f"WIDTH {n}\nHEIGHT 1"
        assert count in header.decode()
        assert len(body) == n * (31 if suffix == "ply" else 32)


def test_a_ply_without_points_is_readable(tmp_path: Path) -> None:
    import open3d as o3d

    found = instances(0)
    empty = Instances(found.labels[:0], found.classes, found.scores, found.boxes, found.class_names)
    read = o3d.t.io.read_point_cloud(written(tmp_path, "ply", cloud(0), empty))
    assert read.point["class"].numpy().shape == (0, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_laspy_reads_every_field(tmp_path: Path, dtype: type) -> None:
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    points = cloud(6, dtype)  # the first is NaN
    shift = np.array([4e5, 5e6, 300]) if dtype is np.float64 else np.zeros(3)  # map coordinates
    points.xyz[:] += shift.astype(dtype)
    points.xyz[3, 2] = 3e38  # too far from the others for LAS
    kept = np.array([1, 2, 4, 5])
    read = laspy.read(written(tmp_path, "laz", points, instances()))
    assert (read.header.version, read.header.are_points_compressed) == ("1.4", True)
    np.testing.assert_array_equal(read["index"], kept)
    np.testing.assert_allclose(read.xyz, points.xyz[kept], rtol=0, atol=5.1e-5)
    assert np.abs(read.xyz - points.xyz[kept]).max() > 1e-7, "round coordinates would prove nothing"
    np.testing.assert_allclose(read["intensity"] / 65535, points.intensity[kept], atol=1e-5)
    np.testing.assert_array_equal(read["instance"], LABELS[kept])
    np.testing.assert_array_equal(read["class"], CODES[kept])
    np.testing.assert_array_equal(read["score"], SCORES[kept])
    assert read["score"].dtype == np.float32
    assert not read["classification"].any()
    assert (read["return_number"] == 1).all()
    rgb = np.column_stack([read[colour] for colour in ("red", "green", "blue")])
    assert (rgb[2] == rgb[3]).all()
    assert (rgb % 257 == 0).all()
    assert rgb.max() > 40000  # 16 bits per colour
    np.testing.assert_allclose(read.header.mins, points.xyz[kept].min(axis=0), atol=6e-5)


def test_a_laz_of_nan_points_is_empty(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    points = Cloud(np.full((2, 3), np.nan, np.float32), np.zeros(2, np.float32))
    read = laspy.read(written(tmp_path, "laz", points, instances(0)))
    assert len(read.points) == 0


def test_missing_laspy_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "laspy", None)
    with pytest.raises(ImportError, match=r"needs laspy and lazrs: .*'bev-instseg\[las\]'"):
        written(tmp_path / "out", "laz", cloud(), instances())
    assert not (tmp_path / "out").exists()


def test_only_our_own_laz_is_removed(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    path = Path(written(tmp_path, "laz", cloud(), instances()))
    write_result(tmp_path / "a", cloud(), instances(), CLASSES, PROVENANCE)
    assert not path.exists()
    laspy.LasData(laspy.LasHeader(version="1.4", point_format=7)).write(str(path))
    write_result(tmp_path / "a", cloud(), instances(), CLASSES)
    assert path.exists()
    with pytest.raises(ValueError, match="already exists"):
        written(tmp_path, "laz", cloud(), instances())
