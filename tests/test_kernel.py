"""Kernels run even if Numba cannot cache its machine code."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import pytest
from conftest import ROOT
from numba.core.compiler_lock import global_compiler_lock


def test_kernels_run_without_a_cache() -> None:
    code = """
import numpy as np, numba
try:
    numba.njit(cache=True)(lambda x: x)
except Exception:
    print("no cache")
from bev_instseg import BEVGrid
from bev_instseg.ops.voxelize import voxelize
print(len(voxelize(np.zeros((3, 4), np.float32), BEVGrid()).cells))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": os.path.join(os.devnull, "nowhere")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n") == ["no cache", "1", ""], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_waits_for_the_compiler() -> None:
    locked = threading.Event()

    def compile_slowly() -> None:
        with global_compiler_lock:
            locked.set()
            time.sleep(0.2)

    thread = threading.Thread(target=compile_slowly)
    thread.start()
    locked.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # rather than wait for a lock whose owner the fork did not copy
        result = 0
        try:
            result = numba.njit(lambda x: x + 1)(1)
        finally:
            os._exit(0 if result == 2 else 1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


READ_ONLY = """
import sys, tempfile, warnings
import numba
from numba.core import caching
caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]  # as if read-only
tempfile.tempdir = sys.argv[1]
sys.path.append(sys.argv[1])
from helper import add_one
from bev_instseg.ops.kernel import kernel
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(kernel(add_one)(1))
    kernel(add_one)
print(*(warning.message for warning in caught))
print(numba.config.CACHE_DIR)
"""


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no user numbers")
@pytest.mark.parametrize("folder", ["none", "own", "writable by others", "a link", "a file"])
def test_a_read_only_installation_keeps_its_kernels_in_the_temporary_folder(
    folder: str, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("def add_one(x):\n    return x + 1\n")
    cache = tmp_path / f"bev_instseg_kernels_{os.getuid()}"
    if folder in ("own", "writable by others"):
        cache.mkdir(mode=0o700)
        cache.chmod(0o700 if folder == "own" else 0o777)
    elif folder == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        cache.symlink_to(tmp_path / "elsewhere")
    elif folder == "a file":
        cache.write_text("")
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    result, warning, cache_dir = done.stdout.split("\n")[:3]
    assert (result, cache_dir) == ("2", "")
    if folder in ("none", "own"):
        assert warning == ""
        assert list(cache.rglob("helper*.nbi"))
        assert cache.stat().st_mode & 0o777 == 0o700
    else:
        assert warning.startswith("compiled kernels cannot be cached, so each start takes 10 s")
        assert not list(tmp_path.rglob("*.nbi"))
