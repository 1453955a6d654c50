#!/usr/bin/env python
"""For a checkout; see bev_instseg/commands/calibrate.py, or `--help`."""

from bev_instseg.commands.calibrate import main

if __name__ == "__main__":
    raise SystemExit(main())
