"""The sweeps of a job: searching folders, links, and names that no two results share."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ARCHIVE, write_archive

from bev_instseg.exceptions import ScanError
from bev_instseg.export.mark import MARK
from bev_instseg.jobs import find_items as find_items_module
from bev_instseg.jobs.find_items import find_items


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "archive")


def names(*inputs: Path, out: Path = Path("out")) -> list[str]:
    return [item.name for item in find_items(inputs, out).items]


def test_folders_are_searched_to_any_depth_and_results_mirror_them(archive: Path) -> None:
    found = find_items([archive], Path("out"))
    assert [item.path for item in found.items] == [archive / name for name in ARCHIVE]
    assert [item.name for item in found.items] == ["a", "monday/a", "monday/night/b", "tuesday/c"]
    assert (found.notices, found.errors) == ((), ())


def test_results_inside_the_folder_are_not_sweeps(archive: Path) -> None:
    (archive / "out" / "monday").mkdir(parents=True)
    (archive / "out" / "monday" / "a.ply").write_text(f"ply\ncomment {MARK}\n")
    for out in ("out", "elsewhere", "."):
        assert len(names(archive, out=archive / out)) == len(ARCHIVE)
    (archive / "monday" / "foreign.ply").write_bytes(b"ply")
    assert len(names(archive)) == len(ARCHIVE) + 1


def test_links_are_followed(archive: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "all").symlink_to(archive)
    (archive / "monday" / "up").symlink_to(archive)
    (archive / "0.bin").symlink_to(archive / "a.bin")
    assert names(linked) == ["all/a", "all/monday/a", "all/monday/night/b", "all/tuesday/c"]
    (note,) = find_items([linked], tmp_path / "out").notices
    assert note.startswith("links to sweeps that are also found directly are left out: 1, first ")
    assert note.endswith("0.bin")
    with pytest.raises(
        ScanError, match=r"a link would put its results in .*archive, outside the output"
    ):
        names(linked, out=linked)


def test_links_that_lead_nowhere_are_sweeps_that_cannot_be_read(archive: Path) -> None:
    (archive / "loop.bin").symlink_to(archive / "loop.bin")
    (archive / "loop").symlink_to(archive / "loop")
    (archive / "gone.bin").symlink_to(archive / "absent.bin")
    assert {"loop", "gone"} < set(names(archive))
    assert names(archive / "loop.bin") == ["loop"]


def test_a_file_is_named_by_its_stem_and_processed_once(archive: Path) -> None:
    inputs = [archive / "tuesday" / "c.pcd.bin", archive / "tuesday", archive / "a.bin"]
    assert names(*inputs) == ["c", "a"]


def test_inputs_that_cannot_be_used_are_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ScanError, match=r"monday/a\.bin: .* same name as those of .*archive/a\.bin"
    ):
        names(archive / "a.bin", archive / "monday")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.ply").touch()
    with pytest.raises(ScanError, match=r"a\.ply: is inside the output folder; choose another"):
        names(tmp_path / "out" / "a.ply", out=tmp_path / "out")
    with pytest.raises(ScanError, match=r"b\.bin: no such sweep or folder; check the path"):
        names(archive / "a.bin", tmp_path / "b.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match=r"empty: no sweeps in this folder; expected \.bin, "):
        names(tmp_path / "empty")


def test_an_unreadable_folder_is_reported_and_the_others_searched(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "monday":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_items([archive], Path("out"))
    assert [item.name for item in found.items] == ["a", "tuesday/c"]
    [error] = found.errors
    assert error.startswith(f"{archive / 'monday'}: cannot be searched (Permission denied); ")
    with pytest.raises(ScanError, match="monday: cannot be searched"):
        find_items([archive / "monday"], Path("out"))


def test_a_tree_deeper_than_python_recurses_is_searched(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1200):
        folder = folder / "d"
        folder.mkdir()
    (folder / "a.bin").touch()
    try:
        assert names(tmp_path) == [f"{'d/' * 1200}a"]
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest cannot


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.bin", "a.npy", "b.bin"], ["a.bin", "a.npy", "b"]),
        (["a.bin", "a.pcd.bin"], ["a.bin", "a.pcd.bin"]),
        (["a.bin", "a.bin.npy", "a.npy"], ["a.bin", "a.bin.npy", "a.npy"]),
        (["x.bin", "x_3d.bin", "y.bin"], ["x.bin", "x_3d.bin", "y"]),
        (["x.bin", "x_maps.ply", "x_map.bin"], ["x.bin", "x_map", "x_maps.ply"]),
        (["x.bin", "x_3d.bin", "x_3d_3d.bin"], ["x.bin", "x_3d.bin", "x_3d_3d.bin"]),
        (["d/a.bin", "d/a.npy", "a.bin"], ["a", "d/a.bin", "d/a.npy"]),
    ],
)
def test_results_of_the_same_name_keep_the_suffix(
    tmp_path: Path, files: list[str], expected: list[str]
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    found = find_items([tmp_path], Path("out"))
    assert [item.name for item in found.items] == expected
    [notice] = found.notices
    renamed = [item for item in found.items if item.name.endswith((".bin", ".npy", ".ply"))]
    assert notice.startswith(f"{len(renamed)} sweeps would share the names of results, so they")
    assert notice.endswith(f"{renamed[0].path} gives {renamed[0].name}.label")
    assert found.items == find_items([tmp_path], Path("out")).items


def test_names_that_differ_in_case_collide_where_the_file_system_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("a.bin", "A.npy", "b.bin"):
        (tmp_path / file).touch()
    if not (tmp_path / "B.BIN").exists():
        assert names(tmp_path, out=tmp_path / "none" / "out") == ["A", "a", "b"]
    monkeypatch.setattr(find_items_module, "_ignores_case", lambda folder: True)
    assert names(tmp_path) == ["A.npy", "a.bin", "b"]


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    np.zeros((1, 4), np.float32).tofile(tmp_path / "a\n'\".bin")
    with open(folder + b"/caf\xe9.bin", "wb"):
        pass
    assert sorted(names(tmp_path)) == ["a\n'\"", "caf\udce9"]
