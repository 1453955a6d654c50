"""``bev-instseg COMMAND ...``: the tools by name, once the package is installed."""

import sys
from difflib import get_close_matches
from importlib import import_module, metadata

COMMANDS = {
    "segment": ("segment", "label the objects in sweeps: files, pictures, windows"),
    "train": ("train", "train a network on labelled sweeps, or fine-tune one"),
    "evaluate": ("evaluate", "score a network on labelled sweeps"),
    "calibrate": ("calibrate", "make scores probabilities and find thresholds"),
    "simulate": ("simulate", "make labelled sweeps of streets that never were"),
    "cut-objects": ("cut_objects", "cut objects out of labelled sweeps, to paste in training"),
    "self-label": ("self_label", "label sweeps by a network, to train another on"),
    "benchmark": ("benchmark", "measure how long a sweep takes, beside the floors"),
}
HELP = f"""Instance segmentation of LiDAR sweeps from the bird's-eye view.

bev-instseg COMMAND ...

{chr(10).join(f"  {name:<12}{about}" for name, (_, about) in COMMANDS.items())}

Examples:
  bev-instseg segment sweep.bin --out results --png
  bev-instseg train --help
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(metadata.version("bev-instseg"))
        return 0
    if words[0] not in COMMANDS:
        near = get_close_matches(words[0].replace("_", "-"), COMMANDS, 1)
        remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"bev-instseg: unknown command {words[0]}; {remedy}", file=sys.stderr)
        return 2
    module = import_module(f"bev_instseg.cli.{COMMANDS[words[0]][0]}")
    return module.main(words[1:], f"bev-instseg {words[0]}")
