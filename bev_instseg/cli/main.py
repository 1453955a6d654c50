"""The program ``bev-instseg``, which runs the commands by name."""

import sys
from difflib import get_close_matches
from importlib import import_module, metadata

# Command: its module in bev_instseg.cli, and what it does.
COMMANDS = {
    "segment": ("segment", "find the objects in LiDAR sweeps; write labels, boxes and pictures"),
    "live": ("live", "find the objects in the sweeps of a running sensor, through ROS 2 or UDP"),
    "play": ("play", "send recorded sweeps as a running sensor would"),
    "train": ("train", "train a network on labelled sweeps, or fine-tune one"),
    "evaluate": ("evaluate", "score a network on labelled sweeps"),
    "study": ("study", "train variants of a configuration with several seeds and compare them"),
    "calibrate": ("calibrate", "turn scores into probabilities and choose thresholds"),
    "simulate": ("simulate", "generate labelled sweeps of simulated streets"),
    "cut-objects": ("cut_objects", "collect objects from labelled sweeps to paste in training"),
    "self-label": ("self_label", "label sweeps with a network, to train the next one on them"),
    "export": ("export", "write a network for ONNX Runtime or OpenVINO, also in 8 bits"),
    "benchmark": ("benchmark", "measure speed and compare it with what the machine allows"),
}
HELP = f"""Find vehicles, pedestrians and cyclists in LiDAR sweeps, point by point.

Usage: bev-instseg COMMAND ...

{chr(10).join(f"  {name:<13}{about}" for name, (_, about) in COMMANDS.items())}

Examples:
  bev-instseg segment sweep.bin --out results --png
  bev-instseg train --help
  bev-instseg --version
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return the exit code.

    Args:
        argv: The command and its arguments; those of the process by default.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(metadata.version("bev-instseg"))
        return 0
    if words[0] not in COMMANDS:
        near = get_close_matches(words[0].replace("_", "-"), COMMANDS, 1)
        remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(COMMANDS)}"
        print(f"bev-instseg: unknown command {words[0]}; {remedy}", file=sys.stderr)
        return 2
    module = import_module(f"bev_instseg.cli.{COMMANDS[words[0]][0]}")
    code: int = module.main(words[1:], f"bev-instseg {words[0]}")
    return code
