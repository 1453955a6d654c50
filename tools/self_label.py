#!/usr/bin/env python
"""For a checkout; see bev_instseg/cli/self_label.py, or `--help`."""

from bev_instseg.cli.self_label import main

if __name__ == "__main__":
    raise SystemExit(main())
