"""The processes that share a training run: one, or as many as ``torchrun`` starts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bev_instseg.exceptions import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process's place among all processes of the run.

    Attributes:
        rank: Number of this process; 0 writes the files.
        world: Number of processes.
        device: This process's GPU, or the CPU.
    """

    rank: int
    world: int
    device: torch.device

    @staticmethod
    def join(batch_size: int) -> "Processes":
        """Join the process group that the environment describes.

        Args:
            batch_size: Frames of a batch, to be shared evenly.

        Raises:
            TrainingError: The number of processes does not divide the batch size.
        """
        world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if batch_size % world:
            raise TrainingError(
                f"train.batch_size {batch_size} cannot be shared evenly by {world} processes; "
                "make it a multiple"
            )
        cuda = torch.cuda.is_available()
        if world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")
        if not cuda:
            return Processes(rank, world, torch.device("cpu"))
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        torch.cuda.set_device(local_rank)
        return Processes(rank, world, torch.device("cuda", local_rank))

    def leave(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share of a list."""
        return items[self.rank :: self.world]

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over the processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def largest(self, number: int) -> int:
        """Return the largest of the numbers of all processes."""
        if self.world == 1:
            return number
        largest = torch.tensor([number], device=self.device)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest.item())

    def gather(self, item: T) -> list[T]:
        """Return the items of all processes, by rank."""
        items = [item] * self.world
        if self.world > 1:
            dist.all_gather_object(items, item)
        return items
