"""A folder job on the machines of a Ray cluster.

A worker holds a network and takes a few sweeps at a time. It reads and writes the files itself,
under the paths that they have here: they must be on a file system that all machines share. Only
the outcomes come back. The files are those of one process, to the last byte.
"""

import logging
import os
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any

from bev_instseg.exceptions import explain
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.jobs.job import Item, Job, Outcome, fingerprint, new_renderer, segment_item
from bev_instseg.segmenter import Device, Segmenter

AT_A_TIME = 8  # sweeps that a worker takes
TRIES = 3  # workers that may die of the same sweeps
STORE_BYTES = 80 << 20  # only names and outcomes pass through it; Ray wants 75 MiB
CONNECT_S = 5


def segment_on_ray(
    new_segmenter: Callable[[], Segmenter],
    job: Job,
    items: Sequence[Item],
    address: str = "",
    device: Device = "auto",
) -> Generator[Outcome, None, None]:
    """Segment sweeps on a Ray cluster, with a worker on each of its cores or GPUs.

    The sweeps of a worker that is lost go to another. Closing the generator ends the workers at
    once; a file that is not written whole by then is not there.

    Args:
        new_segmenter: makes a worker's segmenter; it is sent there, so the paths in it must be
            absolute. On a CPU its network gets one thread.
        job: what to write.
        items: the sweeps.
        address: of the cluster: ``HOST:PORT``, or ``auto`` for the one that this machine is part
            of. Empty is ``RAY_ADDRESS`` of the environment or, without it, a Ray of this machine
            alone that ends with the job.
        device: of each worker: ``cuda`` is a GPU of its own, ``cpu`` a core, ``auto`` a GPU if the
            cluster has any.

    Yields:
        What became of each sweep, once, in the order in which they are finished.

    Raises:
        ImportError: no Ray.
        OSError: no cluster at the address, or it went away.
        ValueError: no such device in the cluster, or a worker that cannot do the job, and why.
    """
    if not items:
        return
    calibration = job.calibration and job.calibration.absolute()
    job = replace(job, out=job.out.absolute(), calibration=calibration)
    job.out.mkdir(parents=True, exist_ok=True)  # workers look whether it is there
    sent = [
        {"number": number, "item": pickle.dumps(replace(item, path=item.path.absolute()))}
        for number, item in enumerate(items)
    ]
    _connect(address or os.environ.get("RAY_ADDRESS") or "local")
    import ray

    try:
        for number, outcome in _stream(sent, device, new_segmenter, job):
            if isinstance(outcome, str):
                raise ValueError(f"Ray: {outcome}")
            yield replace(outcome, item=items[number])
    except ray.exceptions.RayError as error:
        raise OSError(f"Ray: {explain(error)}") from error
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray.data
    except ImportError:
        raise ImportError("--ray needs Ray: pip install 'bev-instseg[ray]'") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    start: dict[str, Any] = {}
    hint = ""
    try:
        if address == "local":
            start = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
            os.environ.setdefault("RAY_AUTH_TOKEN", token_hex())  # or it leaves one in ~/.ray
        elif address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            if not port.isdecimal():
                raise ValueError("an address is HOST:PORT or auto")
            socket.create_connection((host, int(port)), CONNECT_S).close()
            hint = "; if its head wants a token, export RAY_AUTH_MODE=token"
        with _silent():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **start)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(f"Ray at '{address}': {explain(error)}{hint}") from None


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on stderr, not from C++ either: Ray says there what it was told not to say."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _stream(
    sent: list[dict[str, Any]], device: Device, *about: Any
) -> Iterator[tuple[int, Outcome | str]]:
    """The workers' answers as they come; Ray Data itself gives sweeps of a lost one to others."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = 1 << 20  # by which it guesses how much an answer is
    there = ray.cluster_resources()
    use_gpu = device == "cuda" or (device == "auto" and "GPU" in there)
    unit = "GPU" if use_gpu else "CPU"
    workers = int(there.get(unit, 0))
    if not workers:
        raise ValueError(f"Ray: no {unit} in the cluster")
    tries = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tries).remote(TRIES)
    blocks = max(-(-len(sent) // AT_A_TIME), min(len(sent), workers))
    answers = ray.data.from_items(sent, override_num_blocks=blocks).map_batches(
        Worker,
        batch_size=None,  # a block
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=min(workers, blocks)),
        fn_constructor_args=(tries, *about),
        num_cpus=1,
        num_gpus=int(use_gpu),
    )
    for rows in answers.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        for number, outcome in zip(rows["number"], rows["outcome"], strict=True):
            yield int(number), pickle.loads(outcome)


class Tries:
    """An actor that counts how often sweeps were begun: what kills its worker is given up."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.begun: Counter[int] = Counter()

    def begin(self, number: int) -> bool:
        """Whether the sweeps from this number on may be tried once more."""
        self.begun[number] += 1
        return self.begun[number] <= self.most


class Worker:
    """An actor: segments the sweeps that it is given, or says why it cannot."""

    def __init__(self, tries: Any, new_segmenter: Callable[[], Segmenter], job: Job) -> None:
        import torch

        torch.set_num_threads(1)
        self.tries = tries
        try:
            self.segmenter = new_segmenter()
            renderer = new_renderer(job).__enter__()  # it ends with this process
            self.work = partial(segment_item, self.segmenter, job, renderer)
            if not job.out.is_dir():
                raise ValueError(f"{job.out}: no such folder; all machines must share it")
            if fingerprint(self.segmenter, job.setup) != job.settings:
                raise ValueError("its weights or thresholds are not those that are used here")
        except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
            self.failure = f"worker on {socket.gethostname()}: {explain(error)}"
        else:
            self.failure = ""

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """The outcomes of some sweeps, or for each the reason why there is none."""
        items = [pickle.loads(item) for item in rows["item"]]
        answers = [pickle.dumps(answer) for answer in self._answers(int(rows["number"][0]), items)]
        return {"number": rows["number"], "outcome": answers}

    def _answers(self, number: int, items: list[Item]) -> list[Outcome] | list[str]:
        import ray

        if self.failure:
            return [self.failure] * len(items)
        if not ray.get(self.tries.begin.remote(number)):
            why = "its worker died each time that it was tried, or that of a sweep beside it"
            return [Outcome(item, error=f"{item.path}: {why}") for item in items]
        steps = run_in_threads(items, AT_A_TIME, self.work, self.segmenter.device)
        return [outcome.result() for _, outcome in steps]
