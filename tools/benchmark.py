#!/usr/bin/env python
"""The command ``bev-instseg benchmark`` as a script; ``--help`` explains it."""

from bev_instseg.cli.benchmark import main

if __name__ == "__main__":
    raise SystemExit(main())
