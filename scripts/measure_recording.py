#!/usr/bin/env python
"""Measure rate and peak memory for a recording, and for a folder with the same sweeps.

Example:
  python scripts/measure_recording.py drives/sequences/00/velodyne --sweeps 500 5000

Both repeat the sweeps of the given folder, forwards and backwards. Rates include the start of the
command.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer

from bev_instseg.export.ros_messages import message_types

CLOUD, FLOAT32 = "sensor_msgs/msg/PointCloud2", 7
PERIOD_NS = 100_000_000
MAIN = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"


def main() -> int:
    """Print the figures of each length."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of .bin sweeps with x, y, z, intensity")
    parser.add_argument("--sweeps", type=int, nargs="+", required=True, metavar="N")
    parser.add_argument("--no-track", action="store_true", help="measure both without tracking")
    arguments = parser.parse_args()
    sources = sorted(arguments.folder.glob("*.bin"))
    sources += sources[-2:0:-1]
    for count in arguments.sweeps:
        with tempfile.TemporaryDirectory(dir=".") as name:
            drive, folder = Path(name, "drive.mcap"), Path(name, "sweeps")
            repeated = [sources[i % len(sources)] for i in range(count)]
            write_recording(drive, repeated)
            folder.mkdir()
            for i, source in enumerate(repeated):
                shutil.copyfile(source, folder / f"{i:06}.bin")
            tracking = "--no-track" if arguments.no_track else "--track"
            for kind, path in {"recording": drive, "folder": folder}.items():
                command = ["segment", path, "--out", Path(name, kind), tracking]
                start = time.perf_counter()
                process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, command)])
                _, status, usage = os.wait4(process.pid, 0)
                if status:
                    return 1
                rate = count / (time.perf_counter() - start)
                print(
                    f"{count:,} sweeps, {kind}: {rate:.1f} sweeps/s, at most "
                    f"{usage.ru_maxrss / 1024:.0f} MiB of memory",
                    flush=True,
                )
    return 0


def write_recording(path: Path, sweeps: list[Path]) -> None:
    """Write a recording.

    Args:
        path: The ``.mcap`` file.
        sweeps: ``.bin`` files with x, y, z and intensity.
    """
    store = message_types()
    definition, _ = store.generate_msgdef(CLOUD, ros_version=2)
    with open(path, "wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4)
        writer.start(profile="ros2")
        schema = writer.register_schema(CLOUD, "ros2msg", definition.encode())
        channel = writer.register_channel("/points", "cdr", schema)
        for i, sweep in enumerate(sweeps):
            stamp_ns = (i + 1) * PERIOD_NS
            message = cloud(np.fromfile(sweep, np.float32), stamp_ns)
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
