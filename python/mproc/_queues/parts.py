"""The parts of a standard queue that programs look at: what stands for each of them here.

They are made when they are first asked for, so they have a file of their own: most programs ask for
none, and a queue is made in half a microsecond. Of two threads that ask at the same time the first
one's counts (dict.setdefault).
"""

from __future__ import annotations

from .ends import Reader, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..queues import Queue, _Ends

__all__ = ["Room", "condition_of", "lock_of", "reader_of", "writer_of"]


def reader_of(queue: _Ends) -> Reader:
    """Return the end to wait at: its descriptor is readable while an object is in the queue."""
    reader: Reader | None = queue.__dict__.get("_reading_end")
    if reader is None:
        reader = queue.__dict__.setdefault("_reading_end", Reader(queue._another(), queue))
        if queue._closed:
            reader.close()
    return reader


def writer_of(queue: _Ends) -> Writer:
    """Return the other end; its descriptor is always writable."""
    writer: Writer | None = queue.__dict__.get("_writing_end")
    if writer is None:
        writer = queue.__dict__.setdefault("_writing_end", Writer(queue._another()))
        if queue._closed:
            writer.close()
    return writer


def lock_of(queue: _Ends, name: str) -> Any:
    """Return a lock of this process' own: reading and writing need none."""
    if name not in queue.__dict__:
        from ..synchronize import Lock

        queue.__dict__.setdefault(name, Lock(ctx=None))
    return queue.__dict__[name]


def condition_of(queue: _Ends) -> Any:
    """Return a condition of this process' own, for programs that hold it while they look."""
    if "_condition" not in queue.__dict__:
        import threading

        queue.__dict__.setdefault("_condition", threading.Condition(threading.Lock()))
    return queue.__dict__["_condition"]


class Room:
    """What stands for the semaphore that counts the room in a standard queue: its value."""

    def __init__(self, queue: Queue[Any]) -> None:
        self._queue = queue

    def get_value(self) -> int:
        """Return how many objects there is room for."""
        return self._queue._maxsize - self._queue.qsize()
