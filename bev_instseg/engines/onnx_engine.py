"""An exported network in ONNX Runtime."""

import os
import threading
from typing import Any

from bev_instseg.engines.engine import STEP_ROWS, Runtime
from bev_instseg.engines.threads import num_threads
from bev_instseg.forking import no_fork
from bev_instseg.ops.network_input import OUTPUT_NAMES, NetworkInput
from bev_instseg.structures import PillarEmbeddings, Pillars


class OnnxEngine:
    """Runs an ONNX model in ONNX Runtime on the CPU."""

    runtime: Runtime = "onnxruntime"
    device = "cpu"

    def __init__(self, model: bytes, sparse_levels: int) -> None:
        """Load a model.

        Args:
            model: The ONNX file.
            sparse_levels: The network's number of sparse levels.
        """
        self._sparse_levels = sparse_levels
        self._model = model
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        # By process and number of threads. The threads of a session do not survive a fork, and
        # releasing it there hangs.
        self._sessions: dict[tuple[int, int], Any] = {}

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """Run the network; see `Engine.infer`.

        Args:
            pillars: The P pillars of a sweep.
        """
        given = NetworkInput.from_pillars([pillars], self._sparse_levels, STEP_ROWS)
        with no_fork():
            outputs = self._session().run(OUTPUT_NAMES, given.arrays())
        return PillarEmbeddings(*(output[: given.num_pillars] for output in outputs))

    def use_one_thread(self) -> None:
        """See `Engine.use_one_thread`."""
        self._of_thread.threads = 1

    def _session(self) -> Any:
        threads = getattr(self._of_thread, "threads", num_threads())
        key = os.getpid(), threads
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = self._load(threads)
        return self._sessions[key]

    def _load(self, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            self._model, options, providers=["CPUExecutionProvider"]
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxEngine, (self._model, self._sparse_levels)
