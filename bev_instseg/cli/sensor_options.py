"""What the commands segment and live share: the options that describe the sensor."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from bev_instseg.io.sensor_setup import KNOWN_SENSORS, SensorSetup


def add_frame_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options for the mounting of a sensor and the scale of its intensities."""
    group.add_argument(
        "--axes",
        metavar="XYZ",
        type=str.lower,
        help="directions of the file's x, y and z: three of f(orward), b(ack), l(eft), r(ight), "
        "u(p), d(own); KITTI is flu, nuScenes rfu, a camera rdf (default: x forward, up detected)",
    )
    group.add_argument(
        "--height", type=float, metavar="M", help="sensor height above ground, metres"
    )
    group.add_argument(
        "--origin",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="position of the sensor in the file's coordinates, metres",
    )
    group.add_argument(
        "--level",
        type=float,
        nargs=2,
        metavar=("PITCH", "ROLL"),
        help="tilt of the sensor, degrees: positive if the front is down or the left side up; 0 0 "
        "turns levelling off",
    )
    group.add_argument(
        "--intensity",
        type=float,
        metavar="FULL",
        help="value of full intensity, such as 255; 0 ignores the intensities",
    )


def given_setup(arguments: argparse.Namespace) -> SensorSetup:
    """Return the sensor setup that the options describe."""
    setup = KNOWN_SENSORS[arguments.sensor] if arguments.sensor else SensorSetup()
    given = {
        "format": arguments.format,
        "axes": arguments.axes,
        "height_m": arguments.height,
        "origin_m": arguments.origin and tuple(arguments.origin),
        "level_deg": arguments.level and tuple(arguments.level),
        "intensity_max": arguments.intensity,
    }
    return replace(setup, **{k: v for k, v in given.items() if v is not None})


def check_sensor_options(arguments: argparse.Namespace) -> None:
    """Raise ValueError for an ego box that holds nothing, or for sensors in an unnamed frame."""
    box: Sequence[float] | None = arguments.ego_box
    if box is not None and not (box[0] <= box[1] and box[2] <= box[3]):  # NaN, too
        given = " ".join(f"{value:g}" for value in box)
        raise ValueError(f"--ego-box is x from, x to, y from, y to, both ascending; got {given}")
    if arguments.extrinsics is not None and not arguments.frame:
        raise ValueError("--extrinsics needs --frame NAME, the frame to transform to")
