"""Feed damaged files to every parser and report those that are neither read nor refused.

Atheris (libFuzzer for Python) changes valid files so that new lines of the parsers run. A finding
is an exception other than the parser's own, a refusal that is not one line naming the file, an
input that takes over 20 s, or more than 2 GB of memory. Each is kept in a file below --findings;
the exit code is then 1.

Examples:
  python scripts/fuzz.py --seconds 60
  python scripts/fuzz.py --target pcd ply --runs 1000000
  python scripts/fuzz.py --target pcd --replay runs/fuzz/pcd/crash-0123
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from fuzz_targets import TARGETS, check

SECONDS_PER_INPUT = 20  # also enough on a busy machine
MAX_MEMORY_MB = 2048  # of the process; torch alone takes 300
MAX_INPUT_BYTES = 20_000
WORKER = Path(__file__).resolve().with_name("fuzz_worker.py")
TARGET_OF = {target.name: target for target in TARGETS}


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return the exit code."""
    arguments = _parse_arguments(argv)
    names = arguments.target or list(TARGET_OF)
    if arguments.replay:
        with tempfile.TemporaryDirectory() as folder:
            read = check(TARGET_OF[names[0]], arguments.replay.read_bytes(), Path(folder))
        print("read" if read else "refused in one line")
        return 0
    if find_spec("atheris") is None:
        print("fuzzing needs Atheris, which runs on Linux x86_64: pip install 'bev-instseg[fuzz]'")
        return 2
    print("| parser | inputs | seconds | findings |\n|---|--:|--:|--:|")
    reports = [_fuzz(name, arguments) for name in names]
    for report in filter(None, reports):
        print(f"\n{report}")
    return 1 if any(reports) else 0


def _fuzz(name: str, arguments: argparse.Namespace) -> str:
    """Fuzz one parser, print its row and return what was found, or nothing."""
    findings = arguments.findings.resolve() / name
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    options = {
        "runs": arguments.runs,
        "max_total_time": arguments.seconds,
        "seed": arguments.seed,
        "timeout": SECONDS_PER_INPUT,
        "rss_limit_mb": MAX_MEMORY_MB,
        "max_len": MAX_INPUT_BYTES,
        "artifact_prefix": f"{findings}/",
    }
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, str(WORKER), name, *(f"-{key}={value}" for key, value in options.items())],
        # In kernels that are not compiled, Atheris sees branches and Python reports bad indices.
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    counts = map(int, re.findall(r"^(?:#|Done )(\d+)", run.stderr, re.MULTILINE))
    found = sorted(set(findings.iterdir()) - before)
    failed = bool(found or run.returncode)
    seconds = time.monotonic() - start
    print(
        f"| {name} | {max(counts, default=0):,} | {seconds:.0f} | {int(failed)} |",
        flush=True,
    )
    if not failed:
        return ""
    lines = [line for line in run.stdout.splitlines() + run.stderr.splitlines() if line.strip()]
    return "\n".join([f"{name}: {', '.join(map(str, found)) or 'worker failed'}", *lines[-30:]])


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", nargs="+", choices=TARGET_OF, help="parsers; all by default")
    parser.add_argument("--runs", type=int, default=-1, help="inputs per parser, at most")
    parser.add_argument("--seconds", type=int, default=60, help="time per parser, at most")
    parser.add_argument("--seed", type=int, default=0, help="0 takes a new one each time")
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), metavar="DIR")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read one finding again")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
