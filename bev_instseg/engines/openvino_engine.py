"""An exported network in OpenVINO."""

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from bev_instseg.engines.engine import STEP_ROWS, Engine, Runtime
from bev_instseg.engines.threads import num_threads
from bev_instseg.forking import no_fork
from bev_instseg.ops.network_input import OUTPUT_NAMES, NetworkInput
from bev_instseg.structures import PillarEmbeddings, Pillars

Shape = tuple[int, ...]

_MAKING = threading.Lock()


def refuse_fork() -> Engine:
    """Raise an error: OpenVINO's threads do not survive a fork.

    Raises:
        RuntimeError: Always.
    """
    raise RuntimeError(
        "OpenVINO cannot be used in a forked process: start processes with "
        "multiprocessing.get_context('spawn') and make the Segmenter there, or make it with "
        "runtime='torch' or 'onnxruntime'"
    )


@cache
def _core() -> tuple[Any, int]:
    """Return OpenVINO's core and the id of the process that made it: this one or an ancestor.

    The core is never released: it gives the thread that makes it a stack for signal handlers, and
    frees that memory when any thread releases it. The next signal would then end the process.
    """
    import openvino

    return openvino.Core(), os.getpid()


def _is_forked() -> bool:
    """Return whether OpenVINO was made by a process that this one was forked from."""
    with no_fork(), _MAKING:  # one thread makes it, with no fork in the meantime
        return _core()[1] != os.getpid()


@dataclass(frozen=True)
class _Key:
    """What a compiled model is for."""

    shape: Shape
    one_thread: bool


class _OfThread(threading.local):
    """The state of each thread."""

    def __init__(self) -> None:
        self.one_thread = False
        self.requests: dict[_Key, Any] = {}


class OpenVINOEngine:
    """Runs an exported model in OpenVINO on the CPU, in float32 where it is not in 8 bits."""

    runtime: Runtime = "openvino"
    device = "cpu"

    def __init__(
        self,
        model: bytes,
        weights: bytes,
        sparse_levels: int,
        after_fork: Callable[[], Engine] = refuse_fork,
    ) -> None:
        """Keep a model; it is compiled for each shape of grid when a sweep first needs it.

        Args:
            model: An ONNX file, or the ``.xml`` of OpenVINO's own format.
            weights: The ``.bin`` of OpenVINO's own format; empty for an ONNX file.
            sparse_levels: The network's number of sparse levels.
            after_fork: Makes the engine that a forked process uses instead.
        """
        self._files = model, weights
        self._sparse_levels = sparse_levels
        self._after_fork = after_fork
        self._instead: Engine | None = None
        self._lock = threading.Lock()
        self._compiled: dict[_Key, Any] = {}
        self._of_thread = _OfThread()

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """Run the network; see `Engine.infer`.

        Args:
            pillars: The P pillars of a sweep.
        """
        if _is_forked():
            return self._in_fork().infer(pillars)
        given = NetworkInput.from_pillars([pillars], self._sparse_levels, STEP_ROWS)
        with no_fork():
            request = self._request(given.pyramid.rows.shape)
            request.infer(given.arrays(), share_inputs=True)
        outputs = (request.get_tensor(name).data for name in OUTPUT_NAMES)
        return PillarEmbeddings(*(output[: given.num_pillars].copy() for output in outputs))

    def use_one_thread(self) -> None:
        """See `Engine.use_one_thread`."""
        self._of_thread.one_thread = True

    def _in_fork(self) -> Engine:
        if self._instead is None:
            self._instead = self._after_fork()
            warnings.warn(
                f"OpenVINO does not work in a forked process, so it uses {self._instead.runtime}; "
                "scores may differ in the third digit",
                stacklevel=2,
            )
        return self._instead

    def _request(self, shape: Shape) -> Any:
        of_thread = self._of_thread
        key = _Key(shape, of_thread.one_thread)
        if key not in of_thread.requests:
            with self._lock:
                if key not in self._compiled:
                    self._compiled[key] = self._compile(key)
            of_thread.requests[key] = self._compiled[key].create_infer_request()
        return of_thread.requests[key]

    def _compile(self, key: "_Key") -> Any:
        """Compile the model for maps of one fixed shape; one for any shape would run slower."""
        core, _ = _core()
        model = core.read_model(*self._files) if self._files[1] else core.read_model(self._files[0])
        shapes = {each.any_name: each.partial_shape for each in model.inputs}
        model.reshape(shapes | {"rows": list(key.shape)})
        cores = num_threads()
        options = {
            "NUM_STREAMS": cores if key.one_thread else 1,  # calls at once
            "INFERENCE_NUM_THREADS": cores,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return core.compile_model(model, "CPU", options)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenVINOEngine, (*self._files, self._sparse_levels, self._after_fork)
