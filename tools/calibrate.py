#!/usr/bin/env python
"""The command ``bev-instseg calibrate`` as a script; ``--help`` explains it."""

from bev_instseg.cli.calibrate import main

if __name__ == "__main__":
    raise SystemExit(main())
