"""Find vehicles, pedestrians and cyclists in the sweeps of a running sensor.

Examples:
  %(prog)s --ros2 /velodyne_points
      subscribe to a ROS 2 topic through DDS; no ROS is needed on this machine
  %(prog)s --ros2 /velodyne_points --frame base_link --out drives
      transform the points to a different frame with /tf_static, and record the results
  %(prog)s --ros2 /front/points --ros2 /rear/points --frame base_link --poses odom
      merge the sweeps of several sensors; take their motion from /tf
  %(prog)s --pcap-udp 2368 --out drives
      receive the packets of a Velodyne

With --ros2 or --publish, results are published through DDS. NAME is bev_instseg by default:
  /NAME/points       PointCloud2: all points in their original order, with instance, class, score
  /NAME/detections   Detection3DArray: class, score, oriented box and id of each object
  /NAME/markers      MarkerArray: the same for RViz and Foxglove, with velocities
With --out, the same messages are written to an MCAP file in DIR. An object keeps its number from
sweep to sweep, except with --no-track.

The newest sweep is always processed next. If sweeps arrive faster than they are segmented, those in
between are dropped and counted. Sweeps of several sensors are merged by their stamps; the command
waits at most 0.2 s for a late sensor. It also waits at most 0.2 s for a pose (--poses), and leaves
the sweep out if none arrives. Once a second it prints the rate, the latencies and the number of
dropped sweeps. The first eight sweeps are used to detect axes, tilt and intensities, and get no
results. ROS_DOMAIN_ID sets the domain, and the settings of Cyclone DDS in CYCLONEDDS_URI are
respected. Ctrl-C, SIGTERM and SIGHUP finish the sweep in progress and the file; the exit codes are
130, 143 and 129.
"""

import argparse
import math
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bev_instseg.cli.arguments import (
    add_network_arguments,
    make_segmenter,
    new_parser,
    not_empty,
    positive,
    run,
    to_folder,
    to_path,
)
from bev_instseg.cli.report import Report
from bev_instseg.cli.sensor_options import add_frame_options, check_sensor_options, given_setup
from bev_instseg.exceptions import printable

if TYPE_CHECKING:  # torch, rosbags: not for --help
    from bev_instseg.io.recordings.transforms import Transform
    from bev_instseg.live.dds import RosTopics
    from bev_instseg.live.outputs import LiveRecording
    from bev_instseg.live.pipeline import LiveOptions
    from bev_instseg.live.session import LiveSession, Output
    from bev_instseg.live.source import Source

NAME = "bev_instseg"  # prefix of the topics with results
MAX_PORT = 0xFFFF
ADVICE_S = 3.0  # if nothing arrives for this long, a note names possible reasons


def main(argv: list[str] | None = None, prog: str = "python tools/live.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(segment_live, arguments))


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line; see `main`."""
    parser = new_parser(__doc__, prog)
    parser.set_defaults(sensor=None, format=None)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--ros2",
        type=not_empty,
        action="append",
        metavar="TOPIC",
        help="PointCloud2 topic to subscribe to; repeat --ros2 to merge topics",
    )
    source.add_argument(
        "--pcap-udp",
        type=int,
        metavar="PORT",
        help="UDP port to which a Velodyne sends, usually 2368",
    )
    parser.add_argument(
        "--model",
        default="",
        help="model of the Velodyne, such as VLP-16 (default: detected from the packets)",
    )
    parser.add_argument(
        "--publish",
        nargs="?",
        const=NAME,
        metavar="NAME",
        help="publish the results through DDS, as NAME (default: bev_instseg); always on with "
        "--ros2",
    )
    parser.add_argument("--out", type=to_folder, metavar="DIR", help="folder for the recording")
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="stop after this time (default: never)"
    )
    add_network_arguments(parser)
    _add_sensor_options(parser)
    return parser.parse_args(argv)


def _add_sensor_options(parser: argparse.ArgumentParser) -> None:
    sensor = parser.add_argument_group("the sensor (default: detected)")
    add_frame_options(sensor)
    sensor.add_argument(
        "--frame",
        type=not_empty,
        metavar="NAME",
        help="transform the points to this frame, such as base_link, with /tf_static (required to "
        "merge topics)",
    )
    sensor.add_argument(
        "--extrinsics",
        type=to_path,
        metavar="YAML",
        help="poses of the sensors in that frame, instead of /tf_static",
    )
    sensor.add_argument(
        "--ego-box",
        type=float,
        nargs=4,
        metavar=("X0", "X1", "Y0", "Y1"),
        help="extent of the ego vehicle, metres in the coordinates of the points; it gets no label",
    )
    sensor.add_argument(
        "--standing", action="store_true", help="the sensor does not move, so no odometry is needed"
    )
    sensor.add_argument(
        "--poses",
        type=not_empty,
        metavar="NAME",
        help="motion of the sensor: a frame on /tf, such as odom, or an odometry topic, such as "
        "/odometry (default: KISS-ICP)",
    )
    sensor.add_argument(
        "--no-track", action="store_true", help="number the objects of each sweep independently"
    )


def segment_live(arguments: argparse.Namespace) -> int:
    """Segment sweeps until the user stops the command, and return the exit code.

    Args:
        arguments: The parsed command line.

    Raises:
        ValueError: The options cannot be used.
        OSError: The network cannot be used, or the recording cannot be written.
        ImportError: An option needs a package that is not installed.
    """
    from bev_instseg.live.outputs import PublishedTopics
    from bev_instseg.live.pipeline import Pipeline
    from bev_instseg.live.session import LiveSession

    report = Report(arguments.program)
    _check_options(arguments)
    topics = _join(arguments)
    source, options = _listen(arguments, topics, lambda line: report.say(f"note: {line}"))
    with report.announced("loading the network"):
        segmenter = make_segmenter(arguments, not arguments.no_track)
    with report.announced("preparing the network (the first run compiles it in 20 s)"):
        pipeline = Pipeline(segmenter, options, report.notice)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        outputs: list[Output] = []
        if topics is not None:
            published = PublishedTopics(topics, arguments.publish or NAME)
            outputs.append(published)
            print(f"publishing {', '.join(published.names)}", flush=True)
        if arguments.out is not None:
            recording = stack.enter_context(_begin_recording(arguments.out, source.name))
            outputs.append(recording)
            print(f"recording {recording.path}", flush=True)
        session = LiveSession(source, pipeline, outputs)
        try:
            with session:
                _watch(arguments.seconds, report, session, source)
        finally:
            print(session.line())
            if topics is not None and published.num_late:
                report.say(
                    f"note: {published.num_late} messages were dropped because a subscriber was "
                    "too slow"
                )
    return 0 if session.state.num_sweeps else 2


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
    by_udp = arguments.pcap_udp is not None
    if by_udp and not 0 < arguments.pcap_udp <= MAX_PORT:
        raise ValueError(f"--pcap-udp must be 1..{MAX_PORT}, got {arguments.pcap_udp}")
    if by_udp and arguments.publish is None and arguments.out is None:
        raise ValueError("results go nowhere: add --publish, or --out DIR to record them")
    if arguments.model and not by_udp:
        raise ValueError("--model is for a Velodyne's packets: leave it out, or add --pcap-udp")
    check_sensor_options(arguments)
    if by_udp and arguments.frame and arguments.extrinsics is None:
        raise ValueError("packets have no transforms: --frame needs --extrinsics FILE")
    if by_udp and arguments.poses:
        raise ValueError("packets have no poses: leave out --poses, or use --ros2")
    for option in ("standing", "poses"):
        if arguments.no_track and getattr(arguments, option):
            raise ValueError(f"--{option} is for tracking: leave out --{option} or --no-track")
    if arguments.standing and arguments.poses:
        raise ValueError("--standing and --poses contradict each other: leave one out")
    names = [name.lstrip("/") for name in arguments.ros2 or ()]
    if len(names) > 1 and not arguments.frame:
        raise ValueError("to merge topics, give a common frame, such as --frame base_link")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"--ros2 /{printable(repeated)} is given twice: leave one out")
    from bev_instseg.export.ros_messages import topics_below  # imports rosbags

    results = topics_below(arguments.publish or NAME)
    own = next((name for name in names if f"/{name}" in results), None)
    if own is not None:
        raise ValueError(
            f"--ros2 /{printable(own)} is a topic of the results: choose a different --publish NAME"
        )


def _join(arguments: argparse.Namespace) -> "RosTopics | None":
    """Return the topics of the domain; None if the command neither subscribes nor publishes."""
    if arguments.ros2 is None and arguments.publish is None:
        return None
    from bev_instseg.live.dds import RosTopics

    return RosTopics()


def _listen(
    arguments: argparse.Namespace, topics: "RosTopics | None", say: Callable[[str], None]
) -> "tuple[Source, LiveOptions]":
    """Return the source of the sweeps, and how to read them."""
    from bev_instseg.io.recordings.transforms import find_transform, read_extrinsics
    from bev_instseg.live.pipeline import LiveOptions
    from bev_instseg.live.ros_motion import robot_frames, ros_poses
    from bev_instseg.live.ros_points import RosPoints
    from bev_instseg.live.velodyne_udp import VelodynePackets

    frame: str = (arguments.frame or "").lstrip("/")
    to_frame: Callable[[str, str], Transform] | None = None
    if arguments.extrinsics is not None:
        known = read_extrinsics(arguments.extrinsics)
        to_frame = partial(find_transform, known, target=frame)
    elif frame and topics is not None:
        to_frame = partial(robot_frames(topics).find, target=frame)
    poses = None
    if arguments.poses and topics is not None:
        poses = ros_poses(topics, arguments.poses)
    if arguments.pcap_udp is not None:
        source: Source = VelodynePackets(arguments.pcap_udp, arguments.model)
    else:
        assert topics is not None
        source = RosPoints(topics, arguments.ros2, say)
    options = LiveOptions(
        name=source.name,
        setup=given_setup(arguments),
        frame=frame,
        to_frame=to_frame,
        ego_box=arguments.ego_box and tuple(arguments.ego_box),
        tracks=not arguments.no_track,
        stands=arguments.standing,
        poses=poses,
    )
    return source, options


def _begin_recording(out: Path, source: str) -> "LiveRecording":
    """Begin a recording named after its source and the time."""
    from bev_instseg.live.outputs import LiveRecording

    out.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "_", source).strip("_")
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return LiveRecording(out.resolve() / f"{name}_{now}.mcap", {"live": source})


def _watch(seconds: int | None, report: Report, session: "LiveSession", source: "Source") -> None:
    """Show the state once a second, until the time is over or something goes wrong.

    A second Ctrl-C is ignored, so that the file is finished.
    """
    try:
        _show_states(seconds, report, session, source)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise


def _show_states(
    seconds: int | None, report: Report, session: "LiveSession", source: "Source"
) -> None:
    start_s, advised = time.monotonic(), False
    is_terminal = sys.stderr.isatty()
    with tqdm(bar_format="{desc}", disable=not is_terminal, leave=False) as bar:
        while (passed_s := time.monotonic() - start_s) < (seconds or math.inf):
            session.wait(min(1.0, (seconds or math.inf) - passed_s))
            if not session.num_arrived and not advised and passed_s > ADVICE_S:
                report.say(f"note: {source.advice()}")
                advised = True
            line = session.line(1.0)
            if is_terminal:
                bar.set_description_str(line[: shutil.get_terminal_size().columns - 1])
            else:
                report.say(line)
