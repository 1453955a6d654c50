"""Hand the newest item from one thread to another; older ones are dropped, never queued."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class NewestSlot(Generic[Item]):
    """Holds at most one item: the newest that was not taken yet.

    Attributes:
        num_put: How many items there were so far.
        num_dropped: How many items were replaced before they were taken.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self.num_put = self.num_dropped = 0
        self._item: Item | None = None
        self._filled = threading.Condition()

    def put(self, item: Item) -> None:
        """Hold an item instead of the one before; never waits."""
        with self._filled:
            self.num_put += 1
            self.num_dropped += self._item is not None
            self._item = item
            self._filled.notify()

    def take(self, timeout_s: float) -> Item | None:
        """Return the item and hold nothing; None if none comes in time.

        Args:
            timeout_s: How long to wait.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._item is not None, timeout_s)
            item, self._item = self._item, None
            return item
