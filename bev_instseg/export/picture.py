"""The kinds of picture that a sweep can get."""

from enum import Enum
from pathlib import Path


class Picture(Enum):
    """A kind of picture; its value follows the sweep's name in the name of the file."""

    BEV = ".png"
    PERSPECTIVE = "_3d.png"
    MAPS = "_maps.png"
    WEB_PAGE = ".html"

    def path(self, target: str | Path) -> Path:
        """Return the picture's file.

        Args:
            target: Path of the sweep's results without suffix.
        """
        return Path(f"{target}{self.value}")
