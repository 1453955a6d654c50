#!/usr/bin/env python
"""The command ``bev-instseg train`` as a script; ``--help`` explains it."""

from bev_instseg.cli.train import main

if __name__ == "__main__":
    raise SystemExit(main())
