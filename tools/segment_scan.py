#!/usr/bin/env python
"""For a checkout; see bev_instseg/commands/segment_scan.py, or `--help`."""

from bev_instseg.commands.segment_scan import main

if __name__ == "__main__":
    raise SystemExit(main())
