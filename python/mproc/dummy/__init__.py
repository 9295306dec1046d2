"""The package's interface with threads in place of processes.

All of it is from threading and queue, except Process, which is a Thread with an exit code and
children.
"""

from __future__ import annotations

import array
import sys
import threading
from queue import Queue
from threading import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    RLock,
    Semaphore,
    current_thread,
)
from weakref import WeakKeyDictionary

from .connection import Pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from ..pool import ThreadPool

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "active_children",
    "current_process",
    "freeze_support",
]


class DummyProcess(threading.Thread):
    """A thread with the interface of a process."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        threading.Thread.__init__(self, group, target, name, args, kwargs or {})
        self._pid = None
        self._children: WeakKeyDictionary[DummyProcess, None] = WeakKeyDictionary()
        self._start_called = False
        self._parent = current_process()

    def start(self) -> None:
        """Start the thread. RuntimeError: another thread has made it."""
        if self._parent is not current_process():
            raise RuntimeError(
                f"Parent is {self._parent!r} but current_process is {current_process()!r}"
            )
        self._start_called = True
        _children_of(self._parent)[self] = None
        threading.Thread.start(self)

    @property
    def exitcode(self) -> int | None:
        """0 when the thread has ended, None before."""
        return 0 if self._start_called and not self.is_alive() else None


Process = DummyProcess
current_process = current_thread
JoinableQueue = Queue


def _children_of(thread: Any) -> WeakKeyDictionary[DummyProcess, None]:
    children: WeakKeyDictionary[DummyProcess, None] | None = getattr(thread, "_children", None)
    if children is None:
        children = thread._children = WeakKeyDictionary()
    return children


def active_children() -> list[DummyProcess]:
    """Return the threads that the calling thread has started and that still run."""
    children = _children_of(current_process())
    for child in list(children):
        if not child.is_alive():
            children.pop(child, None)
    return list(children)


def freeze_support() -> None:
    """Do nothing: there are no child processes."""


class Namespace:
    """An object to set attributes on."""

    def __init__(self, /, **kwds: Any) -> None:
        self.__dict__.update(kwds)

    def __repr__(self) -> str:
        items = [f"{k}={v!r}" for k, v in sorted(self.__dict__.items()) if k[:1] != "_"]
        return f"{type(self).__name__}({', '.join(items)})"


dict = dict
list = list


def Array(typecode: str, sequence: Iterable[Any], lock: bool = True) -> array.array[Any]:
    """Return an array of the standard library's array module."""
    return array.array(typecode, sequence)


class Value:
    """An object with the attribute `value`."""

    def __init__(self, typecode: str, value: Any, lock: bool = True) -> None:
        self._typecode = typecode
        self.value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._typecode!r}, {self.value!r})>"


def Pool(
    processes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
) -> ThreadPool:
    """Return a pool of threads."""
    from ..pool import ThreadPool

    return ThreadPool(processes, initializer, initargs)


def Manager() -> Any:
    """Return this module, which has the methods of a manager."""
    return sys.modules[__name__]


def shutdown() -> None:
    """Do nothing: it is the method of a manager."""
