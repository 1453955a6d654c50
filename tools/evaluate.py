#!/usr/bin/env python
"""For a checkout; see bev_instseg/cli/evaluate.py, or `--help`."""

from bev_instseg.cli.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
