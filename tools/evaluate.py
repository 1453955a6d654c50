#!/usr/bin/env python
"""For a checkout; see bev_instseg/commands/evaluate.py, or `--help`."""

from bev_instseg.commands.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
