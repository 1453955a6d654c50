#!/usr/bin/env python
"""The command ``bev-instseg live`` as a script; ``--help`` explains it."""

from bev_instseg.cli.live import main

if __name__ == "__main__":
    raise SystemExit(main())
