"""Kernels run even if Numba cannot cache its machine code."""

import os
import subprocess
import sys


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
