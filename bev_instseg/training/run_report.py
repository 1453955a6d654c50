"""Curves, pictures and TensorBoard events of a training run."""

import re
import struct
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.segmenter import Segmenter
from bev_instseg.training.losses import LOSSES, SEMANTIC
from bev_instseg.visualize import draw_comparison, draw_training

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

NUM_PICTURES = 3  # at each validation


class TrainingReport:
    """Keeps the pictures in a run's folder up to date; pass it to `Trainer.run`.

    At each validation it draws ``log.png`` and up to three validation frames, always the same,
    prediction next to truth: ``pictures/step_002000_kitti_000012.png``.

    Attributes:
        frames: The frames that are drawn.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        validation: Sequence[FrameRef],
        events: "SummaryWriter | None" = None,
    ) -> None:
        """Choose the frames to draw.

        Args:
            out: The run's folder.
            config: Maps the data sets' class names to classes.
            validation: The frames that are scored; those drawn are spread over them.
            events: Receives each row and picture too; see `open_events`.
        """
        self._out, self._config, self._events = out, config, events
        count = min(NUM_PICTURES, len(validation))  # the middle one of as many equal parts
        self.frames = [
            validation[(2 * i + 1) * len(validation) // (2 * count)] for i in range(count)
        ]

    def __call__(self, row: Mapping[str, float], scored: Segmenter | None) -> None:
        """Show a new row of the log.

        Args:
            row: The row.
            scored: The segmenter that was scored, if the step was validated.

        Raises:
            OSError: A file cannot be written.
        """
        if self._events is not None:
            write_row(self._events, row)
        if scored is not None:
            self.draw_curves()
            self.draw_frames(int(row["step"]), scored)
        if self._events is not None:
            self._events.flush()  # everything is on disk before the step's checkpoint

    def draw_curves(self) -> None:
        """Draw ``log.png`` from ``log.csv``."""
        draw_training(self._out / "log.csv", self._out / "log.png")

    def draw_frames(self, step: int, segmenter: Segmenter) -> None:
        """Segment the report's frames and draw each next to its truth."""
        folder = self._out / "pictures"
        folder.mkdir(exist_ok=True)
        for ref in self.frames:
            frame = ref.read(self._config.classes, self._config.data)
            name = f"{Path(ref.root).resolve().name}/{ref.name}"
            path = folder / f"step_{step:06}_{name.replace('/', '_')}.png"
            instances = segmenter.segment(frame.points)
            draw_comparison(frame, instances, path, title=f"{name}, step {step}")
            if self._events is not None:
                _write_picture(self._events, f"validation/{name}", path, step)


def require_tensorboard(folder: Path) -> None:
    """Check that TensorBoard's package is installed.

    Args:
        folder: Where event files are to be written, for the message.

    Raises:
        ImportError: It is not installed.
    """
    if find_spec("tensorboard") is None:
        raise ImportError(f"{folder} needs tensorboard: pip install 'bev-instseg[tensorboard]'")


def open_events(folder: Path, step: int, rows: Sequence[Mapping[str, float]]) -> "SummaryWriter":
    """Start TensorBoard event files, or continue them.

    Args:
        folder: Their folder; events after ``step``, left by an interrupted run, are purged.
        step: The run's last step so far, 0 for a new run.
        rows: The log so far, written if the folder is new.

    Raises:
        OSError: The folder cannot be written.
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
            tag = f"loss/{column}" if column in (*LOSSES, SEMANTIC) else column
            tag = re.sub("^(val_pq|val_recall)_", r"\1/", tag)  # one group of curves for each
            events.add_scalar(tag, value, int(row["step"]))


def _write_picture(events: "SummaryWriter", tag: str, path: Path, step: int) -> None:
    """Write a PNG unchanged; `SummaryWriter.add_image` would take a second to recompress it."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    png = path.read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    value = Summary.Value(tag=tag, image=image)
    writer: Any = events.file_writer  # annotated as None, which it is once closed
    writer.add_summary(Summary(value=[value]), step)
