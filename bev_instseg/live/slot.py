"""Hand the newest item from one thread to another; older items are dropped, never queued."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class NewestSlot(Generic[Item]):
    """Holds at most one item: the newest that has not been taken.

    Attributes:
        num_put: Number of items so far.
        num_dropped: Number of items that were replaced before they were taken.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.num_put = self.num_dropped = 0
        self._item: Item | None = None
        self._filled = threading.Condition()

    def put(self, item: Item) -> None:
        """Replace the item by a newer one; never waits."""
        with self._filled:
            self.num_put += 1
            self.num_dropped += self._item is not None
            self._item = item
            self._filled.notify()

    def take(self, timeout_s: float) -> Item | None:
        """Remove the item and return it; None if none arrives in time.

        Args:
            timeout_s: How long to wait.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._item is not None, timeout_s)
            item, self._item = self._item, None
            return item
