"""Batches of training samples, loaded by worker processes."""

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch.utils.data import DataLoader

from bev_instseg.config import TrainConfig
from bev_instseg.exceptions import KittiError, ScanError, TrainingError
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.structures import Pillars
from bev_instseg.training.batch_targets import BatchTargets
from bev_instseg.training.processes import Processes
from bev_instseg.training.stop_signals import signals_blocked
from bev_instseg.training.targets import PillarTargets
from bev_instseg.training.training_set import TrainingSet

PR_SET_PDEATHSIG = 1  # of prctl

Batch = tuple[PillarBatch, BatchTargets]


def load_batches(
    training_set: TrainingSet, train: TrainConfig, first_step: int, processes: Processes
) -> Iterator[Batch]:
    """Yield this process's share of the batch of each step, up to the last step.

    Args:
        training_set: Samples by number; step ``s`` takes ``batch_size`` of them from
            ``s * batch_size`` on.
        train: Steps, batch size and number of worker processes.
        first_step: The first step to load for.
        processes: The processes that share each batch.

    Raises:
        TrainingError: A data file cannot be used.
    """
    local = train.batch_size // processes.world
    sparse_levels = training_set.config.model.sparse_levels
    steps = range(first_step, train.steps)
    first = (step * train.batch_size + processes.rank * local for step in steps)
    loader: DataLoader[Batch] = DataLoader(
        training_set,  # type: ignore[arg-type]
        batch_sampler=(list(range(i, i + local)) for i in first),  # type: ignore[arg-type]
        num_workers=train.workers,
        multiprocessing_context="spawn" if train.workers else None,
        collate_fn=partial(stack, sparse_levels=sparse_levels),  # runs in the workers
        pin_memory=processes.device.type == "cuda",
        prefetch_factor=4 if train.workers else None,
        worker_init_fn=prepare_worker,
        generator=torch.Generator(),  # so that a resumed run draws nothing from the global one
    )
    # If this process is killed, multiprocessing cleans up, but its warnings are of no use.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    with signals_blocked():  # workers inherit this: only the loop stops, and then stops them
        batches = iter(loader)
    try:
        yield from batches
    except (KittiError, ScanError) as error:  # from a worker, the message is a whole traceback
        name = f"{type(error).__module__}.{type(error).__qualname__}: "
        raise TrainingError(str(error).splitlines()[-1].removeprefix(name)) from None
    finally:
        # Here rather than when the iterator is deleted: then torch prints a traceback if a worker
        # that is no longer needed ends badly.
        with suppress(RuntimeError):
            getattr(batches, "_shutdown_workers", int)()  # there is none without workers


def prepare_worker(worker: int) -> None:
    """Prepare a worker process for making samples.

    Args:
        worker: Its number.
    """
    end_with_parent()
    # Assumptions about the frames were already reported when their labels were checked.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"bev_instseg\.")


def end_with_parent() -> None:
    """Make the system end a worker process with its parent, even if that is killed (Linux only).

    A thread that waits for the parent would not do: when the worker ends, Python unwinds it, and
    the C++ runtime aborts the process.
    """
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it has ended already
            os._exit(1)


@contextmanager
def lost_worker_explained(workers: int) -> Iterator[None]:
    """Turn torch's error about a killed worker, which can occur anywhere, into one line.

    Args:
        workers: Number of worker processes.

    Raises:
        TrainingError: A worker was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise TrainingError(
            "a loader process was killed, probably because memory ran out: each of the "
            f"{workers} keeps all training frames; lower train.workers (0 needs no such process) "
            "and add --resume to continue from the last checkpoint"
        ) from None


def stack(samples: Sequence[tuple[Pillars, PillarTargets]], sparse_levels: int) -> Batch:
    """Stack samples into the tensors of a batch.

    Args:
        samples: The samples.
        sparse_levels: The network's number of sparse levels.
    """
    pillars, targets = zip(*samples, strict=True)
    return PillarBatch.from_pillars(pillars, sparse_levels), BatchTargets.from_frames(targets)
