"""Write requirements.lock: what `make` installs, with the hash of every file.

Run it after a change of ``constraints.txt`` or of the dependencies in ``pyproject.toml``:
``pip install uv``, then ``python scripts/lock.py``. The lock holds for Python 3.11 to 3.13 on every
platform. PyTorch and its CUDA libraries are left out, as each build of PyTorch (CPU, CUDA) has its
own files; ``constraints.txt`` names PyTorch's version.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (
    *("uv", "pip", "compile", "pyproject.toml", "--extra", "dev", "--constraint"),
    *("constraints.txt", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
)
LEFT_OUT = re.compile(r"(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
HEADER = """\
# What `make` installs before PyTorch and this package, for Python 3.11 to 3.13 on every platform.
# Written by scripts/lock.py.
"""


def main() -> int:
    """Compile, drop PyTorch and write the lock; return the exit status."""
    compiled = subprocess.run(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if compiled.returncode:
        return compiled.returncode
    requirements = re.split(r"\n(?=\S)", compiled.stdout.strip())
    kept = [text for text in requirements if not LEFT_OUT.match(text)]
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(kept) + "\n", encoding="utf-8")
    print(f"requirements.lock: {len(kept)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
