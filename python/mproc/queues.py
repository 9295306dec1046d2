"""Queues between processes.

put() pickles in the caller: what cannot be sent is an error of that call, nothing is lost on the way,
and no thread feeds anything. When put() has returned, the object is in the queue, whatever happens to
the process that put it.
"""

from __future__ import annotations

from . import _mproc, reduction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import BaseContext

__all__ = ["Queue", "SimpleQueue"]

_GenericAlias = type(list[int])


class Queue(_mproc.Queue):
    """First in, first out, for any number of producers and consumers in any process.

    maxsize: the most objects in it at a time; 0 or less: as many as memory holds.
    """

    __class_getitem__ = classmethod(_GenericAlias)

    def __new__(cls, maxsize: int = 0, *, ctx: BaseContext | None = None) -> Queue:
        return super().__new__(cls, maxsize)

    def join_thread(self) -> None:
        """Do nothing: there is no thread, and nothing that has not been sent. After close() only."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Do nothing: no process waits for a queue when it ends."""

    def __getstate__(self) -> int:
        return self._maxsize

    def __setstate__(self, maxsize: int) -> None:
        self._maxsize = maxsize

    def __reduce__(self) -> tuple[Any, ...]:
        return reduction.reduce_handle(self)


class SimpleQueue(_mproc.SimpleQueue):
    """A queue with little more than put() and get(), and no bound."""

    __class_getitem__ = classmethod(_GenericAlias)

    def __new__(cls, *, ctx: BaseContext | None = None) -> SimpleQueue:
        return super().__new__(cls)

    def __getstate__(self) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return reduction.reduce_handle(self)
