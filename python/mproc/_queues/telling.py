"""Subclasses of Queue whose overridden methods are called by the others.

One that overrides _on_queue_feeder_error() is told what cannot be sent. In the standard library the
error of an object that cannot be pickled comes up in a thread, behind put(), and goes to that
method. Here put() itself raises it, but not for those who override.
"""

from __future__ import annotations

from .._overriding import overrides, put_between
from ..queues import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeVar

    _T = TypeVar("_T")

__all__ = ["complete", "put_many_or_tell"]


class QueueByName(Queue["Any"]):
    """A queue whose methods call put() and get() by name."""

    def put_nowait(self, obj: Any) -> None:
        """Append an object if there is room; queue.Full."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """Take the oldest object if there is one; queue.Empty."""
        return self.get(False)


def put_many_or_tell(
    self: Queue[_T], iterable: Iterable[_T], block: bool = True, timeout: float | None = None
) -> None:
    """Put objects one by one; those that cannot be sent are told to the queue and left out."""
    from time import monotonic

    end = None if timeout is None else monotonic() + timeout
    for count, obj in enumerate(iterable):
        try:
            self.put(obj, block, None if end is None else max(end - monotonic(), 0))
        except BaseException as error:
            error.items_put = count  # type: ignore[attr-defined]
            raise


class TellingQueue(QueueByName):
    """A queue whose put() tells it what cannot be sent."""

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an object; if it cannot be sent, that is no error of this call but told."""
        from queue import Full

        try:
            super().put(obj, block, timeout)
        except Full:
            raise
        except Exception as error:
            if self._closed:
                raise
            self._on_queue_feeder_error(error, obj)

    put_many = put_many_or_tell


def complete(cls: type[Queue[Any]]) -> None:
    """Give a subclass of Queue that overrides something what it relies on."""
    tells = overrides(cls, Queue, "_on_queue_feeder_error")
    put_between(cls, Queue, TellingQueue if tells else QueueByName)
