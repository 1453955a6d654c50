"""A folder job: which sweeps, where results go, and which are done already."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import CALIBRATION, STREETS, street, write_archive

from bev_instseg.export import Picture, read_instances
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.jobs.find_items import Item, find_items
from bev_instseg.jobs.job import Job, settings_fingerprint
from bev_instseg.jobs.one_sweep import segment_item
from bev_instseg.segmenter import Segmenter


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "archive")


@pytest.fixture
def segmenter(weights: str) -> Segmenter:
    return Segmenter.from_checkpoint(weights, "cpu")


def job_of(segmenter: Segmenter, out: Path, **changes: object) -> Job:
    job = Job(out, settings_fingerprint(segmenter, SensorSetup()), SensorSetup())
    return dataclasses.replace(job, **changes)  # type: ignore[arg-type]


def test_done_means_complete_and_made_with_the_same_settings(
    segmenter: Segmenter, archive: Path, tmp_path: Path
) -> None:
    item = Item(archive / "a.bin", "monday/a")
    job = job_of(segmenter, tmp_path / "out", formats=("ply",), pictures=(Picture.BEV,))
    assert not job.is_done(item)
    outcome = segment_item(segmenter, job, None, item)
    assert outcome.error == ""
    assert job.is_done(item)
    assert not dataclasses.replace(job, settings="other").is_done(item)
    assert not dataclasses.replace(job, formats=("ply", "pcd")).is_done(item)
    assert not dataclasses.replace(job, pictures=(Picture.BEV, Picture.MAPS)).is_done(item)
    in_3d = (Picture.BEV, Picture.PERSPECTIVE)  # which not every machine can draw
    assert dataclasses.replace(job, pictures=in_3d).is_done(item)
    for path in job.paths(item):
        kept = path.read_bytes()
        path.unlink()
        assert not job.is_done(item)
        path.write_bytes(kept)
    label = tmp_path / "out" / "monday" / "a.label"
    label.write_bytes(label.read_bytes()[:-4])
    assert not job.is_done(item)
    (tmp_path / "out" / "monday" / "a.json").write_text("[]")
    assert not job.is_done(item)


def test_a_changed_sweep_or_calibration_is_not_done(
    segmenter: Segmenter, archive: Path, tmp_path: Path
) -> None:
    calibration = tmp_path / "calib.txt"
    calibration.write_text(CALIBRATION)
    item = Item(archive / "a.bin", "a")
    job = job_of(segmenter, tmp_path / "out", calibration=calibration)
    assert segment_item(segmenter, job, None, item).error == ""
    assert job.is_done(item)
    calibration.write_text(CALIBRATION.replace("700", "710"))
    assert not job.is_done(item)
    calibration.write_text(CALIBRATION)
    assert job.is_done(item)
    assert not job.is_done(Item(archive / "monday" / "night" / "b.npy", "a"))
    os.utime(item.path, (2e9, 2e9))  # modified since
    assert not job.is_done(item)
    os.utime(item.path, (1e9, 1e9))
    assert job.is_done(item)
    other = tmp_path / "other.bin"
    other.write_bytes(item.path.read_bytes()[::-1])
    os.utime(other, (1e9, 1e9))
    other.rename(item.path)  # as old, as large and of the same name
    assert not job.is_done(item)


def test_settings_cover_everything_that_affects_the_instances(segmenter: Segmenter) -> None:
    before = settings_fingerprint(segmenter, SensorSetup())
    assert before == settings_fingerprint(segmenter, SensorSetup())
    assert before != settings_fingerprint(segmenter, SensorSetup(axes="rfu"))
    assert before != settings_fingerprint(segmenter.with_tta(2), SensorSetup())
    config = segmenter.config
    cluster = dataclasses.replace(config.cluster, score_threshold=0.123)
    other = segmenter.with_config(dataclasses.replace(config, cluster=cluster))
    assert before != settings_fingerprint(other, SensorSetup())
    train = dataclasses.replace(config.train, steps=1)
    other = segmenter.with_config(dataclasses.replace(config, train=train))
    assert before == settings_fingerprint(other, SensorSetup())


def test_every_format_gives_the_same_labels(
    segmenter: Segmenter, archive: Path, tmp_path: Path
) -> None:
    items = find_items([archive], tmp_path / "out").items
    job = job_of(segmenter, tmp_path / "out")
    outcomes = [segment_item(segmenter, job, None, item) for item in items]
    assert [outcome.error for outcome in outcomes] == [""] * len(items)
    labels = {(job.out / f"{item.name}.label").read_bytes() for item in items}
    assert len(labels) == 1
    assert np.frombuffer(labels.pop(), np.uint32).any()
    (notice,) = outcomes[-1].notices
    assert "nuScenes" in notice
    tree = json.loads((job.out / "tuesday" / "c.json").read_text())
    assert tree["notices"] == [notice]
    assert tree["sweep"] == "c.pcd.bin"


def test_the_same_sweep_gives_the_same_bytes(
    segmenter: Segmenter, archive: Path, tmp_path: Path
) -> None:
    item = Item(archive / "a.bin", "a")
    everything = {"formats": ("ply", "pcd"), "pictures": (Picture.BEV, Picture.MAPS)}
    files = []
    for folder in ("one", "two"):
        job = job_of(segmenter, tmp_path / folder, **everything)
        segment_item(segmenter, job, None, item)
        files.append({path.name: path.read_bytes() for path in sorted(job.out.iterdir())})
    assert files[0] == files[1]
    assert set(files[0]) == {"a.label", "a.json", "a.ply", "a.pcd", "a.png", "a_maps.png"}


def test_a_calibration_gives_boxes_in_the_camera_image(
    segmenter: Segmenter, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "a.txt").write_text(CALIBRATION)
    item = Item(archive / "a.bin", "monday/a")
    texts = []
    for calibration in (tmp_path / "calib", tmp_path / "calib" / "a.txt"):
        job = job_of(segmenter, tmp_path / "out", calibration=calibration)
        assert segment_item(segmenter, job, None, item).error == ""
        texts.append((job.out / "monday" / "a.txt").read_text())
    assert texts[0] == texts[1]
    assert all(len(line.split()) == 16 for line in texts[0].splitlines())
    assert texts[0]
    rdf = street(STREETS["a"])[0][:, [1, 2, 0, 3]] * np.float32([-1, -1, 1, 1])
    rdf.tofile(tmp_path / "a.bin")
    (tmp_path / "rdf.txt").write_text(
        CALIBRATION.replace("0 -1 0 0 0 0 -1 0 1 0 0 0", "1 0 0 0 0 1 0 0 0 0 1 0")
    )
    changes = {
        "calibration": tmp_path / "rdf.txt",
        "setup": SensorSetup(axes="rdf", height_m=3.0),
    }
    job = job_of(segmenter, tmp_path / "turned", **changes)
    assert segment_item(segmenter, job, None, Item(tmp_path / "a.bin", "a")).error == ""
    lines = (job.out / "a.txt").read_text().splitlines()
    for line, expected in zip(lines, texts[0].splitlines(), strict=True):
        numbers = [[float(word) for word in text.split()[1:]] for text in (line, expected)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.02)
    missing = segment_item(segmenter, job_of(segmenter, tmp_path, calibration=tmp_path), None, item)
    assert "a.txt: cannot be read" in missing.error


def test_another_image_size_makes_the_boxes_anew(
    segmenter: Segmenter, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    item = Item(archive / "a.bin", "a")
    job = job_of(segmenter, tmp_path / "out", calibration=tmp_path / "calib.txt")
    assert segment_item(segmenter, job, None, item).error == ""
    assert job.is_done(item)
    small = dataclasses.replace(job, image_size_px=(620, 190))
    assert not small.is_done(item)
    before = (tmp_path / "out" / "a.txt").read_text()
    assert segment_item(segmenter, small, None, item).error == ""
    assert (tmp_path / "out" / "a.txt").read_text() != before


def test_a_failure_is_reported_and_leaves_no_files(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "bad.bin").write_bytes(b"cut short")
    item = Item(tmp_path / "bad.bin", "bad")
    job = job_of(segmenter, tmp_path / "out")
    outcome = segment_item(segmenter, job, None, item)
    assert outcome.error.startswith(f"{item.path}: ")
    assert outcome.timing_ms == {}
    assert not job.out.exists()
    assert not job.is_done(item)


def test_outdated_pictures_are_removed(segmenter: Segmenter, archive: Path, tmp_path: Path) -> None:
    item = Item(archive / "a.bin", "a")
    pictures = (Picture.BEV, Picture.MAPS)
    segment_item(segmenter, job_of(segmenter, tmp_path, pictures=pictures), None, item)
    assert {path.name for path in tmp_path.glob("*.png")} == {"a.png", "a_maps.png"}
    segment_item(segmenter, job_of(segmenter, tmp_path, formats=("ply",)), None, item)
    assert {path.name for path in tmp_path.glob("*.png")} == {"a.png", "a_maps.png"}
    segment_item(segmenter, job_of(segmenter, tmp_path, settings="other"), None, item)
    assert not list(tmp_path.glob("*.png"))
    assert not (tmp_path / "a.ply").exists()
    instances = read_instances(tmp_path / "a.label", tmp_path / "a.json")
    found = segmenter.segment(street(STREETS["a"])[0])
    assert np.array_equal(instances.labels, found.labels)
    assert os.listdir(tmp_path / "archive")
