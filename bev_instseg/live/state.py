"""Rate and latencies of live sweeps."""

import threading
import time
from collections import deque

import numpy as np

MAX_KEPT = 1000  # latest latencies, whose median and 99th percentile are shown
MAX_CLOCK_GAP_S = 60.0  # older stamps come from a different clock


class LiveState:
    """Rate and latencies; one thread writes them and another one reads them."""

    def __init__(self) -> None:
        """Begin without sweeps."""
        self.num_sweeps = self.num_objects = 0
        self._from_arrival_s: deque[float] = deque(maxlen=MAX_KEPT)
        self._from_stamp_s: deque[float] = deque(maxlen=MAX_KEPT)
        self._ends_s: deque[float] = deque(maxlen=MAX_KEPT)
        self._first_s = 0.0
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, arrived_s: float, num_objects: int) -> None:
        """Count a sweep whose results have just been published.

        Args:
            stamp_ns: Its stamp.
            arrived_s: Time of its arrival, by ``time.perf_counter``.
            num_objects: Number of objects found.
        """
        now_s = time.perf_counter()
        late_s = (time.time_ns() - stamp_ns) / 1e9
        with self._lock:
            self._first_s = self._first_s or now_s
            self.num_sweeps += 1
            self.num_objects = num_objects
            self._ends_s.append(now_s)
            self._from_arrival_s.append(now_s - arrived_s)
            if 0 <= late_s < MAX_CLOCK_GAP_S:
                self._from_stamp_s.append(late_s)

    def rate(self, window_s: float | None = None) -> str:
        """Return the rate; there must be results.

        Args:
            window_s: Number of seconds before now that it covers; None for the whole session.
        """
        with self._lock:
            ends_s, count = np.array(self._ends_s), self.num_sweeps
        if window_s is not None:
            recent = np.count_nonzero(ends_s > time.perf_counter() - window_s)
            return f"{recent / window_s:.1f} sweeps/s"
        span_s = ends_s[-1] - self._first_s if count > 1 else np.inf
        return f"{count} sweeps, {(count - 1) / span_s:.1f} a second"

    def latencies(self) -> str:
        """Return the latencies of the last `MAX_KEPT` sweeps."""
        with self._lock:
            arrival, stamp = (np.array(q) for q in (self._from_arrival_s, self._from_stamp_s))
        from_stamp = f"from stamp {_spread(stamp)}" if len(stamp) else "stamps from another clock"
        return f"from arrival {_spread(arrival)}, {from_stamp}"


def _spread(latencies_s: np.ndarray) -> str:
    """Return the median and the 99th percentile in milliseconds; there must be values."""
    median, most = 1000 * np.quantile(latencies_s, (0.5, 0.99))
    return f"{median:.0f} ms (99 %: {most:.0f})"
