"""How far a training run has come: steps, rows of the log, best score and time."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bev_instseg.config import TrainConfig

Row = dict[str, Any]  # of log.csv


@dataclass
class Progress:
    """The part of a run's state that is neither weights nor optimizer.

    Attributes:
        step: Finished steps.
        best: Best mean PQ of any validation.
        seconds: Time trained when the clock was last read, earlier sessions included.
        rows: Rows of the log.
        recent: Losses of the steps since the last row.
        initial_sha256: Hash of the weights that the run started from; empty if they were random.
    """

    step: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    recent: list[dict[str, float]] = field(default_factory=list)
    initial_sha256: str = ""
    _clock: float = field(default_factory=time.perf_counter)

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "Progress":
        """Return the progress saved in a state; old states lack ``recent`` and the hash.

        Raises:
            KeyError: The state lacks anything else.
        """
        return Progress(
            state["step"],
            state["best"],
            state["seconds"],
            state["rows"],
            state.get("recent", []),
            state.get("initial_sha256", ""),
        )

    def state(self) -> dict[str, Any]:
        """Return what `from_state` reads."""
        return {
            "step": self.step,
            "best": self.best,
            "seconds": self.elapsed(),
            "rows": self.rows,
            "recent": self.recent,
            "initial_sha256": self.initial_sha256,
        }

    def finish_step(self, losses: dict[str, float]) -> None:
        """Count a step and keep its losses for the next row."""
        self.recent.append(losses)
        self.step += 1

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since the last row."""
        names, count = self.recent[0], len(self.recent)
        return {name: sum(losses[name] for losses in self.recent) / count for name in names}

    def add_row(self, learning_rate: float) -> Row:
        """Append a row to the log: step, time, learning rate and mean losses."""
        time_s = round(self.elapsed(), 1)
        row = {"step": self.step, "time_s": time_s, "lr": learning_rate, **self.mean_losses()}
        self.rows.append(row)
        self.recent = []
        return row

    def start_clock(self) -> None:
        """Count time from now on."""
        self._clock = time.perf_counter()

    def elapsed(self) -> float:
        """Return the seconds trained so far, earlier sessions included."""
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        return self.seconds

    def times(self, train: TrainConfig) -> str:
        """Return the time so far and the time left, at the pace since the previous validation."""
        so_far_s = self.elapsed()
        if self.step == train.steps:
            return f"{duration(so_far_s)} in all"
        step_s = so_far_s / self.step
        for row in self.rows:  # exactly one validation falls between that row and the last one
            if row["step"] == self.step - train.validate_every:
                step_s = (self.rows[-1]["time_s"] - row["time_s"]) / train.validate_every
        left_s = step_s * (train.steps - self.step)
        return f"{duration(so_far_s)} so far, {duration(left_s)} left"


def duration(seconds: float) -> str:
    """Format seconds in whole seconds or minutes: ``45 s``, ``11 min``, ``2 h 5 min``."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
