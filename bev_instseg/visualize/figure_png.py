"""Matplotlib's figures as PNG files, all at one resolution."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bev_instseg.file_io import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200


def save_png(figure: "Figure", path: str | Path) -> None:
    """Write a figure as a PNG at `DPI`, replacing the file atomically.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomic(path, encode_png(figure))


def encode_png(figure: "Figure") -> bytes:
    """Return a figure as a PNG at `DPI`; characters that the font lacks become boxes."""
    # For the whole process, as warnings.catch_warnings does not work in several threads.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()
