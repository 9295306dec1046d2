"""Waiting in asyncio programs: for queues, locks, conditions, barriers, processes and pools.

The methods that are named with an `a` before (`await queue.aget()`, `await process.ajoin()`) and
`async with lock` are functions of this module; the ones here take the object as the first argument.
They start no thread, but for a pool's helper. Each loop has one descriptor, for all that its
coroutines wait for.

How it works. A coroutine tries its operation, and waits for the loop's descriptor only if that is
in vain (`_until`). The descriptor tells that an operation would succeed; then one coroutine that
waits for it is woken, tries, and wakes the next one if it succeeded. What is taken is taken in the
coroutine's own step, behind which it returns. So one that is cancelled has taken nothing, and if it
had been told it tells the next.

Those who wait at a condition or a barrier each have a ticket of their own, and look at it: there
all are told, not only the first one.

What holds for each place, while coroutines wait there: its request is armed, or one of them is told
and will run.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from itertools import islice
from queue import Empty, Full
from weakref import WeakKeyDictionary, ref

from . import _mproc
from .context import OwnerDiedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any
    from weakref import ReferenceType

    from .pool import Pool
    from .process import BaseProcess

__all__ = [
    "acquire",
    "apply",
    "get",
    "imap",
    "imap_unordered",
    "join",
    "map",
    "put",
    "wait",
    "wait_for",
]

_mproc._add_watch()

_GET, _PUT, _JOIN, _WAIT, _ACQUIRE = 1, 2, 3, 4, 5  # mproc_watch_for
_PATIENCE = 0.0001  # seconds: a try that looks whether the holder of a lock has died
_TICK = 0.25  # seconds between two such tries: as the core's watch ticks
_AHEAD = 4  # chunks of an imap that are submitted, for each worker

_NOT_YET: Any = object()  # what an attempt in vain returns


class _Place:
    """What coroutines of one loop wait for: an operation on an object."""

    def __init__(self, hub: _Hub, key: tuple[int, int]) -> None:
        self._hub = hub
        self._key = key
        self._number = hub.watch.add(*key)
        self._armed = False
        self.waiting: deque[Future[None]] = deque()
        self.by_ticket = False

    def arm(self) -> None:
        """Have the next change told, if that is not so already; the present counts, too."""
        if not self._armed:
            self._armed = not self._hub.watch.arm(self._number)
            if not self._armed:
                self.wake()

    def told(self) -> None:
        """Note that the operation would succeed now."""
        self._armed = False
        self.wake()

    def wake(self) -> None:
        """Tell the first one that was not told yet, or all, if each has a ticket."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
                if not self.by_ticket:
                    return

    def leave(self) -> None:
        """Give the request back if nobody waits any more."""
        if not self.waiting and self._hub.places.get(self._number) is self:
            self._hub.give_up(self._key, self._number)


class _Hub:
    """The places of one loop."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.watch = _mproc.Watch()
        self._pid = _mproc.getpid()
        self.places: dict[int, _Place] = {}
        self._of_key: dict[tuple[int, int], _Place] = {}
        loop.add_reader(self.watch.fileno(), self._tell)

    def busy(self, key: tuple[int, int]) -> bool:
        """Return whether others wait there already."""
        return key in self._of_key

    def place(self, key: tuple[int, int]) -> _Place:
        """Return the place for an object's address and an operation."""
        place = self._of_key.get(key)
        if place is None:
            place = self._of_key[key] = _Place(self, key)
            self.places[place._number] = place
        return place

    def give_up(self, key: tuple[int, int], number: int) -> None:
        """Forget a place."""
        del self._of_key[key], self.places[number]
        if self._pid == _mproc.getpid():  # a forked child has a copy, which watches nothing
            self.watch.remove(number)

    def _tell(self) -> None:
        for number in self.watch.take():
            self.places[number].told()


# A hub belongs to its loop, as a reader of it, until the loop is closed.
_hubs: WeakKeyDictionary[AbstractEventLoop, ReferenceType[_Hub]] = WeakKeyDictionary()


def _hub_of(loop: AbstractEventLoop) -> _Hub:
    reference = _hubs.get(loop)
    hub = None if reference is None else reference()
    if hub is None:
        hub = _Hub(loop)
        _hubs[loop] = ref(hub)
    return hub


async def _until(
    handle: Any,
    what: int,
    attempt: Callable[[], Any],
    passing: bool = False,
    by_ticket: bool = False,
) -> Any:
    """Try until an attempt succeeds; return what it returned.

    Coroutines of a loop that wait for the same come to it in order. passing: what is waited for may
    come and go between a try and the arming, which sees only what comes after it. by_ticket: so it
    is, and each waits for something of its own.
    """
    loop = asyncio.get_running_loop()
    hub = _hub_of(loop)
    key = (handle.address, what)
    if not hub.busy(key):
        result = attempt()
        if result is not _NOT_YET:
            return result
    place = hub.place(key)
    place.by_ticket = by_ticket
    future = loop.create_future()
    place.waiting.append(future)
    try:
        while True:
            place.arm()
            result = attempt() if passing or by_ticket else _NOT_YET
            if result is not _NOT_YET:
                return result
            await future
            result = attempt()
            if result is not _NOT_YET:
                return result
            told, future = future, loop.create_future()
            place.waiting[place.waiting.index(told)] = future
    finally:  # also when it was cancelled, or the attempt raised: then the next one is told instead
        place.waiting.remove(future)
        if future.done() and not by_ticket and not loop.is_closed():
            place.wake()
        place.leave()


# ---- queues


def _in_arena(queue: Any) -> None:
    if not getattr(queue, "_in_arena", True):
        raise TypeError(f"{type(queue).__name__} is a queue over a pipe, which cannot be awaited")


async def get(queue: Any) -> Any:
    """Take the oldest object of a queue. ValueError: it is closed. ShutDown.

    A cancelled call takes none.
    """

    def attempt() -> Any:
        try:
            return queue._try_get()
        except Empty:
            return _NOT_YET

    _in_arena(queue)
    return await _until(queue, _GET, attempt)


async def put(queue: Any, obj: Any) -> None:
    """Append an object, once there is room. Raises what put() raises.

    A cancelled call has put nothing.
    """

    def attempt() -> Any:
        try:
            return queue.put_nowait(obj)
        except Full:
            return _NOT_YET

    _in_arena(queue)
    if not hasattr(queue, "put_nowait"):  # a SimpleQueue always has room
        queue.put(obj)
    else:
        await _until(queue, _PUT, attempt)


# ---- synchronisation


async def wait(what: Any) -> Any:
    """Wait for an event, a condition or a barrier.

    An event: until it is set, or was set meanwhile; return True. A condition, of whose lock the
    caller has hold: until it is notified; return True, with the lock held again. A barrier: until
    all have come; return how many had before, from 0, or raise threading.BrokenBarrierError.
    """
    if isinstance(what, _mproc.Condition):
        return await _wait_notified(what)
    if isinstance(what, _mproc.Barrier):
        return await _wait_barrier(what)
    return await _wait_event(what)


async def _wait_event(event: Any) -> bool:
    times = event._times()

    def attempt() -> Any:
        return True if event.is_set() or event._times() != times else _NOT_YET

    result: bool = await _until(event, _WAIT, attempt, passing=True)
    return result


async def _take_back(lock: Any) -> BaseException | None:
    """Take the lock, however often this is cancelled; return what is to be raised after that."""
    error: BaseException | None = None
    while True:
        try:
            await acquire(lock)
            return error
        except GeneratorExit:  # its loop is gone: nothing can be awaited any more
            lock.acquire(False)
            raise
        except (asyncio.CancelledError, OwnerDiedError) as e:
            if not isinstance(error, asyncio.CancelledError):
                error = e


async def _wait_notified(condition: Any) -> bool:
    lock = _lock_of(condition)
    ticket = condition._begin()
    wanted = False
    try:
        lock.release()
        try:
            await _until(
                condition,
                _WAIT,
                lambda: condition._notified(ticket) or _NOT_YET,
                by_ticket=True,
            )
            wanted = True
        finally:
            error = await _take_back(lock)
            if error is not None:
                wanted = False
                raise error
    finally:  # a notification that came for nothing is another one's
        if condition._end(ticket) and not wanted and lock._is_mine():
            condition.notify()
    return True


async def wait_for(condition: Any, predicate: Callable[[], Any]) -> Any:
    """Wait at a condition until predicate() is true; return its value."""
    result = predicate()
    while not result:
        await wait(condition)
        result = predicate()
    return result


async def _passed(barrier: Any) -> Any:
    found = barrier._begin(barrier._action is not None)
    if isinstance(found, tuple):
        return found
    try:
        return await _until(barrier, _WAIT, lambda: barrier._try(found) or _NOT_YET, by_ticket=True)
    except BaseException:
        barrier._end(found)
        raise


async def _wait_barrier(barrier: Any) -> int:
    try:
        async with asyncio.timeout(barrier._timeout):
            index, last = await _passed(barrier)
    except TimeoutError:
        from threading import BrokenBarrierError

        barrier.abort()
        raise BrokenBarrierError from None
    if last:
        barrier._act()
    return int(index)


def _lock_of(what: Any) -> Any:
    """Return the lock itself, or that of a condition, if a coroutine can have it."""
    lock = what._lock if isinstance(what, _mproc.Condition) else what
    if isinstance(lock, _mproc.RLock):
        raise TypeError(
            f"{what!r} cannot be awaited: an RLock belongs to a thread, which all coroutines of a "
            "loop share; use a Lock, or Condition(Lock())"
        )
    return lock


async def acquire(what: Any) -> bool:
    """Take a lock, a condition's lock, or a permit of a semaphore; return True.

    OwnerDiedError as acquire(). A cancelled call has taken nothing.
    """
    lock = _lock_of(what)
    loop = asyncio.get_running_loop()
    last = loop.time()

    def attempt() -> Any:
        nonlocal last
        if lock.acquire(False):
            return True
        if loop.time() - last >= _TICK:  # has the holder died? Who has a moment is told
            last = loop.time()
            if lock.acquire(True, _PATIENCE):
                return True
        return _NOT_YET

    result: bool = await _until(lock, _ACQUIRE, attempt)
    return result


# ---- processes


async def _join_process(process: BaseProcess) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    fd = os.dup(process.sentinel)  # a loop has one reader for a descriptor
    try:
        loop.add_reader(fd, tell)
        try:
            await ended
        finally:
            loop.remove_reader(fd)
    finally:
        os.close(fd)
    process.join()


async def join(what: Any) -> None:
    """Wait until a process has ended, or until all is done that was put into a JoinableQueue."""
    if hasattr(what, "sentinel"):
        await _join_process(what)
    else:
        _in_arena(what)
        await _until(what, _JOIN, lambda: what._all_done() or _NOT_YET)


# ---- pools


def _set(future: Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # which no future takes: it would end who awaits it
        cause, error = error, RuntimeError("a task raised StopIteration")
        error.__cause__ = cause
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _submitted(submit: Callable[..., Any], *args: Any) -> Future[Any]:
    """Call a method of a pool that takes callbacks; return a future of the running loop."""
    from ._pool.told import Told

    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(_set, future, result, error)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    submit(
        *args,
        callback=Told(lambda result: tell(result, None)),
        error_callback=Told(lambda error: tell(None, error)),
    )
    return future


async def apply(
    pool: Pool, func: Callable[..., Any], args: Iterable[Any], kwds: Mapping[str, Any] | None
) -> Any:
    """Call func(*args, **kwds) in a worker; return its result, or raise its exception."""
    return await _submitted(pool.apply_async, func, tuple(args), dict(kwds or {}))


async def map(
    pool: Pool, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None
) -> list[Any]:
    """Call func for each item; return the results in order."""
    results: list[Any] = await _submitted(pool.map_async, func, iterable, chunksize)
    return results


def _heed(future: Future[Any]) -> None:
    """Have asyncio not say that an exception was never retrieved: who takes no more is free to."""
    if not future.cancelled():
        future.exception()


class imap:  # a function to its users
    """An asynchronous iterator over the results of func for each item, in order.

    Items are read as results are taken: some chunks for each worker are submitted ahead. What the
    reading raises comes behind the results of what was read before. Coroutines may share one: each
    result is given to one of them.
    """

    def __init__(
        self, pool: Pool, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int
    ) -> None:
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        self._pool = pool
        self._func = func
        self._items = iter(iterable)
        self._chunksize = chunksize
        self._ahead = _AHEAD * pool._processes
        self._running: deque[Future[list[Any]]] = deque()
        self._ready: deque[Any] = deque()
        self._ended_by: Exception | None = None

    def __aiter__(self) -> imap:
        return self

    def _submit_more(self) -> None:
        try:
            while len(self._running) < self._ahead:
                chunk = list(islice(self._items, self._chunksize))
                if not chunk:
                    return
                results = _submitted(self._pool.map_async, self._func, chunk, self._chunksize)
                results.add_done_callback(_heed)
                self._running.append(results)
        except Exception as error:
            self._ended_by = error
            self._items = iter(())

    async def _await_chunk(self) -> None:
        await asyncio.wait([self._running[0]])

    def _done(self) -> Future[list[Any]] | None:
        """Return the chunk that comes next, if it is there."""
        first = self._running[0] if self._running else None
        return first if first is not None and first.done() else None

    def _take_chunk(self) -> None:
        """Take the next chunk, in one step: another coroutine may have been faster."""
        done = self._done()
        if done is not None:
            self._running.remove(done)
            self._ready.extend(done.result())

    async def __anext__(self) -> Any:
        while not self._ready:
            self._submit_more()
            if not self._running:
                error, self._ended_by = self._ended_by, None
                raise StopAsyncIteration if error is None else error
            await self._await_chunk()
            self._take_chunk()
        return self._ready.popleft()


class imap_unordered(imap):
    """The same, in the order in which the results come."""

    async def _await_chunk(self) -> None:
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _done(self) -> Future[list[Any]] | None:
        return next((chunk for chunk in self._running if chunk.done()), None)
