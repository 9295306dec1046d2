"""Queues between processes.

put() pickles in the calling thread: an object that cannot be sent is an error of that call, and no
other thread sends anything. When put() has returned, the object is in the queue, whatever happens
to the process that put it.
"""

from __future__ import annotations

from . import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from queue import Empty as Empty
    from queue import Full as Full
    from typing import Any, Generic, TypeVar

    from ._queues.ends import Reader, Writer
    from .context import BaseContext

    _T = TypeVar("_T")

    class _Queue(_mproc.Queue, Generic[_T]): ...

    class _SimpleQueue(_mproc.SimpleQueue, Generic[_T]): ...

else:
    _alias = classmethod(type(list[int]))  # makes Queue[int] what list[int] is
    _T = ...
    _Queue = {_T: type("_Queue", (_mproc.Queue,), {"__class_getitem__": _alias})}
    _SimpleQueue = {_T: type("_SimpleQueue", (_mproc.SimpleQueue,), {"__class_getitem__": _alias})}

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_sentinel = object()  # for programs whose own feeder thread is told by it to end

if not TYPE_CHECKING:

    def __getattr__(name):
        """Offer queue.Empty and queue.Full, which are imported when they are first needed."""
        if name not in ("Empty", "Full"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import queue

        return globals().setdefault(name, getattr(queue, name))


def _perhaps_piped(cls: type) -> None:
    """Give a subclass a pipe if it works on the parts that a queue over a pipe has."""
    from ._queues import piped

    if piped.names_parts(cls):
        piped.become_piped(cls)


class _Ends:
    """What a queue shows of itself to programs that know it as a pipe.

    It has no dict of its own: a queue is made in half a microsecond, of which that would be a part.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def _closed(self) -> bool: ...
        @property
        def _watched(self) -> bool: ...
        @_watched.setter
        def _watched(self, value: bool) -> None: ...

        def _another(self) -> _mproc.Queue: ...

    @property
    def _reader(self) -> Reader:
        """The end to wait at: its descriptor is readable while an object is in the queue."""
        reader: Reader | None = self.__dict__.get("_reading_end")
        if reader is None:
            from ._queues.ends import Reader

            reader = self.__dict__["_reading_end"] = Reader(self._another(), self)
            if self._closed:
                reader.close()
        return reader

    @property
    def _writer(self) -> Writer:
        """The other end. Its descriptor is always writable, also while a bounded queue is full."""
        writer: Writer | None = self.__dict__.get("_writing_end")
        if writer is None:
            from ._queues.ends import Writer

            writer = self.__dict__["_writing_end"] = Writer(self._another())
            if self._closed:
                writer.close()
        return writer

    def _lock_of(self, name: str) -> Any:
        if name not in self.__dict__:
            from .synchronize import Lock

            self.__dict__[name] = Lock(ctx=None)
        return self.__dict__[name]

    @property
    def _rlock(self) -> Any:
        """A lock of this process' own: reading needs none."""
        return self._lock_of("_reading_lock")

    @property
    def _wlock(self) -> Any:
        """A lock of this process' own: writing needs none."""
        return self._lock_of("_writing_lock")

    def _changed(self) -> None:
        """Tell the reading end of a put or a get; see `_watched` in the C type."""
        reader: Reader | None = self.__dict__.get("_reading_end")
        if reader is None or not reader._update():
            self._watched = False

    def _close_ends(self) -> None:
        for name in ("_reading_end", "_writing_end"):
            end = self.__dict__.get(name)
            if end is not None:
                end.close()


class Queue(_Queue[_T], _Ends):
    """First in, first out, for any number of producers and consumers in any process.

    maxsize: the most objects in it at a time; 0 or less: as many as memory holds.
    """

    # What the standard queue keeps for its thread. Here there is none, and nothing waits for it.
    _thread = None
    _buffer: tuple[Any, ...] = ()
    _ignore_epipe = False
    _in_arena = True

    def __init__(self, maxsize: int = 0, *, ctx: BaseContext | None = None) -> None:
        self._make(maxsize)
        if ctx is not None and ctx._name == "fork":
            self._is_fork_ctx = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a subclass what it relies on.

        That is a pipe, if it works on the parts of one; or a put() that calls
        `_on_queue_feeder_error`, if it overrides that.
        """
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == __package__:
            return
        _perhaps_piped(cls)
        if "_on_queue_feeder_error" in vars(cls) and cls._in_arena:
            telling: Any = cls
            telling.put, telling.put_nowait = _put_or_tell, _put_nowait_or_tell
            telling.put_many = _put_many_or_tell

    @staticmethod
    def _on_queue_feeder_error(e: Exception, obj: object) -> None:
        """Print what happened, instead of sending obj: for subclasses, which may override it."""
        import traceback

        traceback.print_exception(e)

    def close(self) -> None:
        """Give the queue up in this process; others may go on."""
        super().close()
        self._close_ends()

    def join_thread(self) -> None:
        """Do nothing, after close(): there is no thread, and nothing that has not been sent."""
        assert self._closed, f"Queue {self!r} not closed"

    def _terminate_broken(self) -> None:
        """Give the queue up in this process: its consumers have died."""
        self.close()

    @property
    def _opid(self) -> int:
        return _mproc.getpid()

    @property
    def _sem(self) -> _Room:
        return _Room(self)

    def cancel_join_thread(self) -> None:
        """Do nothing: no process waits for a queue when it ends."""

    # A tuple: subclasses append what they have.
    def __getstate__(self) -> tuple[Any, ...]:
        return (self._maxsize,)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        (self._maxsize,) = state

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)


class _Room:
    """What stands for the semaphore that counts the room in a standard queue: its value."""

    def __init__(self, queue: Queue[Any]) -> None:
        self._queue = queue

    def get_value(self) -> int:
        """Return how many objects there is room for."""
        from .synchronize import SEM_VALUE_MAX

        return (self._queue._maxsize or SEM_VALUE_MAX) - self._queue.qsize()


def _put_or_tell(
    self: Queue[_T], obj: _T, block: bool = True, timeout: float | None = None
) -> None:
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


def _put_nowait_or_tell(self: Queue[_T], obj: _T) -> None:
    self.put(obj, False)


def _put_many_or_tell(
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


class JoinableQueue(Queue[_T]):
    """A queue that can be waited for until all that was put has been worked on."""

    task_done = _mproc.Queue._task_done
    join = _mproc.Queue._join


class SimpleQueue(_SimpleQueue[_T], _Ends):
    """A queue with little more than put() and get(), and no bound."""

    def __init__(self, *, ctx: BaseContext | None = None) -> None:
        self._make()
        if ctx is not None and ctx._name == "fork":
            self._is_fork_ctx = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a subclass a pipe, if it works on the parts of one."""
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] != __package__:
            _perhaps_piped(cls)

    def close(self) -> None:
        """Give the queue up in this process; others may go on."""
        super().close()
        self._close_ends()

    def _poll(self, timeout: float | None = 0) -> bool:
        return self._await(timeout)

    def __getstate__(self) -> tuple[Any, ...]:
        return ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Do nothing: there is no more to a queue than its address."""

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)
