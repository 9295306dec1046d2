"""The iterators over results that a pool's imap() and imap_unordered() return.

How it works. Items are taken from the iterable in chunks, and each chunk is submitted as a part: a
map of its own. Parts are taken out as they are asked for, in order or in that of their coming, and
more items are submitted meanwhile.

While results are taken, items are taken from the iterable only as far ahead as `_limit` says: so
many parts may be under way or waiting to be taken. That is a service, not a promise, for programs
start an imap and wait for what it does elsewhere: where nobody asks for results for a while, it
goes on. A `buffersize` is a promise: then it never does.

An iterable that is no plain container runs code of the program, which may wait for anything, also
for results of this imap. So a thread of its own reads it.

Shared state, all under the interpreter's lock.
  _parts      that are under way, or ready and not taken. _done: of these, if they come in any
              order, those that are ready.
  _values     of the part that is being taken, the next one last.
  _feeding    whose turn it is to take items and to submit them. _fed: how many were submitted.
  _taken      counts the parts that were taken. Only its changes count. _seen: what it was when the
              helper looked last; _since: when it changed last, as far as the helper knows.
  _asking     somebody's turn while threads wait for a part.
  _bell       wakes the thread that feeds; None: there is none, and whoever takes feeds.
"""

from __future__ import annotations

from _thread import allocate_lock as _allocate_lock
from collections import deque
from itertools import islice
from time import monotonic

from .. import _mproc
from ..context import TimeoutError
from ..pool import CLOSE, RUN, AsyncResult
from .engine import LOOK, SLICE, ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from ..pool import Pool

__all__ = ["IMapIterator", "IMapUnorderedIterator"]

WINDOW = 64  # parts of an imap that are under way or not taken yet, at least
NOBODY = 0.25  # seconds after which an imap whose results nobody has asked for runs to its end
GAP = 1.0  # seconds without a taking after which an imap goes twice as far ahead

_PUBLIC_MODULE = "mproc.pool"  # the module by which programs find the iterators
_FOREVER = float("inf")

# Iterating over these runs no code of the program, so it cannot wait for anything.
_PLAIN = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset)


class _Part(AsyncResult):
    """The results of some items."""

    _finished = _mproc.Job._finished  # there is no callback


class _LoosePart(_Part):
    """The results of some items, which may be taken as soon as they are there."""

    def __init__(self, pool: Pool, finished: deque[_Part]) -> None:
        self._pool = pool
        self._where = finished
        self._watched = True

    def _finished(self) -> None:
        self._where.append(self)

    def _finished_again(self) -> bool:
        if self not in self._where:
            self._where.append(self)
        return True


def _raise(error: BaseException) -> NoReturn:
    """Raise what a call raised; a StopIteration would end the iteration that asks for results."""
    if isinstance(error, StopIteration):
        raise RuntimeError("a task raised StopIteration") from error
    raise error


class IMapIterator:
    """The results of an imap, in order, each as soon as it is there."""

    __module__ = _PUBLIC_MODULE

    def __init__(
        self,
        pool: Pool,
        func: Callable[[Any], Any] | None = None,
        iterable: Iterable[Any] = (),
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> None:
        """Without a function: what is to be done will be put into the pool's _taskqueue."""
        self._pool = pool
        self._job = id(self)
        self._values: list[Any] = []
        self._fed = 0
        self._exhausted = func is None
        self._error: Exception | None = None
        self._taken = self._seen = 0
        self._asking = _mproc.Turn()
        self._bell: Any = None
        self._make_places()
        if func is not None:
            self._begin(func, iterable, chunksize, buffersize)

    def _make_places(self) -> None:
        self._parts: Any = deque()
        self._keep: Callable[[_Part], object] = self._parts.append

    def _set_length(self, length: int) -> None:
        """Do nothing: the end of the iterable is the end."""

    def _begin(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
    ) -> None:
        pool = self._pool
        self._function = pool._message_of(func)
        self._items = iter(iterable)
        self._chunksize = chunksize
        self._exhausted = False
        self._strict = buffersize is not None
        self._window: float = buffersize or max(WINDOW, 4 * pool._processes)
        self._low = self._window - 1 if self._strict else self._window // 2
        self._limit: float = self._window
        self._since = monotonic()
        self._feeding = _mproc.Turn()
        pool._feeding.append(self)
        if isinstance(iterable, _PLAIN):
            self._feed()
        else:
            self._start_feeder()
        pool._need_helper()

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, or raise what the call raised. multiprocessing.TimeoutError."""
        if self._values:
            return self._values.pop()
        part = self._take(timeout)
        values = part._value
        if part._failed:
            _raise(values)
        if len(values) == 1:
            return values[0]
        self._values = values[::-1]
        return self._values.pop()

    __next__ = next

    # -- taking

    def _take(self, timeout: float | None) -> _Part:
        """Take out the next part, when it has come. TimeoutError, StopIteration."""
        part = self._pop() or self._await_part(timeout)
        self._taken += 1
        if not self._exhausted:
            self._limit = self._window
            if len(self._parts) <= self._low:
                self._go_on()
        return part

    def _pop(self) -> _Part | None:
        """Take out a part, if there is one to be taken."""
        parts = self._parts
        if parts and parts[0]._ready:
            return parts.popleft()  # type: ignore[no-any-return]
        return None

    def _await_part(self, timeout: float | None) -> _Part:
        """Wait for a part, and take it out. StopIteration: there is none to come."""
        if not self._exhausted:
            self._limit = self._window
        deadline = None if timeout is None else monotonic() + timeout
        turn = self._pool._pumping
        with self._asking:
            seen = turn.news
            while (part := self._pop()) is None:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left < 0:
                    raise TimeoutError
                self._await_more(SLICE if left is None else min(SLICE, left), seen)
                seen = turn.news
        return part

    def _await_more(self, seconds: float, seen: int) -> None:
        """Wait for what a part needs that is to be taken, at most that long; seen as in _pump()."""
        if self._parts:
            self._wait(seconds, seen)
        elif self._exhausted:
            self._check_more()
        else:
            self._go_on()
            if not self._parts:  # the iterable takes its time, or another thread feeds
                self._pool._pump(None, min(LOOK, seconds), seen)

    def _wait(self, seconds: float, seen: int) -> None:
        """Wait for the part that is to be taken next, at most that long."""
        try:
            first = self._parts[0]
        except IndexError:
            return  # another thread has taken it
        self._pool._check_owner()
        self._pool._pump(first, seconds, seen)

    def _check_more(self) -> None:
        """Raise StopIteration, or once what ended the iterable, if there is no part to come."""
        if not self._parts:
            error, self._error = self._error, None
            raise StopIteration if error is None else error

    # -- feeding

    def _go_on(self) -> None:
        """Let more items be submitted, now that a result has been taken."""
        if self._bell is None:
            self._feed()
        elif self._bell.locked():
            ring(self._bell)

    def _feed(self) -> None:
        """Submit parts, as many as may be. One thread at a time does; others leave it to that."""
        with self._feeding as depth:
            if depth == 1 and self._may_feed():
                try:
                    self._feed_parts()
                except Exception as error:
                    self._error = error  # comes last, after all results
                    self._end()

    def _may_feed(self) -> bool:
        if self._exhausted:
            return False
        n = len(self._parts)
        return n < self._window or (n < self._limit and self._pool._tasks.waiting < self._window)

    def _make_part(self) -> _Part:
        return _Part(self._pool)

    def _feed_parts(self) -> None:
        chunk, tasks = self._chunksize, self._pool._tasks
        message, named = self._function
        while self._may_feed():
            items = list(islice(self._items, chunk))
            if not items:
                self._end()
                return
            part = self._make_part()
            self._keep(part)
            try:
                tasks.submit_map(
                    part, message, named, False, items, chunk, self._fed, self._pool._chosen
                )
            except BaseException as error:
                self._parts.remove(part)
                if isinstance(error, Exception):
                    self._pool._explain(error, "parts_of_map", items, self._fed)
                raise
            self._fed += len(items)

    def _end(self) -> None:
        self._exhausted = True
        self._pool._has_fed(self)

    def _run_on(self) -> None:
        """Go further ahead if nobody asks for results."""
        now = monotonic()
        if self._asking.depth or self._taken != self._seen:
            self._seen = self._taken
            self._since = now
        elif not self._strict:
            self._go_further(now)
        if self._bell is None:
            self._feed()

    def _go_further(self, now: float) -> None:
        if self._taken == 0:
            if now - self._since > NOBODY:
                self._limit = _FOREVER
        elif now - self._since > GAP:
            self._limit = 2 * max(self._limit, len(self._parts))
            self._since = now

    def _run_out(self) -> None:
        """Go on to the end: who joins the pool now takes the results afterwards."""
        self._strict = False
        self._limit = self._window = _FOREVER
        self._run_on()

    def _start_feeder(self) -> None:
        import threading

        self._bell = _allocate_lock()
        self._bell.acquire()
        thread = threading.Thread(
            target=_feed_all, args=(self,), name="mproc-pool-feeder", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._bell = None  # no thread to be had: whoever takes results feeds
            self._feed()


def _feed_all(iterator: IMapIterator) -> None:
    """Feed an imap to its end: the thread of one that reads no plain container."""
    bell, pool = iterator._bell, iterator._pool
    while not iterator._exhausted and pool._state in (RUN, CLOSE):
        iterator._feed()
        if not iterator._exhausted:
            bell.acquire(True, LOOK)
            iterator._run_on()


class IMapUnorderedIterator(IMapIterator):
    """The results of an imap_unordered, each as soon as it is there."""

    __module__ = _PUBLIC_MODULE

    def _make_places(self) -> None:
        self._parts = set()
        self._done: deque[_Part] = deque()
        self._keep = self._parts.add

    def _make_part(self) -> _Part:
        return _LoosePart(self._pool, self._done)

    def _pop(self) -> _Part | None:
        if self._done:
            part = self._done.popleft()
            self._parts.remove(part)
            return part
        return None

    def _wait(self, seconds: float, seen: int) -> None:
        self._pool._check_owner()
        self._pool._pump(None, seconds, seen)
