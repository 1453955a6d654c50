"""What pip cannot bring: Python's own venv module and the shared libraries that Open3D loads.

Prints nothing when all of it is there. Otherwise installs what is missing with apt-get if this
user may, or prints the line to run. Exit status 2: something that `import open3d` or the virtual
environment needs is still missing. Standard library only, run before there is an environment.
"""

from __future__ import annotations  # so that an older Python gets as far as its message

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys

# Debian and Ubuntu package -> the library of it that Open3D is linked with.
NEEDED = {
    "libusb-1.0-0": "libusb-1.0.so.0",
    "libegl1": "libEGL.so.1",
    "libgl1": "libGL.so.1",
    "libx11-6": "libX11.so.6",
    "libudev1": "libudev.so.1",
    "libidn2-0": "libidn2.so.0",
}
# Mesa's software renderer: Open3D imports without it, but draws nothing where there is no GPU.
WANTED = ("libgl1-mesa-dri",)


def main() -> int:
    """Check, install what is missing if possible, check again; returns the exit status."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        have = ".".join(map(str, sys.version_info[:3]))
        print(f"Python 3.11 to 3.13 needed, {sys.executable} is {have}: choose with PYTHON=...")
        return 2
    if not sys.platform.startswith("linux"):
        return 0
    missing = missing_packages()
    if not missing:
        return 0
    log = ""
    if shutil.which("apt-get") and (prefix := root_prefix()) is not None:
        print(f"installing with apt-get: {' '.join(missing)}", flush=True)
        log = apt_install(prefix, missing)
        missing = missing_packages()
        if not missing:
            return 0
    if log:
        print(log)
    blocked = [package for package in missing if package not in WANTED]
    print("needed, not there:" if blocked else "wanted for pictures, going on without:", end=" ")
    print(", ".join(NEEDED.get(package, package) for package in missing))
    if shutil.which("apt-get"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        print(
            f"run: {sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends "
            + " ".join(missing)
        )
    else:
        print("install it with this system's package manager")
    return 2 if blocked else 0


def missing_packages() -> list[str]:
    """Debian names of what is not there: needed ones first, in the order of the tables."""
    missing = []
    if importlib.util.find_spec("ensurepip") is None:
        missing.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    missing += [package for package, library in NEEDED.items() if not loads(library)]
    return missing + [package for package in WANTED if not dpkg_has(package)]


def loads(library: str) -> bool:
    """Whether the dynamic loader finds the library, wherever it lies."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def dpkg_has(package: str) -> bool:
    """Whether dpkg knows the package as installed; True where there is no dpkg to ask."""
    if not shutil.which("dpkg-query"):
        return True
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(command, capture_output=True, text=True).stdout.startswith("installed")


def root_prefix() -> list[str] | None:
    """What to put before apt-get to run it as root, None if this user may not."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True)
    return ["sudo", "-n"] if asked.returncode == 0 else None


def apt_install(prefix: list[str], packages: list[str]) -> str:
    """Install with apt-get, after an update if it fails without; returns the log of a failure."""
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
    apt += ["-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    log = ""
    for command in (install, [*apt, "update"], install):
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        log = run.stdout
        if command is install and run.returncode == 0:
            return ""
    return log.strip()


if __name__ == "__main__":
    sys.exit(main())
