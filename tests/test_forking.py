"""A process that holds a segmenter may fork: the child segments as well."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.utils.data import DataLoader, Dataset

from bev_instseg.engines import choose, openvino_engine
from bev_instseg.engines.engine import Runtime, has_runtime
from bev_instseg.forking import no_fork
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
TIMEOUT_S = 120


class Work(Dataset[bool]):
    """Whether the segmenter still finds the same; several items, for several workers."""

    def __init__(self, runtime: Runtime) -> None:
        path = ROOT / "demo/sequences/00/velodyne/000000.bin"
        self.points: Float32 = np.fromfile(path, np.float32).reshape(-1, 4)
        self.segmenter = Segmenter.from_pretrained(device="cpu", runtime=runtime)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in the child
        self.labels = self.segmenter.segment(self.points).labels
        torch.set_num_threads(max(2, threads))
        self.segmenter.segment(self.points)  # starts threads that a fork does not copy
        torch.set_num_threads(threads)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, item: int) -> bool:
        labels = self.segmenter.segment(self.points).labels
        if self.segmenter.engine.runtime == "openvino":  # another takes its place in a child
            return bool(((labels > 0) == (self.labels > 0)).mean() > 0.999)
        return np.array_equal(labels, self.labels)


@pytest.fixture(scope="module", params=get_args(Runtime))
def work(request: pytest.FixtureRequest) -> Work:
    if not has_runtime(request.param):
        pytest.skip(f"{request.param} is not installed")
    return Work(request.param)


def succeeds_in_child(function: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(TIMEOUT_S)
        succeeded = False
        try:
            succeeded = function()
        finally:
            os._exit(0 if succeeded else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_segments(work: Work) -> None:
    assert succeeds_in_child(lambda: work[0] and work[1])
    assert work[0], "the parent goes on"


def test_a_child_forked_while_threads_segment(work: Work) -> None:
    with ThreadPoolExecutor(2) as pool:
        busy = pool.map(work.__getitem__, range(6))
        assert all(succeeds_in_child(lambda: work[0]) for _ in range(3))
        assert all(busy)


def test_pool_and_data_loader_that_fork(work: Work) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(pool.map_async(work.__getitem__, range(4)).get(TIMEOUT_S))
    loader = DataLoader(work, num_workers=2, multiprocessing_context="fork", timeout=TIMEOUT_S)
    assert [batch.tolist() for batch in loader] == [[True]] * 4


def test_a_fork_waits_for_running_networks_and_keeps_new_ones_out() -> None:
    inside, done = threading.Event(), []

    def run() -> None:
        with no_fork():
            inside.set()
            time.sleep(0.3)
            done.append("first")
        with no_fork():
            done.append("second")

    thread = threading.Thread(target=run)
    thread.start()
    inside.wait()
    assert succeeds_in_child(lambda: done == ["first"])
    thread.join()
    assert done == ["first", "second"]


def test_cuda_in_a_forked_child_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work("torch")
    monkeypatch.setattr(work.segmenter.engine, "device", "cuda")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)  # true in a forked child
    with pytest.raises(RuntimeError, match="CUDA cannot be used in a forked process: start"):
        work.segmenter.segment(work.points)


def test_openvino_in_a_forked_child_is_replaced_or_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    points = np.zeros((1, 4), np.float32)
    for installed, expected in (
        ({"openvino", "onnxruntime"}, "onnxruntime"),
        ({"openvino", "torch"}, "torch"),
    ):
        monkeypatch.setattr(choose, "has_runtime", lambda name, names=installed: name in names)
        segmenter = Segmenter.from_pretrained(device="cpu", runtime="openvino")
        monkeypatch.setattr(openvino_engine, "_core", lambda: (None, 0))  # as in a child
        with pytest.warns(
            UserWarning, match=f"does not work in a forked process, so it uses {expected}"
        ):
            segmenter.segment(points)
    monkeypatch.setattr(choose, "has_runtime", lambda name: name == "openvino")
    segmenter = Segmenter.from_pretrained(device="cpu", runtime="openvino")
    with pytest.raises(RuntimeError, match="OpenVINO cannot be used in a forked process"):
        segmenter.segment(points)
