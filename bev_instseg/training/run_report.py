"""What a training run shows of itself: curves, pictures of the same frames, TensorBoard's files."""

import re
import struct
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.segmenter import Segmenter
from bev_instseg.training.trainer import LOSSES
from bev_instseg.visualize import draw_bev, draw_training

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PICTURES = 3  # at each validation


class TrainingReport:
    """Keeps the pictures in a run's folder up to date; what `Trainer.run` calls after each row.

    At each validation it draws ``log.png`` and, into ``pictures``, prediction beside truth of up to
    three validation frames, the same each time: ``step_002000_kitti_000012.png``.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        validation: Sequence[FrameRef],
        events: "SummaryWriter | None" = None,
    ) -> None:
        """Args:
        out: the run's folder.
        config: says which names of the data sets are which class.
        validation: the frames that are scored; those drawn are spread over them.
        events: gets each row and picture as well; see `open_events`.
        """
        self.out, self.config, self.events = out, config, events
        count = min(PICTURES, len(validation))  # the middle one of as many equal parts
        self.frames = [
            validation[(2 * i + 1) * len(validation) // (2 * count)] for i in range(count)
        ]

    def __call__(self, row: Mapping[str, float], scored: Segmenter | None) -> None:
        """Show a new row of the log and, where the step was validated, what was scored.

        Raises:
            OSError: if a file cannot be written.
        """
        if self.events is not None:
            write_row(self.events, row)
        if scored is not None:
            self.draw_curves()
            self.draw_frames(int(row["step"]), scored)
        if self.events is not None:
            self.events.flush()  # all of it on disk before the step's checkpoint is

    def draw_curves(self) -> None:
        """Draw ``log.png`` from ``log.csv``."""
        draw_training(self.out / "log.csv", self.out / "log.png")

    def draw_frames(self, step: int, segmenter: Segmenter) -> None:
        """Segment the frames of the report and draw each beside its truth."""
        folder = self.out / "pictures"
        folder.mkdir(exist_ok=True)
        for ref in self.frames:
            frame = ref.read(self.config.classes, self.config.data)
            name = f"{Path(ref.root).resolve().name}/{ref.name}"
            path = folder / f"step_{step:06}_{name.replace('/', '_')}.png"
            instances = segmenter.segment(frame.points)
            draw_bev(frame.points, instances, path, title=f"{name}, step {step}", truth=frame)
            if self.events is not None:
                _write_picture(self.events, f"validation/{name}", path, step)


def require_tensorboard(folder: Path) -> None:
    """Raise ImportError, in one line, unless there is the package that writes event files there."""
    if find_spec("tensorboard") is None:
        raise ImportError(f"{folder} needs tensorboard: pip install 'bev-instseg[tensorboard]'")


def open_events(folder: Path, step: int, rows: Sequence[Mapping[str, float]]) -> "SummaryWriter":
    """Start or go on with TensorBoard's event files.

    Args:
        folder: they lie there; later steps that a run left there before it was stopped are purged.
        step: the last one of the run so far, 0 of a new run.
        rows: of the log so far; they are written where the folder is new.

    Raises:
        OSError: if the folder cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    new = not folder.exists()
    events = SummaryWriter(str(folder), purge_step=step + 1)
    for row in rows if new else ():
        write_row(events, row)
    events.flush()
    return events


def write_row(events: "SummaryWriter", row: Mapping[str, float]) -> None:
    """Write the losses, learning rate and scores of a row of the log at its step."""
    for column, value in row.items():
        if column not in ("step", "time_s"):
            tag = f"loss/{column}" if column in LOSSES else column
            tag = re.sub("^(val_pq|val_recall)_", r"\1/", tag)  # a group of curves each
            events.add_scalar(tag, value, int(row["step"]))


def _write_picture(events: "SummaryWriter", tag: str, path: Path, step: int) -> None:
    """Write a PNG as it is: `SummaryWriter.add_image` would compress it again, which takes 1 s."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    png = path.read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    value = Summary.Value(tag=tag, image=image)
    writer: Any = events.file_writer  # typed as the None that it is once closed
    writer.add_summary(Summary(value=[value]), step)
