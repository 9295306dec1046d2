"""The ends of a queue, for programs that know it as a pipe: `queue._reader`, `queue._writer`.

A queue of the arena has no descriptor, but programs wait for several queues, or for a queue and
other things, with connection.wait(), select or asyncio. The reading end has one, made when somebody
asks for it: an eventfd that is readable while an object is in the queue.

How it works. Puts and gets of this process through the same queue object set and clear the eventfd
themselves. For those of others a thread waits until an object is there, without taking it, and sets
the eventfd. While it is set the thread looks every SLICE whether others have emptied the queue.

What holds.
  1  While an object is in the queue, the descriptor is or soon becomes readable: within a wake of
     the thread, some 50 us, if another process put it.
  2  While there is none, it is or soon becomes unreadable: within SLICE, if another one took it.
     So it is with every queue that several read: who is told of an object may find it gone.
  3  Each process has a descriptor of its own. A forked child that asks gets a new one; the number
     that its parent asked for says nothing there.

Shared state, private to the process, under Reader._lock: _fd, _set (whether it is readable). _pid
is the process whose they are. Descriptors are made under _arming, of which each process has its
own, and given back by whoever takes _fd out of the end. The thread keeps a handle of the queue, but
not the end: it ends with it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock as _allocate_lock

from .._cpython import RLock as _RLock
from .._cpython import ref as _reference
from .._descriptor import kept
from .._mproc import getpid as _getpid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from typing import Any

    from .. import _mproc

__all__ = ["Reader", "Writer"]

SLICE = 0.05  # seconds between two looks at whether others have emptied the queue


_arming = _RLock()  # a signal handler may ask for a descriptor, too


def _after_fork_in_child() -> None:
    global _arming
    _arming = _RLock()  # a thread of the parent may have had it


os.register_at_fork(after_in_child=_after_fork_in_child)


class _End:
    """What both ends have in common."""

    _fd = -1

    def __init__(self, handle: _mproc.Queue) -> None:
        self._handle = handle
        self._pid = 0
        self.closed = False

    def _check_open(self) -> None:
        if self.closed:
            raise OSError("handle is closed")

    def _number(self) -> int:
        fd = self._fd
        if self.closed or fd < 0:  # another thread has just closed the end, and perhaps before
            self.close()
            raise OSError("handle is closed")
        return fd

    def close(self) -> None:
        """Give the descriptor back; the queue stays as it is."""
        self.closed = True
        self._forget()

    def _forget(self) -> None:
        if self._fd < 0:  # an end whose dictionary is asked for is slower from then on
            return
        fd = self.__dict__.pop("_fd", -1)  # by one step: no two threads close the same one
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self._forget()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Reader(_End):
    """The end of a queue where objects come out."""

    readable = True
    writable = False

    def __init__(self, handle: _mproc.Queue, queue: Any) -> None:
        super().__init__(handle)
        self._queue = _reference(queue)
        self._set = False
        self._lock = _RLock()  # a signal handler may use the queue
        self._bell = _allocate_lock()

    def fileno(self) -> int:
        """Return a descriptor that is readable while an object is in the queue."""
        self._check_open()
        if self._pid != _getpid():
            with _arming:
                self._check_open()
                if self._pid != _getpid():  # no other thread was faster
                    self._arm()
        return self._number()

    def close(self) -> None:
        """Give the descriptor back; the queue stays as it is."""
        if self._pid != _getpid():  # the lock may be that of a parent's thread
            super().close()
            return
        with self._lock:  # no thread writes to the descriptor
            super().close()

    def recv(self) -> Any:
        """Take the oldest object; wait for one."""
        self._check_open()
        queue = self._queue()
        if queue is not None:
            return queue.get()
        obj = self._handle.get()
        self._update()
        return obj

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Wait until an object is there, or for that many seconds; return whether it is."""
        self._check_open()
        return self._handle._await(timeout)

    def _arm(self) -> None:
        """Make the descriptor, and start the thread that minds it, in this process."""
        import threading

        self._forget()  # a parent's
        self._lock = _RLock()
        self._bell = _allocate_lock()
        self._bell.acquire()
        self._fd = kept(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._set = False
        self._pid = _getpid()
        queue = self._queue()
        if queue is not None:
            queue._watched = True
        self._update()
        threading.Thread(
            target=_mind,
            args=(_reference(self), self._handle, self._bell),
            name="mproc-queue",
            daemon=True,
        ).start()

    def _update(self) -> bool:
        """Make the descriptor tell the truth. False: it is not this process'."""
        if self._pid != _getpid():
            return False
        with self._lock:
            if self._fd < 0:
                return False
            there = self._handle._await(0)  # an object, or the end of the queue
            if there and not self._set:
                os.eventfd_write(self._fd, 1)
            elif self._set and not there:
                self._clear()
            self._set = there
        return True

    def _clear(self) -> None:
        try:  # noqa: SIM105 # contextlib would cost an import
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass  # a signal handler has just cleared it
        if self._bell.locked():
            self._bell.release()  # the thread waits for the next object


def _mind(reference: Callable[[], Reader | None], handle: _mproc.Queue, bell: LockType) -> None:
    """Have the descriptor follow what other processes do, until the end has gone."""
    while True:
        handle._await(SLICE)
        reader = reference()
        if reader is None or not reader._update():
            return
        there = reader._set
        del reader
        if there:
            bell.acquire(True, SLICE)


class Writer(_End):
    """The end of a queue where objects go in."""

    readable = False
    writable = True

    def fileno(self) -> int:
        """Return a descriptor that is always writable."""
        self._check_open()
        if self._pid != _getpid():
            with _arming:
                self._check_open()
                if self._pid != _getpid():  # no other thread was faster
                    self._forget()
                    self._fd = kept(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
                    self._pid = _getpid()
        return self._number()

    def send(self, obj: object) -> None:
        """Append an object."""
        self._check_open()
        self._handle.put(obj)
