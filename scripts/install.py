"""Build .venv for `make`: python scripts/install.py EXTRAS [pip options].

It needs only the standard library. pip's output goes to .venv/install.log; a failure is reported
with its reason and remedy, exit status 2.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
NEEDED_GB = 2.5  # .venv, pip's cache aside

# A pattern in pip's output -> what the user can do; the first that matches is taken.
REMEDIES = (
    (r"No space left on device", "the disk is full; TMPDIR=/path moves pip's temporary files"),
    (
        r"ProxyError|407 Proxy",
        "the proxy refused the connection; set HTTPS_PROXY=http://user:password@host:port",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "a certificate is not trusted; PIP_CERT=/path/to/ca.pem names that of your network",
    ),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|unreachable|refused",
        "no connection to the package index; check the network, or behind a proxy set "
        'HTTPS_PROXY=http://host:port, or name a mirror with PIP_FLAGS="--index-url URL"',
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "a downloaded file is not the one in requirements.lock; try again, or with another mirror",
    ),
    (
        r"No matching distribution",
        f"the package index has no packages for Python {platform.python_version()} on "
        f"{platform.machine()}; choose a Python from 3.11 to 3.13 with PYTHON=..., or check the "
        "index in PIP_FLAGS",
    ),
    (r"Permission denied", "a folder is not writable; run make as the owner of this folder"),
)


def main(extras: str, *pip_flags: str) -> int:
    """Create .venv if necessary, install in three steps and return the exit status."""
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if not (VENV / "bin").exists() and free_gb < NEEDED_GB:
        print(f"{ROOT}: {free_gb:.1f} GB free; .venv needs {NEEDED_GB} GB: free some space")
        return 2
    print("setting up .venv: two minutes and 2 GB, five times as much with PyTorch for CUDA")
    start = time.monotonic()
    python = str(VENV / "bin" / "python")
    if not works([python, "-m", "pip", "--version"]):
        created = run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if created.returncode:
            return fail(f"{VENV} could not be created", created.stdout)
    LOG.write_text("")
    with tempfile.TemporaryDirectory() as out:
        steps = steps_of(python, extras, pip_flags, out)
        for number, (what, command) in enumerate(steps.items(), 1):
            print(f"  {number} of {len(steps)}: {what}", flush=True)
            done = run(command)
            with LOG.open("a", encoding="utf-8") as log:
                log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
            if done.returncode:
                return fail(
                    "pip install failed" if "pip" in command else "the first sweep failed",
                    done.stdout,
                )
    print(f"  done in {time.monotonic() - start:.0f} s")
    return 0


def steps_of(
    python: str, extras: str, pip_flags: tuple[str, ...], out: str
) -> dict[str, list[str]]:
    """Return what to run, by what it does; ``out`` is a folder for results nobody needs."""
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *pip_flags]
    return {
        "the libraries in requirements.lock, checked by their hashes": [
            *pip,
            *("--require-hashes", "--no-deps", "-r", "requirements.lock"),
        ],
        "PyTorch and this package": [
            *pip,
            *("--no-build-isolation", "-c", "constraints.txt", "-e", f".[{extras}]"),
        ],
        "a first sweep, which compiles the kernels": [
            *(python, "tools/segment_scan.py", "demo/sequences/00/velodyne", "--out", out),
        ],
    }


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder and collect its output."""
    return subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def works(command: list[str]) -> bool:
    """Return whether a command exists and succeeds."""
    try:
        return run(command).returncode == 0
    except OSError:
        return False


def fail(what: str, output: str) -> int:
    """Print what failed, the last error and the remedy; return the exit status."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|Error|OSError)", line)] or lines[-1:]
    print(f"{what}: {errors[-1].removeprefix('ERROR: ') if errors else 'without a message'}")
    remedies = [remedy for pattern, remedy in REMEDIES if re.search(pattern, output)]
    print(f"remedy: {remedies[0]}" if remedies else "remedy: see the log")
    if LOG.exists():
        print(f"log: {LOG.relative_to(ROOT)}")
    return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
