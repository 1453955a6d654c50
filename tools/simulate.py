#!/usr/bin/env python
"""For a checkout; see bev_instseg/commands/simulate.py, or `--help`."""

from bev_instseg.commands.simulate import main

if __name__ == "__main__":
    raise SystemExit(main())
