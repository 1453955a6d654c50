#!/usr/bin/env python
"""The command ``bev-instseg evaluate`` as a script; ``--help`` explains it."""

from bev_instseg.cli.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
