"""The targets of a whole batch in a few long tensors, so that a GPU need not wait per frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bev_instseg.structures import Float32
from bev_instseg.training.targets import PillarTargets


@dataclass(frozen=True, eq=False)
class BatchTargets:
    """Targets of the pillars of several frames: J are judged, M of those belong to K objects.

    Attributes:
        judged: (J,) int64 rows of the judged pillars in the batch, frame by frame.
        pillar_weight: (J,) float32 weight of each in the mean over its frame, then over frames.
        on_object: (M,) int64 positions in ``judged`` of the pillars that belong to an object.
        owner: (M,) int64 object of each of these, 0..K-1.
        classes: (K,) int64 class index of each object.
        centres_m: (K, 2) float32 box centre of each object, metres.
        object_weight: (K,) float32 weight of each in the mean over its frame, then over frames.
        frame_start: (K,) int64 position in ``judged`` where the object's frame starts.
        frame_count: (K,) int64 number of judged pillars in the object's frame.
        known: (L,) int64 rows of the pillars in the batch whose kind is known; they need not be
            judged.
        kind: (L,) int64 kind of each, as in `PillarTargets`.
        kind_weight: (L,) float32 weight of each in the mean over its frame, then over frames.
        num_pillars: Pillars of all frames, judged or not.
        max_frame_count: The largest of ``frame_count``.
    """

    judged: Tensor
    pillar_weight: Tensor
    on_object: Tensor
    owner: Tensor
    classes: Tensor
    centres_m: Tensor
    object_weight: Tensor
    frame_start: Tensor
    frame_count: Tensor
    known: Tensor
    kind: Tensor
    kind_weight: Tensor
    num_pillars: int
    max_frame_count: int

    @staticmethod
    def from_frames(frames: Sequence[PillarTargets]) -> "BatchTargets":
        """Stack the targets of several frames, leaving out objects without pillars."""
        columns: list[tuple[NDArray[Any], ...]] = []
        num_pillars = num_judged = num_objects = max_frame_count = 0
        for frame in frames:
            judged = np.flatnonzero(frame.instance >= 0)
            label = frame.instance[judged]
            on_object = np.flatnonzero(label)
            ids, owner = np.unique(label[on_object], return_inverse=True)
            known = np.flatnonzero(frame.kind >= 0)
            j, k = len(judged), len(ids)
            columns.append(
                (
                    num_pillars + judged,
                    _frame_mean(j, len(frames)),
                    num_judged + on_object,
                    num_objects + owner,
                    frame.classes[ids - 1].astype(np.int64),
                    frame.centres_m[ids - 1],
                    _frame_mean(k, len(frames)),
                    np.full(k, num_judged),
                    np.full(k, j),
                    num_pillars + known,
                    frame.kind[known].astype(np.int64),
                    _frame_mean(len(known), len(frames)),
                )
            )
            num_pillars += len(frame.instance)
            num_judged, num_objects = num_judged + j, num_objects + k
            max_frame_count = max(max_frame_count, j if k else 0)
        tensors: Any = (torch.from_numpy(np.concatenate(c)) for c in zip(*columns, strict=True))
        return BatchTargets(*tensors, num_pillars, max_frame_count)  # type: ignore[call-arg]

    def to(self, device: torch.device | str) -> "BatchTargets":
        """Return a copy on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "BatchTargets":
        """Return a copy in pinned memory, from which a GPU copies without the CPU's help."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "BatchTargets":
        tensors = {k: change(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)  # type: ignore[arg-type]


def _frame_mean(count: int, num_frames: int) -> Float32:
    """Return the weights of a frame's values in the mean over each frame, then over frames."""
    return np.full(count, 1 / (max(count, 1) * num_frames), np.float32)
