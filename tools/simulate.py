#!/usr/bin/env python
"""The command ``bev-instseg simulate`` as a script; ``--help`` explains it."""

from bev_instseg.cli.simulate import main

if __name__ == "__main__":
    raise SystemExit(main())
