"""A folder job on the machines of a Ray cluster.

A worker holds a network and processes blocks of a few sweeps. It reads and writes the files itself,
under the same paths as here, so they must be on a file system that all machines share. Only the
outcomes come back. The files are identical to those of a single process.
"""

import logging
import os
import pickle
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any

from bev_instseg.engines.engine import Device
from bev_instseg.exceptions import explain
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.jobs.job import Job, settings_fingerprint
from bev_instseg.jobs.one_sweep import new_renderer, segment_item
from bev_instseg.jobs.outcome import EXPECTED_ERRORS, Outcome
from bev_instseg.segmenter import Segmenter

SWEEPS_PER_BLOCK = 8  # a worker takes a block at a time
MAX_TRIES = 3  # a block that has crashed this many workers is given up on
OBJECT_STORE_BYTES = 80 << 20  # only names and outcomes pass through it; Ray's minimum is 75 MiB
CONNECT_TIMEOUT_S = 5


def segment_on_ray(
    new_segmenter: Callable[[], Segmenter],
    job: Job,
    items: Sequence[Item],
    address: str = "",
    device: Device = "auto",
) -> Generator[Outcome, None, None]:
    """Segment sweeps on a Ray cluster, with a worker on each of its cores or GPUs.

    The sweeps of a lost worker go to another one. Closing the generator stops the workers at once;
    a file that is not complete by then is not written.

    Args:
        new_segmenter: Creates a worker's segmenter. It is sent to the worker, so paths in it must
            be absolute. On a CPU the worker's network gets one thread.
        job: What to write.
        items: The sweeps.
        address: Address of the cluster: ``HOST:PORT``, or ``auto`` for the one this machine
            belongs to. If empty, ``RAY_ADDRESS`` from the environment or, without it, a Ray on this
            machine only, which ends with the job.
        device: Device of each worker: a GPU (``cuda``), a core (``cpu``), or a GPU if the cluster
            has any (``auto``).

    Yields:
        The outcome of each sweep, once, in the order in which they finish.

    Raises:
        ImportError: Ray is not installed.
        OSError: There is no cluster at the address, or the connection was lost.
        ValueError: The cluster has no such device, or a worker cannot do the job.
    """
    if not items:
        return
    calibration = job.calibration and job.calibration.absolute()
    job = replace(job, out=job.out.absolute(), calibration=calibration)
    job.out.mkdir(parents=True, exist_ok=True)  # workers check that they see it
    rows = [
        {"number": number, "item": pickle.dumps(replace(item, path=item.path.absolute()))}
        for number, item in enumerate(items)
    ]
    _connect(address or os.environ.get("RAY_ADDRESS") or "local")
    import ray

    try:
        for number, outcome in _outcomes(rows, device, new_segmenter, job):
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
    local_only: dict[str, Any] = {}
    hint = ""
    try:
        if address == "local":
            local_only = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
            # Without a token in the environment Ray would leave one in ~/.ray.
            os.environ.setdefault("RAY_AUTH_TOKEN", token_hex())
        elif address != "auto":  # Ray itself would keep trying for minutes
            host, _, port = address.rpartition(":")
            if not port.isdecimal():
                raise ValueError("an address is HOST:PORT or auto")
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
            hint = "; if its head node requires a token, export RAY_AUTH_MODE=token"
        with _silenced_stderr(), _kept_handler(signal.SIGTERM):
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **local_only)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(f"Ray at '{address}': {explain(error)}{hint}") from None


@contextmanager
def _kept_handler(number: signal.Signals) -> Iterator[None]:
    """Restore a signal's handler, which Ray replaces with one that ends the process at once."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard stderr, including that of C++: Ray prints there whatever its log level."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _outcomes(
    rows: list[dict[str, Any]], device: Device, *worker_arguments: Any
) -> Iterator[tuple[int, Outcome | str]]:
    """Yield the workers' answers as they arrive; Ray Data retries the blocks of lost workers."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = 1 << 20  # Ray's estimate of the size of an answer
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    use_gpu = device == "cuda" or (device == "auto" and "GPU" in resources)
    unit = "GPU" if use_gpu else "CPU"
    num_workers = int(resources.get(unit, 0))
    if not num_workers:
        raise ValueError(f"Ray: the cluster has no {unit}; choose another --device")
    tries = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tries).remote(MAX_TRIES)
    num_blocks = max(-(-len(rows) // SWEEPS_PER_BLOCK), min(len(rows), num_workers))
    answers = ray.data.from_items(rows, override_num_blocks=num_blocks).map_batches(
        Worker,
        batch_size=None,  # a block
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=min(num_workers, num_blocks)),
        fn_constructor_args=(tries, *worker_arguments),
        num_cpus=1,
        num_gpus=int(use_gpu),
    )
    for batch in answers.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        for number, outcome in zip(batch["number"], batch["outcome"], strict=True):
            yield int(number), pickle.loads(outcome)


class Tries:
    """A Ray actor that counts how often each block was started, to give up on those that crash."""

    def __init__(self, max_tries: int) -> None:
        """Start counting.

        Args:
            max_tries: How often a block may be started.
        """
        self.max_tries = max_tries
        self.num_tries: Counter[int] = Counter()

    def begin(self, number: int) -> bool:
        """Count a start of the block with this first number; return whether it is allowed."""
        self.num_tries[number] += 1
        return self.num_tries[number] <= self.max_tries


class Worker:
    """A Ray actor that segments blocks of sweeps, or reports why it cannot."""

    def __init__(self, tries: Any, new_segmenter: Callable[[], Segmenter], job: Job) -> None:
        """Load the network; a failure is reported with the first block.

        Args:
            tries: Handle of the `Tries` actor.
            new_segmenter: Creates the segmenter.
            job: What to write.
        """
        self.tries = tries
        try:
            self.segmenter = new_segmenter()
            self.segmenter.engine.use_one_thread()
            renderer = new_renderer(job).__enter__()  # ends with this process
            self.work = partial(segment_item, self.segmenter, job, renderer)
            if not job.out.is_dir():
                raise ValueError(f"{job.out}: no such folder; all machines must share it")
            if settings_fingerprint(self.segmenter, job.setup, job.tiles) != job.settings:
                raise ValueError("its weights or thresholds differ from those of the job")
        except EXPECTED_ERRORS as error:
            self.failure = f"worker on {socket.gethostname()}: {explain(error)}"
        else:
            self.failure = ""

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Return the outcomes of a block, or for each sweep why this worker cannot do the job."""
        items = [pickle.loads(item) for item in rows["item"]]
        answers = [pickle.dumps(answer) for answer in self._answers(int(rows["number"][0]), items)]
        return {"number": rows["number"], "outcome": answers}

    def _answers(self, number: int, items: list[Item]) -> list[Outcome] | list[str]:
        import ray

        if self.failure:
            return [self.failure] * len(items)
        if not ray.get(self.tries.begin.remote(number)):
            reason = (
                "the worker crashed on every attempt; a neighbouring sweep may be the cause, "
                "so try this one alone"
            )
            return [Outcome(item, error=f"{item.path}: {reason}") for item in items]
        steps = run_in_threads(items, len(items), self.work, self.segmenter.engine)
        return [outcome.result() for _, outcome in steps]
