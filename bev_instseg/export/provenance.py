"""The part of a sweep's ``.json`` that tells what it was computed from."""

from dataclasses import dataclass
from typing import Any

from bev_instseg.export.json_values import integer, number, text
from bev_instseg.grid import BEVGrid


@dataclass(frozen=True)
class Provenance:
    """What a result was computed from.

    Attributes:
        sweep: File name of the sweep.
        sweep_bytes: Size of that file.
        sweep_sample: Hash of some of its blocks; see `sample_sha256`.
        axes: Where the file's x, y and z point; see `SensorSetup`.
        origin_m: Position of the sensor in the file's coordinates, metres.
        level_deg: Pitch and roll by which the sweep was levelled, degrees; see `sensor_rotation`.
        notices: What was detected or assumed when the file was read.
        grid: Grid of the network.
        weights_sha256: Hash of the weights.
        settings: Hash of everything that affects the instances; see `settings_fingerprint`.
        calibration: SHA-256 of the camera calibration and the size of its image; None without one.
    """

    sweep: str
    sweep_bytes: int
    sweep_sample: str
    axes: str
    origin_m: tuple[float, float, float]
    level_deg: tuple[float, float]
    notices: tuple[str, ...]
    grid: BEVGrid
    weights_sha256: str
    settings: str
    calibration: str | None

    @classmethod
    def parse(cls, entry: Any) -> "Provenance":
        """Check a parsed entry; raises ValueError, KeyError or TypeError."""
        x, y, z = entry["origin_m"]
        pitch_deg, roll_deg = entry["level_deg"]
        grid = entry["grid"]
        calibration = entry["calibration"]
        return cls(
            sweep=text(entry["sweep"]),
            sweep_bytes=integer(entry["sweep_bytes"]),
            sweep_sample=text(entry["sweep_sample"]),
            axes=text(entry["axes"]),
            origin_m=(number(x), number(y), number(z)),
            level_deg=(number(pitch_deg), number(roll_deg)),
            notices=tuple(text(notice) for notice in entry["notices"]),
            grid=BEVGrid(
                x_range_m=_range_m(grid["x_range_m"]),
                y_range_m=_range_m(grid["y_range_m"]),
                z_range_m=_range_m(grid["z_range_m"]),
                cell_m=number(grid["cell_m"]),
            ),
            weights_sha256=text(entry["weights_sha256"]),
            settings=text(entry["settings"]),
            calibration=None if calibration is None else text(calibration),
        )


def _range_m(value: Any) -> tuple[float, float]:
    low, high = value
    return number(low), number(high)
