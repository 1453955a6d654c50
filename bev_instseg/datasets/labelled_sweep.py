"""Read a labelled sweep, and report what was assumed about its file."""

import warnings
from pathlib import Path

from bev_instseg.exceptions import printable
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import Reading
from bev_instseg.io.sweep import Sweep, read_sweep


def read_labelled_sweep(path: Path, setup: SensorSetup, reading: Reading | None = None) -> Sweep:
    """Read a labelled sweep; what was assumed is issued as warnings.

    The warnings name the folder, because most apply to all of its sweeps and Python shows equal
    warnings only once.

    Args:
        path: The sweep.
        setup: What is known about how it is stored.
        reading: What the sweeps of its folder have in common.

    Returns:
        Its points, and where they were in the file.

    Raises:
        ScanError: The file cannot be used.
    """
    sweep = read_sweep(path, setup, reading)
    for notice in sweep.notices:
        warnings.warn(f"{printable(str(path.parent))}: {notice}", stacklevel=2)
    return sweep
