"""The files of a training run."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev_instseg.checkpoint import load_state, save_state
from bev_instseg.config import Config
from bev_instseg.config_files import save_config
from bev_instseg.exceptions import CheckpointError, ConfigError, TrainingError
from bev_instseg.file_io import write_atomic
from bev_instseg.model_files import stored_config
from bev_instseg.training.progress import Row


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run's folder, and reading and writing of its state and log.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def last(self) -> Path:
        """State of the last checkpoint."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """State with the best validation score."""
        return self.path / "best.pt"

    @property
    def weights(self) -> Path:
        """Weights of the last step."""
        return self.path / "weights.safetensors"

    @property
    def config(self) -> Path:
        """Configuration that the run was started with."""
        return self.path / "config.yaml"

    def require_new(self) -> None:
        """Raise TrainingError if the folder holds a run."""
        if self.last.exists():
            raise TrainingError(
                f"{self.last}: a run already exists; add --resume or choose a different --out"
            )

    def require_old(self) -> None:
        """Raise TrainingError if the folder holds no run to resume."""
        if not self.last.exists():
            raise TrainingError(f"{self.last}: no run to resume; omit --resume to start one")

    def create(self, config: Config) -> None:
        """Make the folder and write ``config.yaml``."""
        self.path.mkdir(parents=True, exist_ok=True)
        save_config(config, self.config)

    def save(self, path: Path, state: dict[str, Any], rows: Sequence[Row]) -> None:
        """Write a state and the log that goes with it."""
        save_state(path, state)
        self.write_log(rows)

    def write_log(self, rows: Sequence[Row]) -> None:
        """Write ``log.csv``."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path / "log.csv", text.getvalue().encode())

    def load_last(
        self, config: Config, objects_sha256: str, frames_sha256: str, validation_sha256: str
    ) -> dict[str, Any]:
        """Return the last state of a run to be resumed.

        Args:
            config: What the run must have been made with.
            objects_sha256: Hash of the objects that it must have pasted.
            frames_sha256: Hash of the names of the frames that it must have read.
            validation_sha256: Hash of the names of the frames that it must have been scored on.

        Raises:
            TrainingError: There is no state, it is damaged, or the run was made differently.
        """
        self.require_old()
        try:
            state = load_state(self.last)
        except CheckpointError as error:
            raise TrainingError(str(error)) from None
        if self._config_of(state) != config:
            raise TrainingError(
                f"{self.last}: was made with a different configuration; resume with "
                f"{self.path}/config.yaml"
            )
        if state.get("objects_sha256", "") != objects_sha256:
            raise TrainingError(
                f"{self.last}: was made with different --objects; pass the same files in the same "
                "order"
            )
        if state.get("frames_sha256", frames_sha256) != frames_sha256:
            raise TrainingError(
                f"{self.last}: was made with different training frames; restore them, or start a "
                "new run, with --init to go on from its weights"
            )
        if state.get("validation_sha256", validation_sha256) != validation_sha256:
            raise TrainingError(
                f"{self.last}: was scored on different validation frames; restore them, or start a "
                "new run, with --init to go on from its weights"
            )
        return state

    def _config_of(self, state: dict[str, Any]) -> Config | None:
        """Return a state's configuration, newer settings at their defaults; None if invalid."""
        try:
            return stored_config(state.get("config"), str(self.last))
        except ConfigError:
            return None
