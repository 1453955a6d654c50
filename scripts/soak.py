"""Kill and repeat jobs, also several at once, and compare the results with an undisturbed run.

  kills      SIGKILL at random moments of a folder job; the same command goes on
  training   the same for a training run, which --resume continues
  memory     many sweeps of varying size in one process: memory and open files stay flat
  jobs       several jobs on one folder at once

The exit code is 1 if a byte differs, a temporary file or process is left, or memory grows.

Examples:
  python scripts/soak.py
  python scripts/soak.py --parts kills memory --kills 10 --sweeps 500
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from soak_memory import measure_memory

from bev_instseg.simulate import SensorConfig, simulate_sweep, write_sweep

SENSOR = SensorConfig(tuple(np.linspace(4, -24, 16).tolist()), azimuths=400)  # 4,000 points
NUM_SWEEPS = 40  # of the folder job
CONSOLE = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"
NUM_JOBS = 4  # at once
END_S = 20  # until processes must be gone after their parent
EARLY_SHARE = 0.2  # of the kills come before the first file, the others while files are written
# A few thousand weights; a checkpoint every few milliseconds.
TRAINING = """
grid: {x_range_m: [-12.8, 12.8], y_range_m: [-12.8, 12.8], cell_m: 0.4}
model: {widths: [8, 8, 8], blocks: [1, 1, 1]}
data: {sources: [{path: ., layout: semantickitti, train: ["00"], val: ["01"]}]}
train: {steps: 600, batch_size: 2, window_cells: 32, precision: fp32, workers: 1,
        validate_every: 200, checkpoint_every: 10}
"""


@dataclass(frozen=True)
class Disturbed:
    """A command that is run over and over, and killed.

    Attributes:
        command: Returns its arguments, made new before each start.
        out: Folder that it writes to.
        result: Returns the hash of each file that must come out.
    """

    command: Callable[[], list[str]]
    out: Path
    result: Callable[[], dict[str, str]]


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return the exit code."""
    arguments = _parse_arguments(argv)
    rng = np.random.default_rng(arguments.seed)
    parts: dict[str, Callable[[Path], tuple[str, bool]]] = {
        "kills": lambda work: _kill(_folder_job(work), arguments.kills, rng),
        "training": lambda work: _kill(_training_run(work), arguments.training_kills, rng),
        "memory": lambda work: measure_memory(work, arguments.sweeps, SENSOR),
        "jobs": lambda work: _crowd(_folder_job(work), arguments.rounds),
    }
    print("| part | outcome | minutes | |\n|---|---|--:|---|")
    all_good = True
    for name in arguments.parts:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            outcome, good = parts[name](Path(work))
        minutes = (time.monotonic() - start) / 60
        print(f"| {name} | {outcome} | {minutes:.1f} | {'ok' if good else 'WRONG'} |", flush=True)
        all_good &= good
    return 0 if all_good else 1


def _folder_job(work: Path) -> Disturbed:
    """Write a folder of sweeps; return the job that segments it."""
    folder, out = work / "sweeps", work / "out"
    folder.mkdir()
    for number in range(NUM_SWEEPS):
        simulate_sweep(number, SENSOR)[0].tofile(folder / f"{number:03}.bin")
    command = [sys.executable, "-c", CONSOLE, "segment", str(folder), "--out", str(out), "--ply"]
    return Disturbed(lambda: command, out, lambda: _hashes(out))


def _training_run(work: Path) -> Disturbed:
    """Write a tiny data set; return the training on it."""
    for sequence, frames in (("00", 4), ("01", 1)):
        for frame in range(frames):
            write_sweep(work, sequence, frame, 0, SENSOR)
    config, out = work / "config.yaml", work / "run"
    config.write_text(TRAINING)

    def command() -> list[str]:
        words = ["train", "--config", str(config), "--data", str(work), "--out", str(out)]
        resume = ["--resume"] if (out / "last.pt").exists() else []
        return [sys.executable, "-c", CONSOLE, *words, *resume]

    def result() -> dict[str, str]:
        return {"weights": sha256((out / "weights.safetensors").read_bytes()).hexdigest()}

    return Disturbed(command, out, result)


def _kill(job: Disturbed, kills: int, rng: np.random.Generator) -> tuple[str, bool]:
    """Kill a job at random moments and let it finish, again and again until all kills are done."""
    expected, first_file_s, work_s = _undisturbed(job)
    done, runs, differing, left = 0, 0, 0, 0
    while done < kills or not runs or job.out.exists():
        with _started(job) as process:
            if done < kills and rng.random() < EARLY_SHARE:
                time.sleep(rng.uniform(0, first_file_s))
            elif done < kills:
                _wait_for_file(job.out, process)
                time.sleep(rng.uniform(0, work_s / 2))
            else:
                process.wait()
            process.kill()
            killed = _exit_code(process) == -signal.SIGKILL
            left += _outlived(process)
        done += killed
        if not killed:
            runs += 1
            differing += _differing(job.result(), expected)
            left += len(list(job.out.rglob("*.tmp")))
            shutil.rmtree(job.out)
    outcome = f"{done} kills in {runs} runs: {differing} files differ, {left} leftovers"
    return outcome, not differing and not left


def _crowd(job: Disturbed, rounds: int) -> tuple[str, bool]:
    """Run several identical jobs at once on one folder, again and again."""
    expected, _, _ = _undisturbed(job)
    differing, left = 0, 0
    for _ in range(rounds):
        with ExitStack() as stack:
            for process in [stack.enter_context(_started(job)) for _ in range(NUM_JOBS)]:
                _exit_code(process)
        differing += _differing(job.result(), expected)
        left += len(list(job.out.rglob("*.tmp")))
        shutil.rmtree(job.out)
    outcome = f"{rounds} times {NUM_JOBS} at once: {differing} files differ, {left} leftovers"
    return outcome, not differing and not left


def _undisturbed(job: Disturbed) -> tuple[dict[str, str], float, float]:
    """Run a job and remove its results; return them, and the seconds to and from its first file."""
    start = time.monotonic()
    with _started(job) as process:
        _wait_for_file(job.out, process)
        first_file = time.monotonic()
        _exit_code(process)
    end = time.monotonic()
    expected = job.result()
    shutil.rmtree(job.out)
    return expected, first_file - start, end - first_file


@contextmanager
def _started(job: Disturbed) -> Iterator[subprocess.Popen[str]]:
    """Start a job in a process group of its own; afterwards nothing of it runs any more."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            job.command(), stdout=log, stderr=log, text=True, start_new_session=True
        )
        try:
            yield process
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{error}: {log.read()[-2000:]}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _exit_code(process: subprocess.Popen[str]) -> int:
    """Wait for a process; raise RuntimeError if it failed by itself."""
    code = process.wait()
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a job failed with exit code {code}")
    return code


def _wait_for_file(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process changes something in a folder, or ends."""
    before = _newest_ns(folder)
    while process.poll() is None and _newest_ns(folder) == before:
        time.sleep(0.002)


def _newest_ns(folder: Path) -> int:
    with suppress(FileNotFoundError):  # files come and go
        return max((path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]), default=0)
    return 0


def _outlived(process: subprocess.Popen[str]) -> int:
    """Return 1 if other processes of an ended job still run after `END_S` seconds, else 0."""
    for _ in range(10 * END_S):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return 0
        time.sleep(0.1)
    return 1


def _differing(found: dict[str, str], expected: dict[str, str]) -> int:
    """Return the number of files that are missing, unexpected or different."""
    return len({name for name, _ in found.items() ^ expected.items()})


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in files}


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("kills", "training", "memory", "jobs")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="default: all")
    parser.add_argument(
        "--kills", type=int, default=100, help="kills of the folder job (default: 100)"
    )
    parser.add_argument(
        "--training-kills", type=int, default=50, help="kills of the training run (default: 50)"
    )
    parser.add_argument(
        "--sweeps", type=int, default=5000, help="sweeps in the part memory (default: 5000)"
    )
    parser.add_argument(
        "--rounds", type=int, default=10, help="repetitions of the part jobs (default: 10)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random moments (default: 0)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
