"""The server's objects of the types that all managers know.

They are like those of threading and queue, or derived from them, but their callers are other
processes, which may die at any time:

* A client that dies while it waits takes no item, no permit and no lock.
* When a client dies that has a lock, exactly one later taker gets OwnerDiedError, and the lock is
  free then. Before that any client may release the lock, as any may release another client's.
* When a client dies that has taken an item but not read the reply, the item is the first in the
  queue again.
* When a client dies that waits at a barrier, the barrier is broken.

The owner of a lock is a thread of a client, which the server knows by its session (server.py). The
owner is alive as long as the client's process, which the server knows as its holder.

Shared state. What a Lock or RLock notes about its owner is changed only by the owner, after it has
acquired the lock and before it releases it; `_mutex` guards that against the end of the owner's
process. A Condition's list of waiters is changed by single operations of a list.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from _thread import allocate_lock as _allocate_lock
from _thread import get_ident as _get_ident

from ..context import OwnerDiedError
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from typing import Any

    from .server import Holder

    _Queue = queue.Queue[Any]
else:
    _Queue = queue.Queue


def _seconds(blocking: bool, timeout: float | None) -> float | None:
    """Return how long to wait, as threading understands the arguments; None: for ever."""
    if not blocking:
        if timeout not in (None, -1):
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout is None or timeout == -1:
        return None
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    return timeout


class Lock:
    """A lock that any client may release."""

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._mutex = _allocate_lock()
        self._holder: Holder | None = None
        self._dead: Holder | None = None
        self._turn = 0  # how often the lock has been acquired

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Acquire the lock, within `timeout` seconds (-1: no limit); return whether that succeeded.

        OwnerDiedError: its owner has died; the lock is free now.
        """
        seconds = _seconds(blocking, timeout)
        got = self._lock.acquire(False) or calls.patiently(self._try, seconds)
        if got:
            self._own()
        return got

    def _try(self, seconds: float) -> bool:
        if self._lock.acquire(True, seconds):
            return True
        with self._mutex:
            dead, self._dead = self._dead, None
            if dead is not None:
                self._lock.release()
                raise OwnerDiedError(dead.pid, 0, dead.name)
        return False

    def _own(self) -> None:
        session = calls.current()
        with self._mutex:
            self._turn = turn = self._turn + 1
            if session is None or session.connection is None:
                return
            self._holder = session.holder
            session.holder.owned[self] = None
            if session.holder.ended:
                self._lose_owner()
        calls.on_loss(lambda: self._give_back(turn))

    def _lose_owner(self) -> None:
        self._dead, self._holder = self._holder, None

    def _give_back(self, turn: int) -> None:
        """Release the lock for a client that has not read that it got it, if it still has it."""
        with self._mutex:
            if self._turn == turn and (self._holder or self._dead) is not None:
                self._free()

    def _free(self) -> None:
        holder, self._holder, self._dead = self._holder, None, None
        if holder is not None:
            holder.owned.pop(self, None)
        self._lock.release()

    def release(self) -> None:
        """Release the lock. RuntimeError: it is not acquired."""
        with self._mutex:
            if not self._lock.locked():
                raise RuntimeError("release unlocked lock")
            self._free()

    def locked(self) -> bool:
        """Return whether the lock is acquired."""
        return self._lock.locked()

    def _owner_died(self, holder: Holder) -> None:
        with self._mutex:
            if self._holder is holder:
                self._lose_owner()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class RLock(Lock):
    """A lock that its owner, a thread of a client or of the server, may acquire again."""

    def __init__(self) -> None:
        super().__init__()
        self._owner: object = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Acquire the lock as Lock.acquire() does, or at once if the caller is its owner."""
        if self._is_owned():
            self._count += 1
            owner = self._owner
            calls.on_loss(lambda: self._once_less(owner))
            return True
        if not super().acquire(blocking, timeout):
            return False
        self._owner, self._count = _self(), 1
        return True

    def _once_less(self, owner: object) -> None:
        if self._owner is owner:
            self._count -= 1

    def release(self) -> None:
        """Undo one acquire(). RuntimeError: the caller has not acquired the lock."""
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if self._count == 0:
            super().release()

    def _free(self) -> None:
        self._owner, self._count = None, 0
        super()._free()

    def _lose_owner(self) -> None:
        super()._lose_owner()
        self._owner, self._count = None, 0

    # What threading.Condition needs of a lock.

    def _is_owned(self) -> bool:
        return self._owner is not None and self._owner == _self()

    def _release_save(self) -> tuple[object, int]:
        state = self._owner, self._count
        super().release()
        return state

    def _acquire_restore(self, state: tuple[object, int]) -> None:
        while True:
            try:
                super().acquire()
                break
            except OwnerDiedError:
                continue  # a waiter learns what it waits for, and not of the lock's owner
        self._owner, self._count = state


def _self() -> object:
    session = calls.current()
    return session if session is not None and session.connection is not None else _get_ident()


class Condition:
    """A condition variable; its lock is a Lock or RLock, or the proxy of one.

    That of threading would lose a notification that comes between two slices of waiting.
    """

    def __init__(self, lock: Any = None) -> None:
        self._lock: Any = RLock() if lock is None else lock
        self._waiters: list[LockType] = []
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self.locked = self._lock.locked

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait for a notification, acquire the lock; return whether one came.

        timeout: in seconds. A client that dies meanwhile does not acquire the lock, and another
        waiter gets its notification. RuntimeError: the lock is not acquired.
        """
        self._check_owned("wait on")
        waiter = _allocate_lock()
        waiter.acquire()
        self._waiters.append(waiter)
        saved = self._release()
        try:
            got = calls.patiently(lambda seconds: waiter.acquire(True, seconds), timeout)
            self._reacquire(saved)
        except calls.ClientGone:
            if not self._forget(waiter):
                self._wake(1)
            raise
        if got or not self._forget(waiter):
            calls.also_on_loss(lambda: self._wake(1))
            return True
        return False

    def notify(self, n: int = 1) -> None:
        """Wake up to n waiters. RuntimeError: the lock is not acquired."""
        self._check_owned("notify on")
        self._wake(n)

    def notify_all(self) -> None:
        """Wake all waiters. RuntimeError: the lock is not acquired."""
        self.notify(len(self._waiters))

    def _wake(self, n: int) -> None:
        while n > 0 and self._waiters:
            with contextlib.suppress(IndexError):  # the last waiter has just left
                self._waiters.pop(0).release()
            n -= 1

    def _forget(self, waiter: LockType) -> bool:
        """Remove a waiter; return False if it has been woken already."""
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return False
        return True

    def _release(self) -> Any:
        if isinstance(self._lock, RLock):
            return self._lock._release_save()
        return self._lock.release()

    def _reacquire(self, saved: Any) -> None:
        if isinstance(self._lock, RLock):
            self._lock._acquire_restore(saved)
            return
        while True:
            try:
                self._lock.acquire()
                return
            except OwnerDiedError:
                continue  # a waiter learns what it waits for, and not of the lock's owner

    def _check_owned(self, verb: str) -> None:
        owned = self._lock._is_owned() if isinstance(self._lock, RLock) else self._lock.locked()
        if not owned:
            raise RuntimeError(f"cannot {verb} un-acquired lock")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


_acquire = threading.Semaphore.acquire


class Semaphore(threading.Semaphore):
    """A number of permits."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, within `timeout` seconds; return whether there was one."""
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        got = super().acquire(False)
        if not got and blocking:
            got = calls.patiently(lambda seconds: _acquire(self, True, seconds), timeout)
        if got:
            calls.on_loss(self.release)
        return got


class BoundedSemaphore(Semaphore):
    """A number of permits, of which no more are released than were taken."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._taken = 0
        self._mutex = _allocate_lock()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, within `timeout` seconds; return whether there was one."""
        got = super().acquire(blocking, timeout)
        if got:
            with self._mutex:
                self._taken += 1
        return got

    def release(self, n: int = 1) -> None:
        """Give permits back. ValueError: more than were taken."""
        with self._mutex:
            if n > self._taken:
                raise ValueError("Semaphore released too many times")
            super().release(n)
            self._taken -= n


class Event(threading.Event):
    """A flag."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, for `timeout` seconds at most; return whether it is."""
        return self.is_set() or calls.patiently(super().wait, timeout)


class Barrier:
    """Parties that wait for each other; then action() is called, and all go on.

    That of threading would go on counting a client that has died.
    """

    def __init__(
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> None:
        if parties < 1:
            raise ValueError("parties must be > 0")
        self.parties = parties
        self._action = action
        self._timeout = timeout
        self._cond = threading.Condition(_allocate_lock())
        self._round = _Round()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others; return a number, different for each.

        BrokenBarrierError: the barrier is or was broken, or `timeout` seconds have passed.
        """
        with self._cond:
            mine = self._round
            if mine.broken:
                raise threading.BrokenBarrierError
            index = mine.come
            mine.come += 1
            if mine.come == self.parties:
                self._complete(mine)
            else:
                self._wait_for(mine, self._timeout if timeout is None else timeout)
            return index

    def _complete(self, mine: _Round) -> None:
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._break(mine)
            raise
        mine.complete = True
        self._round = _Round()
        self._cond.notify_all()

    def _wait_for(self, mine: _Round, timeout: float | None) -> None:
        def over(seconds: float) -> bool:
            return self._cond.wait_for(lambda: mine.complete or mine.broken, seconds)

        try:
            in_time = calls.patiently(over, timeout)
        except calls.ClientGone:
            self._break(mine)
            raise
        if not in_time:
            self._break(mine)
        if mine.broken:
            raise threading.BrokenBarrierError

    def _break(self, which: _Round) -> None:
        which.broken = True
        self._cond.notify_all()

    def abort(self) -> None:
        """Break the barrier."""
        with self._cond:
            self._break(self._round)

    def reset(self) -> None:
        """Make the barrier as new; its waiters get BrokenBarrierError."""
        with self._cond:
            self._break(self._round)
            self._round = _Round()

    @property
    def n_waiting(self) -> int:
        """The number of parties that wait."""
        return 0 if self._round.broken else self._round.come

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self._round.broken


class _Round:
    """One use of a barrier."""

    def __init__(self) -> None:
        self.come = 0
        self.complete = self.broken = False


class Queue(_Queue):
    """First in, first out."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item. queue.Empty: there is none, or was none within `timeout` seconds."""
        item = self._get_item(block, timeout)
        calls.on_loss(lambda: self._put_back(item))
        return item

    def _get_item(self, block: bool, timeout: float | None) -> Any:
        try:
            return super().get(False)
        except queue.Empty:
            if not block:
                raise
        _check(timeout)
        found: list[Any] = []
        if not calls.patiently(lambda seconds: self._get_into(found, seconds), timeout):
            raise queue.Empty
        return found[0]

    def _get_into(self, found: list[Any], seconds: float) -> bool:
        try:
            found.append(super().get(True, seconds))
        except queue.Empty:
            return False
        return True

    def _put_back(self, item: Any) -> None:
        with self.mutex:
            self.queue.appendleft(item)
            self.not_empty.notify()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Append an item. queue.Full: there is no room, or was none within `timeout` seconds."""
        try:
            super().put(item, False)
            return
        except queue.Full:
            if not block:
                raise
        _check(timeout)
        if not calls.patiently(lambda seconds: self._put_within(item, seconds), timeout):
            raise queue.Full

    def _put_within(self, item: Any, seconds: float) -> bool:
        try:
            super().put(item, True, seconds)
        except queue.Full:
            return False
        return True

    def join(self) -> None:
        """Wait until task_done() was called for every item."""
        with self.all_tasks_done:
            if self.unfinished_tasks:
                calls.patiently(self._wait_for_tasks, None)

    def _wait_for_tasks(self, seconds: float) -> bool:
        self.all_tasks_done.wait(seconds)
        return not self.unfinished_tasks


def _check(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


def make_pool(*args: Any, **kwds: Any) -> Any:
    """Return a pool of processes, which are children of the server."""
    from ..pool import Pool

    return Pool(*args, **kwds)
