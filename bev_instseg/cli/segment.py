"""Find vehicles, pedestrians and cyclists in LiDAR sweeps, point by point.

Examples:
  %(prog)s sweep.bin --out results --png
  %(prog)s recordings --out results --sensor nuscenes --ply --view
  %(prog)s archive --out results --shard 1/4
  %(prog)s drive.mcap --out results --frame base_link
  %(prog)s sweep.bin --out results --png --weights lanes
      lane markings and kerbs instead; the .json has the course of each

INPUT is a sweep, a folder that is searched to any depth, or a recording. Formats of sweeps: .bin
(float32; the columns are inferred from their values), .npy, .npz, .pcd, .ply, .las, .laz. The
intensity scale, the up direction and the tilt of the sensor are detected from several sweeps of
each folder, and the position of the sensor from each sweep; all are reported. The forward direction
cannot be inferred from the points: unless it is x, pass --sensor or --axes.

DIR gets the results of each sweep NAME (in a folder: its path below that folder):
  NAME.label     a uint32 per point, in input order: the low 16 bits are the SemanticKITTI class
                 (vehicle 10, pedestrian 30, cyclist 31, no object 0; with --unknown, 99 for other
                 objects on the ground; with --ground, 40 for the ground), the high 16 bits the
                 instance, numbered 1..K by descending score
  NAME.json      each instance's class, score, number of points and oriented box (x forward, y left,
                 z up; the origin is at "origin_m" in the file's coordinates); also the grid, the
                 weights, what was detected in the file, and size and hash of the other results
  NAME.ply .pcd .laz   the points with instance, class and score (--ply, --pcd, --laz)
  NAME.txt       boxes in a camera's image, with scores, in KITTI's label_2 format (--calib)
  NAME.png NAME_3d.png   pictures from above and in 3D (--png)
  NAME.html      a 3D view for any browser (--html)
  NAME_maps.png  the network's output: seed maps, offsets and bandwidths (--maps)
A folder also gets summary.csv, with a row per sweep. If two sweeps would share an output file, as
a.bin and a.npy would share a.label, NAME keeps the suffix: a.bin.label.

With --track, the sweeps of each folder are a sequence in the order of their names. An object keeps
its number in .label over the sequence, and its "track" in .json has velocity, heading and age. The
folder also gets tracks.csv, tracks.png and, with --play, tracks.html, which plays the sequence.

Recordings are ROS 1 and ROS 2 bags (.bag, .mcap, .db3, a folder) and Velodyne captures (.pcap).
DIR gets NAME.mcap with the labelled points (/bev_instseg/points), detections and markers, with the
time stamps and frames of the recording, and with --bag also NAME.bag. Objects keep their ids from
sweep to sweep, and DIR gets NAME_tracks.csv, NAME_tracks.png and, with --play, NAME_tracks.html;
--no-track turns this off. --files, or an option for any file above, also writes the files of each
sweep, to DIR/NAME/000000 and so on.

To continue after an interruption, repeat the command: it skips sweeps whose results were
made from the same file with the same weights and settings. Only files that NAME.json lists, and
that have not been changed since, are ever replaced or removed. A sweep that cannot be processed is
reported, the others are finished, and the exit code is 2. A full disk stops the job. Ctrl-C,
SIGTERM and SIGHUP finish the sweeps in progress; the exit codes are 130, 143 and 129.
"""

import argparse
import importlib
from functools import partial
from importlib.util import find_spec

from bev_instseg.cli import segment_tracks
from bev_instseg.cli.arguments import new_parser, run
from bev_instseg.cli.report import Report
from bev_instseg.cli.segment_options import add_options
from bev_instseg.cli.segment_sweeps import segment_sweeps
from bev_instseg.io.find_recordings import find_recordings

# Option: the packages it imports, and the extra that installs them.
EXTRAS = {
    "laz": (("laspy", "lazrs"), "las"),
    "html": (("viser",), "web"),
    "rerun": (("rerun",), "rerun"),
}


def main(argv: list[str] | None = None, prog: str = "python tools/segment_scan.py") -> int:
    """Run the command and return the exit code.

    Args:
        argv: The arguments; those of the process by default.
        prog: The command as the user typed it.
    """
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(segment_all, arguments))


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line; see `main`."""
    parser = new_parser(__doc__, prog)
    add_options(parser)
    return parser.parse_args(argv)


def segment_all(arguments: argparse.Namespace) -> int:
    """Segment every sweep and return the exit code.

    Args:
        arguments: The parsed command line.

    Raises:
        ValueError: The inputs or options cannot be used.
        OSError: A file cannot be read or written.
        ImportError: An option needs a package that is not installed.
    """
    from bev_instseg.jobs.find_items import is_result  # imports what --help does not need

    report = Report(arguments.program)
    recordings = find_recordings(arguments.inputs, is_result)
    if arguments.track is None:
        arguments.track = bool(recordings)
    _check_options(arguments)
    if recordings:  # needs torch, which --help does not
        from bev_instseg.cli.segment_recordings import segment_recordings

        return segment_recordings(arguments, report, recordings)
    return segment_sweeps(arguments, report)


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise an error if an option cannot be satisfied on this machine, before anything is done."""
    segment_tracks.check_options(arguments)
    for option, (packages, extra) in EXTRAS.items():
        for package in packages if getattr(arguments, option) else ():
            try:
                importlib.import_module(package)
            except ImportError:
                raise ImportError(
                    f"--{option} needs {package}: pip install 'bev-instseg[{extra}]'"
                ) from None
    needed = ("matplotlib", "open3d") if arguments.png or arguments.maps else ()
    for package in (*needed, *(("matplotlib", "scipy") if arguments.track else ())):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    if arguments.tiles and arguments.maps:
        raise ValueError("--maps shows a single grid: leave out --maps or --tiles")
    if arguments.view:
        from bev_instseg.visualize import no_window

        if reason := no_window():
            raise ValueError(f"--view: no display: {reason}; leave it out, or use --png instead")
