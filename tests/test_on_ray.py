"""A folder job on a Ray cluster: the same files, workers that die, a job that is stopped."""

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
import torch
from conftest import STREETS, street

from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.jobs import on_ray
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.jobs.job import Item, Job, Outcome, fingerprint, segment_item
from bev_instseg.jobs.on_ray import segment_on_ray
from bev_instseg.segmenter import Segmenter

COUNT = 24
KILLS_ONCE, KILLS = 4009, 4022  # points of the sweeps that kill their workers, if they are to
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's, about itself


@pytest.fixture(scope="module", autouse=True)
def _alone():
    """Ray neither joins a cluster of this machine's owner nor writes a token to the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def address():
    """Of a cluster of one machine with two cores."""
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 2, "object_store_memory": on_ray.STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Sweeps of 4000, 4001 ... points, in two folders."""
    paths = [tmp_path / "in" / str(i // 12) / f"{i:03}.bin" for i in range(COUNT)]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        street(STREETS["abc"[i % 3]], i)[0][: 4000 + i].tofile(path)
    return [Item(path, f"{path.parent.name}/{path.stem}") for path in paths]


@pytest.fixture
def job(tmp_path: Path, weights: str) -> Job:
    segmenter = Segmenter.from_checkpoint(weights, "cpu")
    return Job(
        tmp_path / "out", fingerprint(segmenter, SensorSetup()), SensorSetup(), formats=("ply",)
    )


def maker(weights: str, kills: Path | None = None, sleep_s: float = 0.0) -> Callable[[], Segmenter]:
    """A factory that can be sent to workers; these note their deaths in the folder ``kills``."""
    once, always = KILLS_ONCE, KILLS  # a worker cannot import this module

    def new_segmenter() -> Segmenter:
        segmenter = Segmenter.from_checkpoint(weights, "cpu")
        segment = segmenter.segment

        def segment_slowly(points):
            time.sleep(sleep_s)
            first = kills and len(points) == once and not (kills / "once").exists()
            if kills and (first or len(points) == always):
                (kills / ("once" if first else str(os.getpid()))).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return segment(points)

        segmenter.segment = segment_slowly
        return segmenter

    return new_segmenter


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run_here(weights: str, job: Job, items: list[Item]) -> tuple[list[Outcome], dict[str, bytes]]:
    """The outcomes and files of one process."""
    job = replace(job, out=job.out.with_name("here"))
    work = partial(segment_item, Segmenter.from_checkpoint(weights, "cpu"), job, None)
    steps = run_in_threads(items, len(items), work, torch.device("cpu"))
    return [outcome.result() for _, outcome in steps], files(job.out)


def test_the_files_are_those_of_one_process(
    address, weights, job, items, tmp_path, monkeypatch, capfd
):
    np.zeros(5, np.uint8).tofile(items[4].path)
    job = replace(job, pictures=("png",))
    outcomes, expected = run_here(weights, job, items)
    monkeypatch.chdir(tmp_path)  # what is named from here is found by workers that are elsewhere
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
    assert capfd.readouterr() == ("", "")  # nothing of Ray's


def test_what_a_lost_worker_had_is_done_by_others(weights, job, items, tmp_path, monkeypatch):
    pytest.importorskip("ray.data")
    monkeypatch.setattr(on_ray, "TRIES", 2)
    monkeypatch.setattr(on_ray, "AT_A_TIME", 4)
    _, expected = run_here(weights, job, items)
    found = list(segment_on_ray(maker(weights, kills=tmp_path), job, items))  # a Ray of its own
    assert sorted(o.item.name for o in found) == [item.name for item in items]
    assert (tmp_path / "once").exists()
    assert sum(path.name.isdecimal() for path in tmp_path.iterdir()) == on_ray.TRIES
    # The sweep that kills each worker is given up, and with it those that it was tried with.
    given_up = [outcome for outcome in found if outcome.error]
    assert {o.item for o in given_up} == set(items[20:])
    for outcome in given_up:
        assert outcome.error.startswith(f"{outcome.item.path}: its worker died each time")
    left = {name: data for name, data in expected.items() if int(name[2:5]) < 20}
    assert {n: data for n, data in files(job.out).items() if int(n[2:5]) < 20} == left


def test_a_stopped_job_leaves_whole_results_and_goes_on(address, weights, job, items, monkeypatch):
    monkeypatch.setattr(on_ray, "AT_A_TIME", 2)
    _, expected = run_here(weights, job, items)
    found = segment_on_ray(maker(weights, sleep_s=0.3), job, items, address)
    done = [next(found) for _ in range(3)]
    time.sleep(0.3)
    stopped = time.perf_counter()
    found.close()  # as Ctrl-C does
    assert time.perf_counter() - stopped < 5
    time.sleep(0.5)
    left = {name: data for name, data in files(job.out).items() if not name.endswith(".tmp")}
    whole = {name: data for name, data in left.items() if b'"unfinished": true' not in data}
    assert whole.items() <= expected.items()
    rest = [item for item in items if not job.is_done(item)]
    assert 5 < len(rest) <= COUNT - len(done)
    time.sleep(0.5)
    assert rest == [item for item in items if not job.is_done(item)]  # nobody works on
    again = list(segment_on_ray(maker(weights), job, rest, address))
    assert sorted(o.item.name for o in again) == [item.name for item in rest]
    left = {name: data for name, data in files(job.out).items() if not name.endswith(".tmp")}
    assert left == expected


def test_a_worker_that_cannot_do_the_job_ends_it(address, weights, job, items):
    def other() -> Segmenter:
        segmenter = Segmenter.from_checkpoint(weights, "cpu")
        cluster = replace(segmenter.config.cluster, min_free=0.75)
        return segmenter.with_config(replace(segmenter.config, cluster=cluster))

    for new_segmenter, why in (
        (maker(f"{weights}.gone"), "tiny.safetensors.gone"),
        (other, "its weights or thresholds are not those that are used here"),
    ):
        with pytest.raises(ValueError, match=f"^Ray: worker on .*: .*{why}") as raised:
            list(segment_on_ray(new_segmenter, job, items, address))
        assert "\n" not in str(raised.value)
    assert files(job.out) == {}


def test_a_gpu_that_is_not_there_is_not_waited_for(address, weights, job, items):
    with pytest.raises(ValueError, match="no GPU in the cluster"):
        list(segment_on_ray(maker(weights), job, items, address, device="cuda"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "Connection refused"),
        ("here", "an address is HOST:PORT or auto"),
        ("ray://127.0.0.1:9", "."),
    ],
)
def test_no_cluster_is_told_at_once(address, reason, weights, job, items):
    pytest.importorskip("ray.data")
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=f"^Ray at '{address}': .*{reason}") as raised:
        list(segment_on_ray(maker(weights), job, items, address))
    assert time.perf_counter() - start < 20
    assert "\n" not in str(raised.value)


def test_without_ray_it_says_what_to_install(weights, job, items, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ImportError, match=r"^--ray needs Ray: pip install 'bev-instseg\[ray\]'$"):
        list(segment_on_ray(maker(weights), job, items))
    assert list(segment_on_ray(maker(weights), job, [])) == []
