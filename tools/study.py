#!/usr/bin/env python
"""The command ``bev-instseg study`` as a script; ``--help`` explains it."""

from bev_instseg.cli.study import main

if __name__ == "__main__":
    raise SystemExit(main())
