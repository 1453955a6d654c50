#!/usr/bin/env python
"""For a checkout; see bev_instseg/cli/train.py, or `--help`."""

from bev_instseg.cli.train import main

if __name__ == "__main__":
    raise SystemExit(main())
