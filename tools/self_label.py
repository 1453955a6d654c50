#!/usr/bin/env python
"""The command ``bev-instseg self-label`` as a script; ``--help`` explains it."""

from bev_instseg.cli.self_label import main

if __name__ == "__main__":
    raise SystemExit(main())
