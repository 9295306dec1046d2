"""Synchronisation between processes: objects of the arena, without names or descriptors.

When the process that holds a lock dies, its waiters do not hang: exactly one later taker gets
OwnerDiedError, and the lock is free then.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

from . import _current, _mproc, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any, TypeVar

    from .barrier import Barrier as Barrier
    from .context import BaseContext
    from .semlock import ArenaSemLock
    from .semlock import SemLock as SemLock

    _T = TypeVar("_T")

__all__ = ["BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

_current.use_begins()

SEM_VALUE_MAX = 2**31 - 1
RECURSIVE_MUTEX, SEMAPHORE = 0, 1  # kinds of SemLock
_ASKS_FOR_VALUE = sys.version_info >= (3, 14)  # the repr of a semaphore, also of a subclass


def __getattr__(name: str) -> Any:
    """Import Barrier and SemLock when they are first wanted."""
    if name == "Barrier":
        from .barrier import Barrier

        return Barrier
    if name == "SemLock":
        from .semlock import SemLock

        return SemLock
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "Barrier", "SemLock"})


class _Shared:
    """The base of all of them: they can be pickled only for a child that is being started.

    The C type is the first base of each: every call of one of its methods looks for that type in
    the list of the object's bases, from the front.
    """

    def __getstate__(self) -> Any:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)


class _Belonging(_Shared):
    """The base of those whose C type does not keep of which context they are."""

    _is_fork_ctx = False

    def _belong_to(self, ctx: BaseContext | None) -> None:
        if ctx is not None and ctx._name == "fork":
            self._is_fork_ctx = True


def _name_of_owner(owner: tuple[int, int] | None) -> str:
    """Return the word that a repr() has for the owner of a lock, as the calling thread sees it."""
    if owner is None:
        return "None"
    pid, tid = owner
    if pid != os.getpid():
        return "SomeOtherProcess"
    import threading

    if tid != threading.get_native_id():
        return "SomeOtherThread"
    name = process.current_process().name
    thread = threading.current_thread().name
    return name if thread == "MainThread" else f"{name}|{thread}"


class _SemLockLike(_Shared):
    """A lock or semaphore; programs may look at its `_semlock`, as on the standard library.

    It has no name. Those of SemLock, which programs may make by hand, are made and removed here.
    """

    _rand: Iterator[str] = iter(lambda: os.urandom(4).hex(), "")

    @staticmethod
    def _make_name() -> str:
        from .semlock import SemLock

        return SemLock._make_name()

    @staticmethod
    def _cleanup(name: str) -> None:
        from .semlock import SemLock

        SemLock._cleanup(name)

    @property
    def _semlock(self) -> ArenaSemLock:
        from .semlock import ArenaSemLock

        return ArenaSemLock(self)


class _Acquirable:
    """What a coroutine can take, and gives back in the end of an `async with`."""

    if TYPE_CHECKING:

        def release(self) -> None: ...

    def aacquire(self) -> Coroutine[Any, Any, bool]:
        """Take it, in an asyncio program: `await lock.aacquire()`, or `async with lock`."""
        from . import aio

        return aio.acquire(self)

    async def __aenter__(self) -> bool:
        return await self.aacquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self.release()


class _Awaitable(_Acquirable, _SemLockLike):
    """A lock or semaphore that a coroutine can take: it is not the thread's who waits for it."""


class _Inheritable(_SemLockLike):
    """A lock with the option of what the next taker gets when a process dies that holds it."""

    _recover: bool

    def __getstate__(self) -> bool:
        return self._recover

    def __setstate__(self, recover: bool) -> None:
        self._recover = recover


class Lock(_mproc.Lock, _Inheritable, _Awaitable):
    """A lock that is not recursive, between all threads of all processes.

    Any thread of any process may release it. on_owner_death says what happens when the process that
    holds it dies: with "raise" exactly one later taker gets OwnerDiedError, and the lock is free
    then; with "recover" that taker gets the lock and no error. ValueError: another word.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_name_of_owner(self._owner())})>"


class RLock(_mproc.RLock, _Inheritable):
    """A lock that the thread that holds it may acquire again.

    It is free when that thread has released it as often; no other thread can release it.
    on_owner_death: as for Lock.
    """

    def __repr__(self) -> str:
        owner = _name_of_owner(self._owner())
        count = self._count() if self._is_mine() else 0 if owner == "None" else "nonzero"
        return f"<{type(self).__name__}({owner}, {count})>"


def _value_shown(semaphore: Any, kind: Any) -> object:
    """Return the number for a repr: of a subclass' own get_value() where the version asks that."""
    try:
        return semaphore.get_value() if _ASKS_FOR_VALUE else kind.get_value(semaphore)
    except Exception:
        return "unknown"


class Semaphore(_mproc.Semaphore, _Awaitable):
    """A number of permits, at first `value`.

    The permits of a process that dies are not given back: a semaphore may be a signal, which one
    thread releases and another acquires. ValueError: a bad value.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={_value_shown(self, _mproc.Semaphore)})>"


class BoundedSemaphore(_mproc.BoundedSemaphore, _Awaitable):
    """A number of permits, at first `value`, that never becomes more.

    It knows how many each process has taken, and those that a process had when it died are given
    back. release() gives back a permit of the calling process, or if that has none, one of another
    process. ValueError: a bad value.
    """

    def __repr__(self) -> str:
        value = _value_shown(self, _mproc.BoundedSemaphore)
        return f"<{type(self).__name__}(value={value}, maxvalue={self.maxvalue})>"


class _Number:
    """A number with get_value(): programs look at the semaphores of a Condition."""

    def __init__(self, number: int) -> None:
        self._number = number

    def get_value(self) -> int:
        """Return the number."""
        return self._number


def _new_lock(ctx: BaseContext | None) -> RLock:
    """Return the lock of a condition that was given none: contexts may make their own.

    One that is not of this module, a wrapper for one, could not be released and waited for at once.
    """
    made = None if ctx is None else ctx.RLock()
    return made if isinstance(made, RLock) else RLock(ctx=ctx)


class Condition(_mproc.Condition, _Acquirable, _Belonging):
    """Waiting for what a lock guards to become true.

    lock: a Lock or RLock; None makes a new RLock. The thread that has waited longest is notified
    first. Waiters that die are forgotten. A notification for a waiter that dies before it runs goes
    to another one.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Condition:
        if cls.__init__ is not Condition.__init__:  # a subclass may take other arguments
            return super().__new__(cls, RLock())
        return cls._make(*args, **kwargs)

    @classmethod
    def _make(
        cls, lock: Lock | RLock | None = None, *, ctx: BaseContext | None = None
    ) -> Condition:
        self = super().__new__(cls, _new_lock(ctx) if lock is None else lock)
        self._belong_to(ctx)
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have notify_all() call notify(), if a subclass overrides that."""
        super().__init_subclass__(**kwargs)
        if cls.notify is not Condition.notify and cls.__module__.partition(".")[0] != __package__:
            from ._overriding.conditions import complete_condition

            complete_condition(cls)

    def __init__(self, lock: Lock | RLock | None = None, *, ctx: BaseContext | None = None) -> None:
        if type(self).__init__ is not Condition.__init__:  # else it has been made so
            self.__setstate__(_new_lock(ctx) if lock is None else lock)
            self._belong_to(ctx)

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until predicate() is true, or for `timeout` seconds; return its last value."""
        result = predicate()
        deadline = None if timeout is None else monotonic() + timeout
        while not result:
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def await_(self) -> Coroutine[Any, Any, bool]:
        """Wait until notified, in an asyncio program; the lock is held before and after.

        TypeError: the condition is over an RLock, which coroutines cannot share.
        """
        from . import aio

        return aio.wait(self)

    def await_for(self, predicate: Callable[[], _T]) -> Coroutine[Any, Any, _T]:
        """Wait, in an asyncio program, until predicate() is true; return its value."""
        from . import aio

        return aio.wait_for(self, predicate)

    def __getstate__(self) -> Any:
        return self._lock

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._waiting()})>"

    @property
    def _sleeping_count(self) -> _Number:
        return _Number(self._waiting())

    @property
    def _woken_count(self) -> _Number:
        """0: a waiter that was woken is not counted as sleeping."""
        return _Number(0)

    @property
    def _wait_semaphore(self) -> _Number:
        """0: a notification is for those that wait at the time; none is stored."""
        return _Number(0)


class Event(_mproc.Event, _Shared):
    """A flag, at first not set, that threads of all processes can wait for."""

    def await_(self) -> Coroutine[Any, Any, bool]:
        """Wait until it is set, in an asyncio program: `await event.await_()`."""
        from . import aio

        return aio.wait(self)

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__name__} at {id(self):#x} {state}>"
