"""Install what pip cannot: Python's venv module and the shared libraries that Open3D loads.

If nothing is missing, it prints nothing. Otherwise it installs the packages with apt-get, or, if
this user may not, prints the command to run. Exit status 2: a package that `import open3d` or the
virtual environment needs is still missing. It needs only the standard library, as it runs before
the virtual environment exists.
"""

from __future__ import annotations  # so that an older Python can print its error message

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys

# Debian and Ubuntu package -> the library in it that Open3D links to.
REQUIRED = {
    "libusb-1.0-0": "libusb-1.0.so.0",
    "libegl1": "libEGL.so.1",
    "libgl1": "libGL.so.1",
    "libx11-6": "libX11.so.6",
    "libudev1": "libudev.so.1",
    "libidn2-0": "libidn2.so.0",
}
# Mesa's software renderer: without it Open3D can be imported but needs a GPU to render.
OPTIONAL = ("libgl1-mesa-dri",)


def main() -> int:
    """Check, install what is missing if possible, check again and return the exit status."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"{sys.executable} is Python {version}; choose 3.11 to 3.13 with PYTHON=...")
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
    required = [package for package in missing if package not in OPTIONAL]
    print("missing:" if required else "missing, but only needed for pictures:", end=" ")
    print(", ".join(REQUIRED.get(package, package) for package in missing))
    if shutil.which("apt-get"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        print(
            f"run: {sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends "
            + " ".join(missing)
        )
    else:
        print("install the missing packages with this system's package manager")
    return 2 if required else 0


def missing_packages() -> list[str]:
    """Return the Debian names of missing packages, required ones first."""
    missing = []
    if importlib.util.find_spec("ensurepip") is None:
        missing.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    missing += [package for package, library in REQUIRED.items() if not can_load(library)]
    return missing + [package for package in OPTIONAL if not is_installed(package)]


def can_load(library: str) -> bool:
    """Return whether the dynamic loader finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def is_installed(package: str) -> bool:
    """Return whether dpkg lists a package as installed, or True if there is no dpkg."""
    if not shutil.which("dpkg-query"):
        return True
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(command, capture_output=True, text=True).stdout.startswith("installed")


def root_prefix() -> list[str] | None:
    """Return the command prefix that runs apt-get as root, None if this user may not."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    result = subprocess.run(["sudo", "-n", "true"], capture_output=True)
    return ["sudo", "-n"] if result.returncode == 0 else None


def apt_install(prefix: list[str], packages: list[str]) -> str:
    """Install with apt-get, retrying after an update; return the log, empty if it succeeded."""
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
