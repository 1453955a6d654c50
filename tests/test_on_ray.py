"""A folder job on a Ray cluster: the same files, lost workers, stopped jobs."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import STREETS, street

from bev_instseg.export import Picture
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.jobs import on_ray
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.jobs.job import Job, settings_fingerprint
from bev_instseg.jobs.on_ray import segment_on_ray
from bev_instseg.jobs.one_sweep import segment_item
from bev_instseg.jobs.outcome import Outcome
from bev_instseg.segmenter import Segmenter

COUNT = 24
KILLS_ONCE, KILLS = 4009, 4022  # numbers of points of the sweeps that can kill their workers
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from Ray itself


@pytest.fixture(scope="module", autouse=True)
def _alone():
    """Keep Ray from joining a cluster of the user and from writing a token to the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def address():
    """Start a cluster of one machine with two cores and yield its address."""
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster

    machine = {
        "num_cpus": 2,
        "object_store_memory": on_ray.OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Write sweeps of 4000, 4001, ... points to two folders."""
    paths = [tmp_path / "in" / str(i // 12) / f"{i:03}.bin" for i in range(COUNT)]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        street(STREETS["abc"[i % 3]], i)[0][: 4000 + i].tofile(path)
    return [Item(path, f"{path.parent.name}/{path.stem}") for path in paths]


@pytest.fixture
def job(tmp_path: Path, weights: str) -> Job:
    segmenter = Segmenter.from_checkpoint(weights, "cpu")
    settings = settings_fingerprint(segmenter, SensorSetup())
    return Job(tmp_path / "out", settings, SensorSetup(), formats=("ply",))


def maker(weights: str, kills: Path | None = None, sleep_s: float = 0.0) -> Callable[[], Segmenter]:
    """Return a factory for workers; those that it kills leave a file in the folder ``kills``."""
    once, always = KILLS_ONCE, KILLS  # a worker cannot import this module

    def new_segmenter() -> Segmenter:
        segmenter = Segmenter.from_checkpoint(weights, "cpu")
        segment = segmenter.segment_with_maps

        def segment_slowly(points):
            time.sleep(sleep_s)
            first = kills and len(points) == once and not (kills / "once").exists()
            if kills and (first or len(points) == always):
                (kills / ("once" if first else str(os.getpid()))).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return segment(points)

        segmenter.segment_with_maps = segment_slowly
        return segmenter

    return new_segmenter


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run_here(weights: str, job: Job, items: list[Item]) -> tuple[list[Outcome], dict[str, bytes]]:
    """Run the job in this process and return its outcomes and files."""
    job = replace(job, out=job.out.with_name("here"))
    segmenter = Segmenter.from_checkpoint(weights, "cpu")
    work = partial(segment_item, segmenter, job, None)
    steps = run_in_threads(items, len(items), work, segmenter.engine)
    return [outcome.result() for _, outcome in steps], files(job.out)


def test_files_are_identical_to_those_of_one_process(
    address, weights, job, items, tmp_path, monkeypatch, capfd
):
    np.zeros(5, np.uint8).tofile(items[4].path)
    job = replace(job, pictures=(Picture.BEV,))
    outcomes, expected = run_here(weights, job, items)
    monkeypatch.chdir(tmp_path)  # relative paths must work although workers run elsewhere
    near = [replace(item, path=item.path.relative_to(tmp_path)) for item in items]
    found = list(segment_on_ray(maker(weights), replace(job, out=Path("out")), near, address))
    assert files(job.out) == expected
    assert len(expected) == 4 * (COUNT - 1)
    assert sorted(o.item.name for o in found) == [item.name for item in items]
    for outcome in found:
        here = outcomes[near.index(outcome.item)]
        assert (outcome.notices, bool(outcome.error)) == (here.notices, bool(here.error))
        assert outcome.error or outcome.timing_ms.keys() == here.timing_ms.keys()
    [failed] = [outcome.error for outcome in found if outcome.error]
    assert failed == outcomes[4].error
    assert capfd.readouterr() == ("", "")  # Ray prints nothing


def test_sweeps_of_a_lost_worker_go_to_others(weights, job, items, tmp_path, monkeypatch):
    pytest.importorskip("ray.data")
    monkeypatch.setattr(on_ray, "MAX_TRIES", 2)
    monkeypatch.setattr(on_ray, "SWEEPS_PER_BLOCK", 4)
    _, expected = run_here(weights, job, items)
    found = list(segment_on_ray(maker(weights, kills=tmp_path), job, items))  # Ray on this machine
    assert sorted(o.item.name for o in found) == [item.name for item in items]
    assert (tmp_path / "once").exists()
    assert sum(path.name.isdecimal() for path in tmp_path.iterdir()) == on_ray.MAX_TRIES
    # The sweep that kills every worker is given up together with its block.
    given_up = [outcome for outcome in found if outcome.error]
    assert {o.item for o in given_up} == set(items[20:])
    for outcome in given_up:
        assert outcome.error.startswith(f"{outcome.item.path}: the worker crashed on every")
    left = {name: data for name, data in expected.items() if int(name[2:5]) < 20}
    assert {n: data for n, data in files(job.out).items() if int(n[2:5]) < 20} == left


def test_a_stopped_job_leaves_complete_results_and_continues(
    address, weights, job, items, monkeypatch
):
    monkeypatch.setattr(on_ray, "SWEEPS_PER_BLOCK", 2)
    _, expected = run_here(weights, job, items)
    found = segment_on_ray(maker(weights, sleep_s=0.3), job, items, address)
    done = [next(found) for _ in range(3)]
    time.sleep(0.3)
    stopped = time.perf_counter()
    found.close()  # as Ctrl-C does
    assert time.perf_counter() - stopped < 5
    time.sleep(0.5)
    left = {name: data for name, data in files(job.out).items() if not name.endswith(".tmp")}
    complete = {name: data for name, data in left.items() if b'"unfinished": true' not in data}
    assert complete.items() <= expected.items()
    rest = [item for item in items if not job.is_done(item)]
    assert 5 < len(rest) <= COUNT - len(done)
    time.sleep(0.5)
    assert rest == [item for item in items if not job.is_done(item)]  # no worker is still running
    again = list(segment_on_ray(maker(weights), job, rest, address))
    assert sorted(o.item.name for o in again) == [item.name for item in rest]
    left = {name: data for name, data in files(job.out).items() if not name.endswith(".tmp")}
    assert left == expected


def test_a_worker_that_cannot_do_the_job_is_reported(address, weights, job, items):
    def other() -> Segmenter:
        segmenter = Segmenter.from_checkpoint(weights, "cpu")
        cluster = replace(segmenter.config.cluster, min_free=0.75)
        return segmenter.with_config(replace(segmenter.config, cluster=cluster))

    for new_segmenter, why in (
        (maker(f"{weights}.gone"), "tiny.safetensors.gone"),
        (other, "its weights or thresholds differ from those of the job"),
    ):
        with pytest.raises(ValueError, match=f"^Ray: worker on .*: .*{why}") as raised:
            list(segment_on_ray(new_segmenter, job, items, address))
        assert "\n" not in str(raised.value)
    assert files(job.out) == {}


def test_a_missing_gpu_is_reported_at_once(address, weights, job, items):
    with pytest.raises(ValueError, match="the cluster has no GPU"):
        list(segment_on_ray(maker(weights), job, items, address, device="cuda"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "Connection refused"),
        ("here", "an address is HOST:PORT or auto"),
        ("ray://127.0.0.1:9", "."),
    ],
)
def test_a_missing_cluster_is_reported_at_once(address, reason, weights, job, items):
    pytest.importorskip("ray.data")
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=f"^Ray at '{address}': .*{reason}") as raised:
        list(segment_on_ray(maker(weights), job, items, address))
    assert time.perf_counter() - start < 20
    assert "\n" not in str(raised.value)


def test_a_missing_ray_is_reported(weights, job, items, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ImportError, match=r"^--ray needs Ray: pip install 'bev-instseg\[ray\]'$"):
        list(segment_on_ray(maker(weights), job, items))
    assert list(segment_on_ray(maker(weights), job, [])) == []
