"""Shared objects of the program that its tasks on an engine use: the tasks' side.

Each class here stands for one of the program's, has its methods, and has them called by the server
of the program (shared.py). A call costs a round trip. A process has one object for each that it
was given lately, and through it a reference at the server.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import OrderedDict

from .._cpython import RLock as _RLock
from .._managers.proxies import (
    AcquirerProxy,
    BarrierProxy,
    BaseProxy,
    ConditionProxy,
    EventProxy,
)
from .._managers.wire import Token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Queue",
    "RLock",
    "Remote",
    "Semaphore",
    "SimpleQueue",
    "Value",
    "arrive",
]

KEPT = 64  # objects of the last tasks: the next one need not ask for them

_recent: OrderedDict[str, Remote] = OrderedDict()
_changing = _RLock()  # of _recent: tasks may have threads, and a signal handler use the object


def _after_fork_in_child() -> None:
    global _changing
    _changing = _RLock()  # a thread of the parent may have had it


os.register_at_fork(after_in_child=_after_fork_in_child)


def arrive(kind: type[Remote], ident: str, address: Any, about: dict[str, Any]) -> Any:
    """Return what was pickled: the object itself, if it has come home.

    OSError: the program cannot be reached. RemoteError: it has the object no more.
    """
    shared = sys.modules.get(f"{__package__}.shared")
    home = None if shared is None else shared.find(ident)
    if home is not None:
        return home
    made = _recent.get(ident)
    if made is None:
        try:
            made = kind(Token(kind.__name__, address, ident), "pickle")
        except OSError as error:
            error.add_note(
                f"The program's {kind.__name__} is at {address[0]}, port {address[1]}, where"
                f" {socket.gethostname()} has to reach it"
            )
            raise
        made._about = about
    return _keep(ident, made)


def _keep(ident: str, made: Remote) -> Remote:
    """Keep an object as the last one; return it, or the one that another thread has made."""
    old = None  # goes when the lock is free: it may call the program
    with _changing:
        made = _recent.setdefault(ident, made)
        _recent.move_to_end(ident)
        if len(_recent) > KEPT:
            _, old = _recent.popitem(last=False)
    del old
    return made


class Remote(BaseProxy):
    """The base of all."""

    _about: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return arrive, (type(self), self._token.id, self._token.address, self._about)

    def __deepcopy__(self, memo: object) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be copied")

    def __repr__(self) -> str:
        host, port = self._token.address
        return f"<{type(self).__name__} of the program at {host}:{port}>"


class _Acquired(Remote, AcquirerProxy):
    """What is acquired and released."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire it, within `timeout` seconds; return whether that succeeded."""
        return self._callmethod("acquire", (block, timeout))  # type: ignore[no-any-return]


class Lock(_Acquired):
    """A Lock."""


class RLock(_Acquired):
    """An RLock."""


class Semaphore(_Acquired):
    """A Semaphore."""

    def get_value(self) -> int:
        """Return the number of permits."""
        return self._callmethod("get_value")  # type: ignore[no-any-return]


class BoundedSemaphore(Semaphore):
    """A BoundedSemaphore."""


class Condition(_Acquired, ConditionProxy):
    """A Condition."""


class Event(Remote, EventProxy):
    """An Event."""


class Barrier(Remote, BarrierProxy):
    """A Barrier."""


class SimpleQueue(Remote):
    """A SimpleQueue. close() is for the caller alone."""

    def put(self, obj: Any) -> None:
        """Append an object."""
        self._callmethod("put", (obj,))

    def get(self) -> Any:
        """Take the oldest object."""
        return self._callmethod("get")

    def put_many(self, iterable: Iterable[Any]) -> None:
        """Append objects, by one round trip."""
        self._callmethod("put_many", ([*iterable],))

    def get_many(self, n: int) -> list[Any]:
        """Take at most n objects, by one round trip; wait for the first one."""
        return self._callmethod("get_many", (n,))  # type: ignore[no-any-return]

    def empty(self) -> bool:
        """Return whether there is nothing in it."""
        return self._callmethod("empty")  # type: ignore[no-any-return]

    def close(self) -> None:
        """Do nothing: other tasks of this process use it, too."""


class Queue(SimpleQueue):
    """A Queue."""

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an object; wait for room. queue.Full."""
        self._callmethod("put", (obj, block, timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest object; wait for one. queue.Empty."""
        return self._callmethod("get", (block, timeout))

    def put_nowait(self, obj: Any) -> None:
        """Append an object if there is room. queue.Full."""
        self._callmethod("put_nowait", (obj,))

    def get_nowait(self) -> Any:
        """Take the oldest object. queue.Empty: there is none."""
        return self._callmethod("get_nowait")

    def put_many(
        self, iterable: Iterable[Any], block: bool = True, timeout: float | None = None
    ) -> None:
        """Append objects, by one round trip; wait for room. queue.Full."""
        self._callmethod("put_many", ([*iterable], block, timeout))

    def get_many(self, n: int, block: bool = True, timeout: float | None = None) -> list[Any]:
        """Take at most n objects, by one round trip; wait for the first one. queue.Empty."""
        return self._callmethod("get_many", (n, block, timeout))  # type: ignore[no-any-return]

    def qsize(self) -> int:
        """Return how many objects are in it."""
        return self._callmethod("qsize")  # type: ignore[no-any-return]

    def full(self) -> bool:
        """Return whether put() would have to wait."""
        return self._callmethod("full")  # type: ignore[no-any-return]

    def join_thread(self) -> None:
        """Do nothing: what was put is there."""

    cancel_join_thread = join_thread


class JoinableQueue(Queue):
    """A JoinableQueue."""

    def task_done(self) -> None:
        """Say that an object has been worked on."""
        self._callmethod("task_done")

    def join(self) -> None:
        """Wait until all objects have been worked on."""
        self._callmethod("join")

    # By these names its methods travel as functions.
    _task_done = task_done
    _join = join


class Value(Remote):
    """A Value or an Array, with a lock or without; a structure has its fields as attributes."""

    def get_lock(self) -> Any:
        """Return the lock. AttributeError: there is none."""
        try:
            return self._about["lock"]
        except KeyError:
            raise AttributeError(f"{self._about['of']!r} object has no lock") from None

    def get_obj(self) -> Any:
        """Raise TypeError: the memory is that of the program's machine."""
        raise TypeError(
            f"the memory of this {self._about['of']} is on {self._token.address[0]}: use its items"
            " or .value, or send the contents with the task"
        )

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock."""
        return self.get_lock().acquire(block, timeout)  # type: ignore[no-any-return]

    def release(self) -> None:
        """Release the lock."""
        self.get_lock().release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_":
            return super().__getattr__(name)
        return self._callmethod("get", (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        if name[:1] == "_":
            object.__setattr__(self, name, value)
        else:
            self._callmethod("set", (name, value))

    def __len__(self) -> int:
        return self._callmethod("size")  # type: ignore[no-any-return]

    def __getitem__(self, key: Any) -> Any:
        return self._callmethod("get_item", (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._callmethod("set_item", (key, value))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._callmethod("items"))

    def add(self, *args: int) -> int:
        """Add to an integer, in one step; return what it was."""
        return self._callmethod("add", args)  # type: ignore[no-any-return]

    def exchange(self, *args: int) -> int:
        """Set an integer, in one step; return what it was."""
        return self._callmethod("exchange", args)  # type: ignore[no-any-return]

    def compare_exchange(self, *args: int) -> bool:
        """Set an integer if it has a certain value, in one step; return whether it had."""
        return self._callmethod("compare_exchange", args)  # type: ignore[no-any-return]
