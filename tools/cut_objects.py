#!/usr/bin/env python
"""For a checkout; see bev_instseg/cli/cut_objects.py, or `--help`."""

from bev_instseg.cli.cut_objects import main

if __name__ == "__main__":
    raise SystemExit(main())
