#!/usr/bin/env python
"""The command ``bev-instseg play`` as a script; ``--help`` explains it."""

from bev_instseg.cli.play import main

if __name__ == "__main__":
    raise SystemExit(main())
