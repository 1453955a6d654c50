"""A job reads the sweeps of a folder alike, and its results tell how."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CALIBRATION
from sweeps import street

from bev_instseg.datasets.kitti_files import read_calibration
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.survey import survey_sweeps
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.job import Job, settings_fingerprint
from bev_instseg.jobs.one_sweep import _sensor_to_camera, segment_item
from bev_instseg.segmenter import Segmenter

TILT = sensor_rotation("flu", (12.0, -3.0))


@pytest.fixture
def segmenter(weights: str) -> Segmenter:
    return Segmenter.from_checkpoint(weights, "cpu")


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Three sweeps of 8-bit intensities; the second is so dark that it could be of 0..1."""
    folder = tmp_path / "drive"
    folder.mkdir()
    found = []
    for name, full in (("a", 255), ("b", 1), ("c", 255)):
        points = street(intensity_max=full)
        points[:, :3] = points[:, :3] @ TILT
        points.tofile(folder / f"{name}.bin")
        found.append(Item(folder / f"{name}.bin", name))
    return found


def job_of(segmenter: Segmenter, items: list[Item], out: Path) -> Job:
    setup = SensorSetup()
    survey = survey_sweeps([item.path for item in items], setup)
    return Job(out, settings_fingerprint(segmenter, setup), setup, survey=survey)


def test_all_sweeps_are_read_alike(segmenter: Segmenter, items: list[Item], tmp_path: Path) -> None:
    job = job_of(segmenter, items, tmp_path / "out")
    assert [segment_item(segmenter, job, None, item).error for item in items] == ["", "", ""]
    results = [json.loads(job.json_path(item).read_bytes()) for item in items]
    dark = "intensities of 0..1, but read as 0..255; --intensity sets the scale"
    results[1]["notices"].remove(dark)
    assert len({json.dumps([r["level_deg"], r["notices"], r["settings"]]) for r in results}) == 1
    np.testing.assert_allclose(results[0]["level_deg"], (12.0, -3.0), atol=1.5)
    assert results[0]["notices"][0] == "intensity 0..255: divided by 255"
    assert results[0]["notices"][1].startswith("levelled by 12")


def test_results_are_outdated_if_the_folder_is_understood_differently(
    segmenter: Segmenter, items: list[Item], tmp_path: Path
) -> None:
    job = job_of(segmenter, items, tmp_path / "out")
    dark = items[1]
    assert segment_item(segmenter, job, None, dark).error == ""
    assert job.is_done(dark)
    assert job_of(segmenter, items[::-1], job.out).is_done(dark)
    alone = job_of(segmenter, [dark], job.out)
    assert alone.settings_of(dark) == alone.settings == job.settings
    assert not alone.is_done(dark)


def test_another_folder_does_not_outdate_results(
    segmenter: Segmenter, items: list[Item], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    more = [Item(other / f"{i}.bin", f"other/{i}") for i in range(2)]
    for item in more:
        street(1).tofile(item.path)
    job = job_of(segmenter, items, tmp_path / "out")
    assert job_of(segmenter, [*items, *more], job.out).settings_of(items[0]) == job.settings_of(
        items[0]
    )


def test_a_levelled_sweep_keeps_its_place_in_the_image(
    segmenter: Segmenter, items: list[Item], tmp_path: Path
) -> None:
    path = tmp_path / "calib.txt"
    path.write_text(CALIBRATION)
    job = replace(job_of(segmenter, items, tmp_path / "out"), calibration=path)
    sweep = job.read(items[0])
    assert any(sweep.level_deg)
    levelled = _sensor_to_camera(job, items[0], sweep)
    assert levelled is not None
    np.testing.assert_allclose(
        levelled.to_camera(sweep.points[:, :3]),
        read_calibration(path).to_camera(sweep.xyz),
        atol=1e-4,
    )
