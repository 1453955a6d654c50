#!/usr/bin/env python
"""The command ``bev-instseg segment`` as a script; ``--help`` explains it."""

from bev_instseg.cli.segment import main

if __name__ == "__main__":
    raise SystemExit(main())
