#!/usr/bin/env python
"""For a checkout; see bev_instseg/commands/train_kitti.py, or `--help`."""

from bev_instseg.commands.train_kitti import main

if __name__ == "__main__":
    raise SystemExit(main())
