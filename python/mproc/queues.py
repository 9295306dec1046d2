"""Queues between processes.

put() pickles in the calling thread: an object that cannot be sent is an error of that call, and no
other thread sends anything. When put() has returned, the object is in the queue, whatever happens
to the process that put it.
"""

from __future__ import annotations

from . import _current, _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from queue import Empty as Empty
    from queue import Full as Full
    from typing import Any, Generic, TypeVar

    from ._queues.ends import Reader, Writer
    from ._queues.parts import Room
    from ._queues.shut import ShutDown as ShutDown
    from .context import BaseContext

    _T = TypeVar("_T")

    class _Queue(_mproc.Queue[_T], Generic[_T]): ...

    class _SimpleQueue(_mproc.SimpleQueue[_T], Generic[_T]): ...

else:
    _T = ...
    _Queue = {_T: _mproc.Queue}
    _SimpleQueue = {_T: _mproc.SimpleQueue}

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_current.use_begins()

_current.import_for_queues()

_sentinel = object()  # for programs whose own feeder thread is told by it to end

_ELSEWHERE = {
    "Empty": "queue",
    "Full": "queue",
    "ShutDown": "._queues.shut",
    "Finalize": ".util",
    "debug": ".util",
    "info": ".util",
    "is_exiting": ".util",
    "register_after_fork": ".util",
    "_ForkingPickler": ".reduction",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Offer names of other modules, which are imported when they are first needed."""
        place = _ELSEWHERE.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = getattr(importlib.import_module(place, __package__), name.removeprefix("_"))
        return globals().setdefault(name, found)

    def __dir__():
        return sorted({*globals(), *_ELSEWHERE})


def _perhaps_piped(cls: type) -> None:
    """Give a subclass a pipe if it works on the parts that a queue over a pipe has."""
    from ._queues import piped

    if piped.names_parts(cls):
        piped.become_piped(cls)


class _Ends:
    """What a queue shows of itself to programs that know it as a pipe.

    It has no dict of its own: a queue is made in half a microsecond, of which that would be a part.
    What is seldom looked at has its code in `_queues/parts.py`.
    """

    __slots__ = ()

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))  # makes Queue[int] what list[int] is

    if TYPE_CHECKING:

        @property
        def _closed(self) -> bool: ...
        @property
        def _watched(self) -> bool: ...
        @_watched.setter
        def _watched(self, value: bool) -> None: ...

        def _another(self) -> Any: ...

    @property
    def _reader(self) -> Reader:
        """The end to wait at: its descriptor is readable while an object is in the queue."""
        from ._queues import parts

        return parts.reader_of(self)

    @property
    def _writer(self) -> Writer:
        """The other end. Its descriptor is always writable, also while a bounded queue is full."""
        from ._queues import parts

        return parts.writer_of(self)

    @property
    def _rlock(self) -> Any:
        """A lock of this process' own: reading needs none."""
        from ._queues import parts

        return parts.lock_of(self, "_reading_lock")

    @property
    def _wlock(self) -> Any:
        """A lock of this process' own: writing needs none."""
        from ._queues import parts

        return parts.lock_of(self, "_writing_lock")

    def _changed(self) -> None:
        """Tell the reading end of a put or a get; see `_watched` in the C type."""
        reader: Reader | None = self.__dict__.get("_reading_end")
        if reader is None or not reader._update():
            self._watched = False

    def aget(self) -> Coroutine[Any, Any, Any]:
        """Take the oldest object, in an asyncio program: `await queue.aget()`."""
        from . import aio

        return aio.get(self)

    def aput(self, obj: Any) -> Coroutine[Any, Any, None]:
        """Append an object once there is room, in an asyncio program."""
        from . import aio

        return aio.put(self, obj)

    def _close_ends(self) -> None:
        for name in ("_reading_end", "_writing_end"):
            end = self.__dict__.get(name)
            if end is not None:
                end.close()


class Queue(_Queue[_T], _Ends):
    """First in, first out, for any number of producers and consumers in any process.

    maxsize: the most objects in it at a time; 0 or less: as many as memory holds. maxbytes: put()
    waits while the messages in it have so many bytes or more together; 0 or less: no such limit.
    """

    # What the standard queue keeps for its thread. Here there is none, and nothing waits for it.
    _thread = None
    _buffer: tuple[Any, ...] = ()
    _ignore_epipe = False
    _jointhread = _close = None
    _joincancelled = False
    _in_arena = True

    def __init__(
        self, maxsize: int = 0, *, maxbytes: int = 0, ctx: BaseContext | None = None
    ) -> None:
        self._make(maxsize)
        if maxbytes > 0:
            self._bound_bytes(maxbytes)
        if ctx is not None and ctx._name == "fork":
            self._is_fork_ctx = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a subclass what it relies on.

        That is a pipe, if it works on the parts of one; otherwise methods that call those which it
        overrides.
        """
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == __package__:
            return
        _perhaps_piped(cls)
        own = _mproc.Queue
        if cls._in_arena and (
            cls.put is not own.put
            or cls.get is not own.get
            or cls._on_queue_feeder_error is not Queue._on_queue_feeder_error
        ):
            from ._queues import telling

            telling.complete(cls)

    @staticmethod
    def _on_queue_feeder_error(e: Exception, obj: object) -> None:
        """Print what happened, instead of sending obj: for subclasses, which may override it."""
        from ._cpython import print_error

        print_error(e)

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
    def _sem(self) -> Room:
        from ._queues import parts

        return parts.Room(self)

    @property
    def _notempty(self) -> Any:
        """A condition of this process' own, of which nobody is notified."""
        from ._queues import parts

        return parts.condition_of(self)

    def _reset(self, after_fork: bool = False) -> None:
        """Do nothing: a process keeps no objects back that it has put."""

    def _after_fork(self) -> None:
        """Do nothing, for the same reason."""

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


class JoinableQueue(Queue[_T]):
    """A queue that can be waited for until all that was put has been worked on."""

    task_done = _mproc.Queue._task_done
    join = _mproc.Queue._join

    def ajoin(self) -> Coroutine[Any, Any, None]:
        """Wait, in an asyncio program, until all that was put has been reported done."""
        from . import aio

        return aio.join(self)


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
