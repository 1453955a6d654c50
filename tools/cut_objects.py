#!/usr/bin/env python
"""The command ``bev-instseg cut-objects`` as a script; ``--help`` explains it."""

from bev_instseg.cli.cut_objects import main

if __name__ == "__main__":
    raise SystemExit(main())
