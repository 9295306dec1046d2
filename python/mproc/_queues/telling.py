"""Putting for subclasses that override _on_queue_feeder_error(): they are told what cannot be sent.

In the standard library the error of an object that cannot be pickled comes up in a thread, behind
put(), and goes to that method. Here put() itself raises it, but not for those who override.
"""

from __future__ import annotations

from .. import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeVar

    from ..queues import Queue

    _T = TypeVar("_T")

__all__ = ["put_many_or_tell", "put_nowait_or_tell", "put_or_tell", "tell"]


def tell(cls: Any) -> None:
    """Have the class' puts tell its objects what cannot be sent."""
    cls.put, cls.put_nowait, cls.put_many = put_or_tell, put_nowait_or_tell, put_many_or_tell


def put_or_tell(self: Queue[_T], obj: _T, block: bool = True, timeout: float | None = None) -> None:
    """Put an object; if it cannot be sent, that is no error of this call but told to the queue."""
    from queue import Full

    try:
        _mproc.Queue.put(self, obj, block, timeout)
    except Full:
        raise
    except Exception as error:
        if self._closed:
            raise
        self._on_queue_feeder_error(error, obj)


def put_nowait_or_tell(self: Queue[_T], obj: _T) -> None:
    """Put an object if there is room, in the same way."""
    self.put(obj, False)


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
