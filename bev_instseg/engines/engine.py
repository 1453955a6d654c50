"""The interface of every runtime, and the names of runtimes, devices and sparse backends."""

from importlib.util import find_spec
from typing import Literal, Protocol, get_args

from bev_instseg.structures import PillarEmbeddings, Pillars

Runtime = Literal["torch", "openvino", "onnxruntime"]
Device = Literal["auto", "cpu", "cuda"]
SparseBackendChoice = Literal["auto", "torch", "spconv"]
RuntimeChoice = Literal["auto", "torch", "openvino", "onnxruntime"]
TtaChoice = Literal[1, 2, 4, 8]  # how many times a network runs on a sweep; see `bev_instseg.tta`
# Rows are padded to multiples of this. oneDNN, which computes in PyTorch and OpenVINO, compiles
# about 0.8 MB of code for each number of rows that it meets and keeps the last 1,024 of them.
STEP_ROWS = 512


class Engine(Protocol):
    """A network in one runtime; several threads may share it, and forked children may use it.

    Attributes:
        runtime: The runtime.
        device: Where it computes: ``cpu`` or ``cuda``.
    """

    runtime: Runtime
    device: str

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """Run the network.

        Args:
            pillars: The P pillars of a sweep.

        Returns:
            Their embeddings, in the same order.
        """
        ...

    def use_one_thread(self) -> None:
        """Let the calling thread compute without helpers, so that several can compute at once."""
        ...


def has_runtime(runtime: Runtime) -> bool:
    """Return whether a runtime is installed, without importing it.

    Args:
        runtime: The runtime.
    """
    return find_spec(runtime) is not None


def check_device(device: str) -> None:
    """Check the name of a device.

    Args:
        device: A `Device`.

    Raises:
        ValueError: The name is unknown.
    """
    if device not in get_args(Device):
        raise ValueError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")


def check_runtime(runtime: str) -> None:
    """Check the name of a runtime, and that it is installed.

    Args:
        runtime: A `RuntimeChoice`.

    Raises:
        ValueError: The name is unknown or the runtime is not installed.
    """
    if runtime not in get_args(RuntimeChoice):
        raise ValueError(
            f"runtime must be one of {', '.join(get_args(RuntimeChoice))}, got {runtime!r}"
        )
    if runtime != "auto" and not has_runtime(runtime):  # type: ignore[arg-type]
        raise ValueError(f"{runtime} is not installed: pip install {runtime}")
