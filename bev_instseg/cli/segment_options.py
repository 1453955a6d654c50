"""The options of the segment command."""

import argparse
import re

from bev_instseg.cli.arguments import add_network_arguments, not_empty, to_file, to_folder, to_path
from bev_instseg.cli.sensor_options import add_frame_options
from bev_instseg.export import POINT_FORMATS
from bev_instseg.io.sensor_setup import KNOWN_SENSORS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the inputs and all options of the command.

    Args:
        parser: Parser of the command line.
    """
    parser.add_argument(
        "inputs", nargs="+", type=to_path, metavar="INPUT", help="a sweep, a folder, or a recording"
    )
    parser.add_argument(
        "--out", required=True, type=to_folder, metavar="DIR", help="folder of the results"
    )
    add_network_arguments(parser)
    _add_reading_options(parser)
    _add_extent_options(parser)
    _add_recording_options(parser)
    _add_tracking_options(parser)
    _add_writing_options(parser)
    _add_folder_options(parser)


def _add_extent_options(parser: argparse.ArgumentParser) -> None:
    extent = parser.add_argument_group("what to segment")
    extent.add_argument(
        "--tiles",
        action="store_true",
        help="segment maps and large sweeps completely, tile by tile, not only the square around "
        "the sensor",
    )
    extent.add_argument(
        "--unknown",
        action="store_true",
        help="also group everything else that stands on the ground: class 99, numbered after the "
        "known objects",
    )
    extent.add_argument("--ground", action="store_true", help="give points on the ground class 40")


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group("how the sweeps are stored (default: detected)")
    reading.add_argument(
        "--sensor", choices=KNOWN_SENSORS, help="format and axes of a known sensor"
    )
    reading.add_argument(
        "--format",
        metavar="COLUMNS",
        type=str.lower,
        help="floats per point in .bin files: their number, or a letter for each, such as xyzi, "
        "xyz_i or xyzirt (i is the intensity; _ and other letters are ignored); or kitti, "
        "nuscenes or auto",
    )
    add_frame_options(reading)


def refuse_recording_options(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options that only apply to recordings."""
    for option in ("topic", "frame", "extrinsics", "ego_box", "bag", "files"):
        if getattr(arguments, option):
            name = option.replace("_", "-")
            raise ValueError(f"--{name} is for recordings, and there is none: leave it out")


def _add_recording_options(parser: argparse.ArgumentParser) -> None:
    recordings = parser.add_argument_group("recordings")
    recordings.add_argument(
        "--topic",
        type=not_empty,
        action="append",
        default=[],
        metavar="NAME",
        help="topic with the points, if there are several; repeat --topic to merge topics",
    )
    recordings.add_argument(
        "--frame",
        type=not_empty,
        metavar="NAME",
        help="transform the points to this frame, such as base_link, with /tf_static",
    )
    recordings.add_argument(
        "--extrinsics",
        type=to_path,
        metavar="YAML",
        help="poses of the sensors in that frame, if the recording has no transforms",
    )
    recordings.add_argument(
        "--ego-box",
        type=float,
        nargs=4,
        metavar=("X0", "X1", "Y0", "Y1"),
        help="extent of the ego vehicle, metres in the coordinates of the points; it gets no label",
    )
    recordings.add_argument("--bag", action="store_true", help="also write a ROS 1 bag")
    recordings.add_argument(
        "--files", action="store_true", help="also write a .label and a .json for each sweep"
    )


def _add_tracking_options(parser: argparse.ArgumentParser) -> None:
    tracking = parser.add_argument_group("tracking")
    tracking.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        help="track objects from sweep to sweep (default for recordings); the sweeps of a folder "
        "are taken in the order of their names",
    )
    tracking.add_argument(
        "--smooth",
        action="store_true",
        help="also use later sweeps to judge each object; sweeps that change are segmented twice",
    )
    tracking.add_argument(
        "--play", action="store_true", help="write a page that plays the sequence in any browser"
    )
    tracking.add_argument(
        "--rerun",
        type=to_file,
        metavar="FILE.rrd",
        help="write the sequence for the Rerun viewer",
    )
    tracking.add_argument(
        "--poses",
        type=not_empty,
        metavar="FILE|NAME",
        help="motion of the sensor: for a folder, a file with a row of KITTI's 12 numbers per "
        "sweep (default: poses.txt in or above the folder, else KISS-ICP); for a recording, a "
        "frame such as odom or an odometry topic (default: KISS-ICP)",
    )
    tracking.add_argument(
        "--times",
        type=to_path,
        metavar="FILE",
        help="time of each sweep: a file with a time in seconds per line (default: times.txt in or "
        "above the folder, else the names if they are times, else 0.1 s from sweep to sweep)",
    )


def _add_writing_options(parser: argparse.ArgumentParser) -> None:
    writing = parser.add_argument_group("further outputs")
    for name in POINT_FORMATS:
        about = f"the points with instance, class and score as .{name}"
        writing.add_argument(f"--{name}", action="store_true", help=about)
    writing.add_argument(
        "--calib",
        type=to_path,
        metavar="PATH",
        help="write boxes in a camera's image; a KITTI calibration file, or a folder with one per "
        "sweep",
    )
    writing.add_argument("--png", action="store_true", help="pictures from above and in 3D")
    writing.add_argument("--html", action="store_true", help="a 3D view for any browser")
    writing.add_argument("--maps", action="store_true", help="a picture of the network's output")
    writing.add_argument("--view", action="store_true", help="open the sweeps in Open3D at the end")


def _add_folder_options(parser: argparse.ArgumentParser) -> None:
    folders = parser.add_argument_group("large jobs")
    folders.add_argument("--overwrite", action="store_true", help="recompute existing results")
    folders.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only every N-th sweep, starting with the I-th"
    )
    folders.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on a Ray cluster, with a worker per GPU or core: HOST:PORT, or auto for the "
        "cluster this machine belongs to; without ADDRESS, the cluster in RAY_ADDRESS or, if not "
        "set, Ray on this machine only",
    )


def _shard(text: str) -> tuple[int, int]:
    """Parse I/N, 1 <= I <= N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, got {text}")
    return int(match[1]), int(match[2])
