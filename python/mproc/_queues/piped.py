"""Queues over a pipe: for subclasses that work on the parts which a standard queue has.

Some libraries derive from Queue or SimpleQueue and rewrite what it is made of: they pickle its
connections and locks themselves, or replace the thread that feeds the pipe. They need a queue that
has these parts. So a subclass that names one of them is derived from a class of this module, which
`become_piped()` puts among its bases. All other queues are those of the arena.

How it works. put() appends to `_buffer`, and a thread of the process, started by the first put,
pickles what is there and writes it into the pipe under `_wlock`. get() reads from the pipe under
`_rlock`. `_sem` counts the room that is left. The parts come from the queue's context, which may be
the library's own.

Shared state. The pipe and the semaphores, by all processes that have the queue. The buffer, under
`_notempty`, is the process' own: a forked child begins with an empty one.

If a process dies: a reader or writer of a lock of mproc leaves it to the next, which is told so by
OwnerDiedError. What was in the buffer is lost, and what was half in the pipe makes it unreadable.
"""

from __future__ import annotations

import copyreg
import os
import threading
from collections import deque
from time import monotonic as _monotonic
from weakref import ref as _reference

from .. import connection, queues, reduction, util
from ..context import assert_spawning, share
from . import telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["PipedJoinableQueue", "PipedQueue", "PipedSimpleQueue", "become_piped", "names_parts"]

_MOST = 2**31 - 1  # of a queue without a bound: what a semaphore of the system can count

# Methods by which a subclass replaces the feeding thread, and parts that no queue of the arena has.
_FEEDING = {"_feed", "_start_thread"}
_PARTS = {"_rlock", "_wlock", "_sem", "_notempty", "_send_bytes", "_recv_bytes", "_jointhread"}


def names_parts(cls: type) -> bool:
    """Return whether a class, by itself, works on the parts of a queue over a pipe."""
    own = vars(cls)
    if not _FEEDING.isdisjoint(own):
        return True
    codes = (getattr(value, "__code__", None) for value in own.values())
    return any(code is not None and not _PARTS.isdisjoint(code.co_names) for code in codes)


def become_piped(cls: type) -> None:
    """Have a new subclass derive from a queue over a pipe where it derives from one of the arena.

    Its base may be such a subclass already.
    """
    if not issubclass(cls, _Piped):
        cls.__bases__ = tuple(_PIPED_OF.get(base, base) for base in cls.__bases__)


class _Piped:
    """What both kinds of queue have in common."""

    # Queue and SimpleQueue have properties of these names.
    _closed: Any = False
    _reader: Any = None
    _writer: Any = None
    _rlock: Any = None
    _wlock: Any = None

    if TYPE_CHECKING:

        def __getstate__(self) -> tuple[Any, ...]: ...

    def _make_pipe(self, ctx: Any) -> None:
        self._reader, self._writer = connection.Pipe(duplex=False)
        self._rlock = ctx.Lock()
        self._wlock = ctx.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if (shared := share(self)) is not None:
            return shared
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]


class PipedQueue(_Piped, queues.Queue["Any"]):
    """First in, first out, over a pipe that a thread of each process feeds."""

    _maxsize: Any = 0
    _sem: Any = None
    _opid: Any = 0
    _buffer: Any = ()
    _notempty: Any = None
    _in_arena = False

    def __init__(self, maxsize: int = 0, *, ctx: Any) -> None:
        self._maxsize = maxsize if maxsize > 0 else _MOST
        self._make_pipe(ctx)
        self._opid = os.getpid()
        self._sem = ctx.BoundedSemaphore(self._maxsize)
        self._ignore_epipe = False
        self._reset()
        util.register_after_fork(self, PipedQueue._after_fork)

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        parts = (self._ignore_epipe, self._maxsize, self._reader, self._writer)
        return (*parts, self._rlock, self._wlock, self._sem, self._opid)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._ignore_epipe, self._maxsize, self._reader, self._writer = state[:4]
        self._rlock, self._wlock, self._sem, self._opid = state[4:]
        self._reset()

    def _after_fork(self) -> None:
        self._reset(after_fork=True)

    def _reset(self, after_fork: bool = False) -> None:
        """Begin without a thread, and with an empty buffer."""
        self._notempty = threading.Condition(threading.Lock())
        self._buffer = deque()
        self._thread: Any = None
        self._jointhread: Any = None
        self._close: Any = None
        self._joincancelled = False
        self._closed = False
        self._send_bytes = self._writer.send_bytes
        self._recv_bytes = self._reader.recv_bytes
        self._poll = self._reader.poll

    # -- using

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an object; wait for room. queue.Full. ValueError: closed."""
        self._check_open()
        if not self._sem.acquire(block, timeout):
            raise queues.Full
        with self._notempty:
            if self._thread is None:
                self._start_thread()
            self._buffer.append(obj)
            self._notempty.notify()

    def shutdown(self, immediate: bool = False) -> None:
        """NotImplementedError: a pipe cannot tell all of its ends."""
        raise NotImplementedError("a queue over a pipe cannot be shut down")

    def put_nowait(self, obj: Any) -> None:
        """Append an object if there is room. queue.Full."""
        self.put(obj, False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest object; wait for one. queue.Empty. ValueError: closed."""
        self._check_open()
        deadline = None if timeout is None else _monotonic() + timeout
        if not self._rlock.acquire(block, timeout):
            raise queues.Empty
        try:
            data = self._receive(block, deadline)
        finally:
            self._rlock.release()
        return reduction.ForkingPickler.loads(data)

    put_many = telling.put_many_or_tell

    def get_many(self, n: int, block: bool = True, timeout: float | None = None) -> list[Any]:
        """Take at most n objects; wait for the first one. queue.Empty. ValueError: closed."""
        taken = [self.get(block, timeout)] if n > 0 else []
        try:
            while len(taken) < n:
                taken.append(self.get(False))
        except queues.Empty:
            pass
        return taken

    def get_nowait(self) -> Any:
        """Take the oldest object if there is one. queue.Empty."""
        return self.get(False)

    def _receive(self, block: bool, deadline: float | None) -> bytes:
        if not block:
            there = self._poll()
        elif deadline is not None:
            there = self._poll(max(deadline - _monotonic(), 0))
        else:
            there = True
        if not there:
            raise queues.Empty
        data: bytes = self._recv_bytes()
        self._sem.release()
        return data

    def qsize(self) -> int:
        """Return how many objects have been put and not taken."""
        return int(self._maxsize - self._sem.get_value())

    def empty(self) -> bool:
        """Return whether there is nothing to be taken."""
        return not self._poll()

    def full(self) -> bool:
        """Return whether there is no room."""
        return bool(self._sem.get_value() == 0)

    # -- ending

    def close(self) -> None:
        """Put no more in this process; what was put before is still sent."""
        self._closed = True
        close, self._close = self._close, None
        if close is not None:
            close()

    def join_thread(self) -> None:
        """Wait, after close(), until all that was put has been sent."""
        assert self._closed, f"Queue {self!r} not closed"
        if self._jointhread is not None:
            self._jointhread()

    def cancel_join_thread(self) -> None:
        """Do not wait at exit for what was put to be sent."""
        self._joincancelled = True
        if self._jointhread is not None:
            self._jointhread.cancel()

    def _terminate_broken(self) -> None:
        """Give the queue up: its consumers have died, and a full pipe must not stop the thread."""
        self._reader.close()
        self._writer.close()
        self.close()
        self.join_thread()

    # -- the thread

    def _start_thread(self) -> None:
        """Start the thread; the caller has _notempty."""
        self._buffer.clear()
        self._thread = threading.Thread(
            target=self._feed,
            args=(
                self._buffer,
                self._notempty,
                self._send_bytes,
                self._wlock,
                self._writer.close,
                self._ignore_epipe,
                self._on_queue_feeder_error,
                self._sem,
            ),
            name="QueueFeederThread",
            daemon=True,
        )
        self._thread.start()
        if not self._joincancelled:
            self._jointhread = util.Finalize(
                self._thread, self._finalize_join, [_reference(self._thread)], exitpriority=-5
            )
        ends = [self._buffer, self._notempty]
        self._close = util.Finalize(self, self._finalize_close, ends, exitpriority=10)

    @staticmethod
    def _finalize_join(reference: Callable[[], threading.Thread | None]) -> None:
        thread = reference()
        if thread is not None:
            thread.join()

    @staticmethod
    def _finalize_close(buffer: deque[Any], notempty: threading.Condition) -> None:
        with notempty:
            buffer.append(queues._sentinel)
            notempty.notify()

    @staticmethod
    def _feed(
        buffer: deque[Any],
        notempty: threading.Condition,
        send_bytes: Callable[[Any], None],
        writelock: Any,
        close: Callable[[], None],
        ignore_epipe: bool,
        onerror: Callable[[Exception, Any], None],
        queue_sem: Any,
    ) -> None:
        """Send what comes into a buffer, until it is the end."""
        while True:
            with notempty:
                notempty.wait_for(lambda: buffer)
                obj = buffer.popleft()
            if obj is queues._sentinel:
                close()
                return
            try:
                _send(obj, send_bytes, writelock)
            except Exception as error:
                if (ignore_epipe and isinstance(error, BrokenPipeError)) or util.is_exiting():
                    return
                queue_sem.release()
                onerror(error, obj)
            del obj  # while it waits, it keeps nothing


def _send(obj: Any, send_bytes: Callable[[Any], None], writelock: Any) -> None:
    data = reduction.ForkingPickler.dumps(obj)
    with writelock:
        send_bytes(data)


class PipedJoinableQueue(PipedQueue):
    """A queue over a pipe that can be waited for until all has been worked on."""

    def __init__(self, maxsize: int = 0, *, ctx: Any) -> None:
        super().__init__(maxsize, ctx=ctx)
        self._unfinished_tasks = ctx.Semaphore(0)
        self._cond = ctx.Condition()

    def __getstate__(self) -> tuple[Any, ...]:
        return (*super().__getstate__(), self._cond, self._unfinished_tasks)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        super().__setstate__(state[:-2])
        self._cond, self._unfinished_tasks = state[-2:]

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an object, which somebody has to call task_done() for."""
        with self._cond:
            super().put(obj, block, timeout)
            self._unfinished_tasks.release()

    def task_done(self) -> None:
        """Say that one of the objects has been worked on. ValueError: more often than put."""
        with self._cond:
            if not self._unfinished_tasks.acquire(False):
                raise ValueError("task_done() called too many times")
            if self._unfinished_tasks.get_value() == 0:
                self._cond.notify_all()

    def join(self) -> None:
        """Wait until all that was put has been worked on."""
        with self._cond:
            while self._unfinished_tasks.get_value() > 0:
                self._cond.wait()


class PipedSimpleQueue(_Piped, queues.SimpleQueue["Any"]):
    """A queue over a pipe with little more than put() and get()."""

    def __init__(self, *, ctx: Any) -> None:
        self._make_pipe(ctx)

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return self._reader, self._writer, self._rlock, self._wlock

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._reader, self._writer, self._rlock, self._wlock = state

    def _poll(self, timeout: float | None = 0) -> bool:
        return bool(self._reader.poll(timeout))

    def empty(self) -> bool:
        """Return whether there is nothing to be taken."""
        return not self._poll()

    def get(self) -> Any:
        """Take the oldest object; wait for one."""
        with self._rlock:
            data = self._reader.recv_bytes()
        return reduction.ForkingPickler.loads(data)

    def put(self, obj: Any) -> None:
        """Append an object."""
        data = reduction.ForkingPickler.dumps(obj)
        with self._wlock:
            self._writer.send_bytes(data)

    def close(self) -> None:
        """Close the pipe in this process."""
        self._closed = True
        self._reader.close()
        self._writer.close()


_PIPED_OF: dict[type, type] = {
    queues.Queue: PipedQueue,
    queues.JoinableQueue: PipedJoinableQueue,
    queues.SimpleQueue: PipedSimpleQueue,
}
