#!/usr/bin/env python
"""Measure the peak memory of segmenting and tracking recordings of different lengths.

Example:
  python scripts/recording_memory.py drives/sequences/00/velodyne --sweeps 500 5000

The recordings repeat the sweeps of a folder, forth and back.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer

from bev_instseg.export.ros_messages import message_types

CLOUD, FLOAT32 = "sensor_msgs/msg/PointCloud2", 7
PERIOD_NS = 100_000_000
MAIN = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"


def main() -> int:
    """Print the peak of each length."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of .bin sweeps with x, y, z, intensity")
    parser.add_argument("--sweeps", type=int, nargs="+", required=True, metavar="N")
    parser.add_argument("--options", default="", help="options of bev-instseg segment")
    arguments = parser.parse_args()
    sweeps = [np.fromfile(path, np.float32) for path in sorted(arguments.folder.glob("*.bin"))]
    for count in arguments.sweeps:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            path = Path(folder) / "drive.mcap"
            write_recording(path, sweeps, count)
            command = ["segment", str(path), "--out", folder + "/out", *arguments.options.split()]
            process = subprocess.Popen([sys.executable, "-c", MAIN, *command])
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                return 1
        print(f"{count:,} sweeps: at most {usage.ru_maxrss / 1024:.0f} MB of memory", flush=True)
    return 0


def write_recording(path: Path, sweeps: list[np.ndarray], count: int) -> None:
    """Write a recording that repeats sweeps, forth and back.

    Args:
        path: The ``.mcap`` file.
        sweeps: (4 N,) float32 each: x, y, z and intensity of N points.
        count: How many sweeps to write.
    """
    store, there_and_back = message_types(), [*sweeps, *sweeps[-2:0:-1]]
    definition, _ = store.generate_msgdef(CLOUD, ros_version=2)
    with open(path, "wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4)
        writer.start(profile="ros2")
        schema = writer.register_schema(CLOUD, "ros2msg", definition.encode())
        channel = writer.register_channel("/points", "cdr", schema)
        for i in range(count):
            stamp_ns = (i + 1) * PERIOD_NS
            message = cloud(there_and_back[i % len(there_and_back)], stamp_ns)
            writer.add_message(channel, stamp_ns, bytes(store.serialize_cdr(message, CLOUD)), 0)
        writer.finish()  # type: ignore[no-untyped-call]


def cloud(values: np.ndarray, stamp_ns: int) -> object:
    """Return a ``PointCloud2`` of (4 N,) float32 values."""
    types, size = message_types().types, 16
    stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    header = types["std_msgs/msg/Header"](stamp, "velodyne")
    fields = [
        types["sensor_msgs/msg/PointField"](name, 4 * k, FLOAT32, 1)
        for k, name in enumerate(("x", "y", "z", "intensity"))
    ]
    width = values.nbytes // size
    data = values.view(np.uint8)
    return types[CLOUD](header, 1, width, fields, False, size, size * width, data, True)


if __name__ == "__main__":
    raise SystemExit(main())
