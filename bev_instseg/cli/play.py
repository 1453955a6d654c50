"""Send recorded sweeps as a running sensor would, to try out bev-instseg live or other programs.

Examples:
  %(prog)s drive.mcap --ros2 /velodyne_points
      publish the sweeps on a ROS 2 topic, at the rate at which they were recorded
  %(prog)s drives/sequences/00/velodyne --ros2 /velodyne_points --rate 10 --loop
      a folder of sweeps, ten per second, over and over
  %(prog)s drive.pcap --udp 2368
      send the packets of a Velodyne capture to a port of this machine

Sweeps are stamped with the time at which they are sent. ROS_DOMAIN_ID sets the domain,
and the settings of Cyclone DDS in CYCLONEDDS_URI are respected. Ctrl-C ends it.
"""

import argparse
import math
import time
from functools import partial

from bev_instseg.cli.arguments import new_parser, run, to_path
from bev_instseg.io.find_recordings import is_recording

START_S = 1.0  # for subscribers and publisher to find each other


def main(argv: list[str] | None = None, prog: str = "python tools/play.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(play, arguments))


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line; see `main`."""
    parser = new_parser(__doc__, prog)
    parser.add_argument(
        "input", type=to_path, metavar="INPUT", help="a recording, or a folder of sweeps"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--ros2", metavar="TOPIC", help="publish on this ROS 2 topic")
    target.add_argument(
        "--udp", type=_port, metavar="PORT", help="send the packets of a capture to this port"
    )
    parser.add_argument(
        "--topic", default="", metavar="NAME", help="topic to read, if several have points"
    )
    parser.add_argument(
        "--rate", type=_rate, metavar="HZ", help="sweeps a second (default: as recorded, or 10)"
    )
    parser.add_argument("--loop", action="store_true", help="start again at the end")
    return parser.parse_args(argv)


def play(arguments: argparse.Namespace) -> int:
    """Send everything and return the exit code.

    Args:
        arguments: The parsed command line.

    Raises:
        ValueError: The input or the options cannot be used.
        OSError: A file or the network cannot be used.
        ImportError: A package is not installed.
    """
    if arguments.udp is None:
        return _publish(arguments)
    for option in ("rate", "topic"):
        if getattr(arguments, option):
            raise ValueError(f"--{option} is for --ros2: packets are sent as they were captured")
    from bev_instseg.live.replay import send_packets

    while True:
        num_sent = send_packets(arguments.input, arguments.udp)
        if not (arguments.loop and num_sent):
            print(f"{num_sent} packets sent")
            return 0 if num_sent else 2


def _publish(arguments: argparse.Namespace) -> int:
    if arguments.topic and not is_recording(arguments.input):
        raise ValueError(f"--topic is for recordings, and {arguments.input} is none: leave it out")
    from bev_instseg.live.dds import RosTopics
    from bev_instseg.live.replay import CLOUD_TYPE, cloud_message, recorded_sweeps, wait_until

    writer = RosTopics().writer(arguments.ros2, CLOUD_TYPE)
    start_s, num_sent, last_s = time.monotonic() + START_S, 0, 0.0
    while True:
        num_before = num_sent
        for due_s, frame_id, points in recorded_sweeps(
            arguments.input, arguments.topic, arguments.rate
        ):
            wait_until(start_s + due_s)
            writer.write(cloud_message(time.time_ns(), frame_id, points))
            num_sent, last_s = num_sent + 1, due_s
        if not arguments.loop or num_sent == num_before:
            break
        start_s += last_s + 1 / (arguments.rate or 10.0)
    time.sleep(START_S)  # the last sweep may be on its way
    print(
        f"{num_sent} sweeps sent, {writer.num_late} of them dropped because no subscriber took "
        "them in time"
    )
    return 0 if num_sent else 2


def _port(text: str) -> int:
    """Parse the number of a UDP port."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 1 to 65535, got {text}")
    return int(text)


def _rate(text: str) -> float:
    """Parse a number above 0."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return rate
