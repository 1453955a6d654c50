#!/usr/bin/env python
"""The command ``bev-instseg export`` as a script; ``--help`` explains it."""

from bev_instseg.cli.export import main

if __name__ == "__main__":
    raise SystemExit(main())
