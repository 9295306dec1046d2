"""The iterators over results that a pool's imap() and imap_unordered() return.

How it works. The results are a stream (`_mproc.Stream`). Items are taken from the iterable in
chunks, and each chunk is submitted as a part of the stream; many parts are submitted together.
Parts are taken out as they are asked for, in order or in that of their coming, and more items are
submitted meanwhile.

While results are taken, items are taken from the iterable only as far ahead as `_limit` says: so
many parts may be under way or waiting to be taken. Each time that half of them have been taken, as
many are submitted again. Where that is so often that it costs more than the parts, there are more
of them: what is ahead is some milliseconds of work, or WINDOW parts if these take longer. That is a
service, not a promise, for programs start an imap and wait for what it does elsewhere: where nobody
asks for results for a while, it goes on. A `buffersize` is a promise: then it never does.

An iterable that is no plain container runs code of the program, which may wait for anything, also
for results of this imap. So a thread of its own reads it, and submits each part as soon as it can.

Shared state, all under the interpreter's lock; that of the stream stands there.
  _feeding    whose turn it is to take items and to submit them.
  _seen       how many parts were taken when the helper looked last; _since: when that changed last,
              as far as the helper knows.
  _asking     somebody's turn while threads wait for a part.
  _bell       wakes the thread that feeds; None: there is none, and whoever takes feeds.
"""

from __future__ import annotations

from _thread import allocate_lock as _allocate_lock
from time import monotonic

from .. import _mproc
from .._cpython import is_of_a_signal
from .._engine import LOOK, ring
from ..context import TimeoutError
from ..pool import CLOSE, RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Generic

    from typing_extensions import TypeVar

    from ..pool import Pool

    _T = TypeVar("_T", default=Any)

    class _Stream(_mproc.Stream[_T], Generic[_T]): ...


__all__ = ["IMapIterator", "IMapUnorderedIterator"]

_mproc._add_imap()

if not TYPE_CHECKING:
    _T = ...
    _Stream = {_T: _mproc.Stream}

WINDOW = 64  # parts of an imap that are under way or not taken yet, at least
FAR = 1024  # the same, where parts are done and taken quickly
QUICK = 0.001  # seconds; if half a window is done and taken in these, twice as many may be ahead
SLOW = 0.008  # seconds; if it takes longer, half as many
BATCH = 1024  # items that are taken at once, unless a chunk has more
NOBODY = 0.25  # seconds after which an imap whose results nobody has asked for runs to its end
GAP = 1.0  # seconds without a taking after which an imap goes twice as far ahead

_PUBLIC_MODULE = "mproc.pool"  # the module by which programs find the iterators
_FOREVER = float("inf")

# Iterating over these runs no code of the program, so it cannot wait for anything.
_PLAIN = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset)
# And these cannot fail either, so many items may be taken before the first is submitted.
_STEADY = (list, tuple, range, str, bytes, bytearray, frozenset)


class IMapIterator(_Stream[_T]):
    """The results of an imap, in order, each as soon as it is there."""

    __module__ = _PUBLIC_MODULE

    _unordered = False

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
        self._exhausted = func is None
        self._ended_by: BaseException | None = None
        self._asking = _mproc.Turn()
        self._bell: Any = None
        self._loose = self._unordered
        if func is not None:
            self._begin_imap(func, iterable, chunksize, buffersize)

    def _set_length(self, length: int) -> None:
        """Do nothing: the end of the iterable is the end."""

    @property
    def _index(self) -> int:
        """How many results have been taken."""
        return self._taken

    @property
    def _length(self) -> int | None:
        """How many results there will have been; None: the iterable has not come to its end."""
        return self._opened if self._exhausted else None

    def _begin_imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
    ) -> None:
        pool = self._pool
        self._function = pool._message_of(func)
        self._items = iter(iterable)
        self._chunk = chunksize
        self._seen = 0
        self._exhausted = False
        self._strict = buffersize is not None
        self._least = buffersize or max(WINDOW, 4 * pool._processes)
        self._window: float = self._least
        self._low = self._least - 1 if self._strict else self._least // 2
        self._limit: float = self._window
        self._since = self._went_on = monotonic()
        self._feeding = _mproc.Turn()
        self._together = max(1, BATCH // chunksize) if type(iterable) in _STEADY else 1
        try:
            pool._feeding.append(self)
            if isinstance(iterable, _PLAIN):
                self._feed()
            else:
                self._start_feeder()
            pool._need_helper()
        except BaseException:  # of a signal's handler: nobody has this iterator
            self._end()
            raise

    # -- taking

    def _await_next(self, timeout: float | None) -> None:
        """Wait until there is a result to be taken. TimeoutError; StopIteration: none will come."""
        if not self._exhausted:
            self._limit = self._window
        deadline = None if timeout is None else monotonic() + timeout
        turn, slice_ = self._pool._pumping, self._pool._slice
        left = slice_ if timeout is None else timeout
        with self._asking:
            seen = turn.news
            while not self._at_hand:
                if not left >= 0:  # a timeout of NaN has passed
                    raise TimeoutError
                self._await_more(min(slice_, left), seen)
                seen = turn.news
                left = slice_ if deadline is None else deadline - monotonic()

    def _await_more(self, seconds: float, seen: int) -> None:
        """Wait for what a part needs that is to be taken, at most that long; seen as in _pump()."""
        if not self._under_way and not self._exhausted:
            self._feed_or_ring()
        if self._under_way:
            self._pool._check_owner()
            self._pool._pump(self, seconds, seen)
        elif self._exhausted:
            error, self._ended_by = self._ended_by, None
            raise StopIteration if error is None else error
        elif (over := self._pool._why_over()) is not None:
            self._end()  # who feeds has left, or waits in the iterable, perhaps for ever
            raise over
        else:  # the iterable takes its time, or another thread feeds
            self._pool._pump(None, min(LOOK, seconds), seen)

    # -- feeding

    def _go_on(self) -> None:
        """Let more items be submitted, now that a part has been taken."""
        if self._together > 1 and not self._strict and self._window <= FAR:
            self._adapt()
        self._limit = self._window
        self._feed_or_ring()

    def _adapt(self) -> None:
        """Choose how far ahead this goes by the time that half of the last window took."""
        now = monotonic()
        took, self._went_on = now - self._went_on, now
        if took < QUICK and self._window < FAR:
            self._window *= 2
        elif took > SLOW and self._window > self._least:
            self._window = max(self._window // 2, self._least)
        self._low = int(self._window) // 2

    def _feed_or_ring(self) -> None:
        if self._bell is None:
            self._feed()
        elif self._bell.locked():
            ring(self._bell)

    def _feed(self) -> None:
        """Submit parts, as many as may be. One thread at a time does; others leave it to that."""
        with self._feeding as depth:
            if depth == 1:
                while (room := self._room()) > 0:
                    self._feed_parts(int(min(room, self._together)))

    def _room(self) -> float:
        """Return how many parts may be submitted now."""
        if self._exhausted:
            return 0
        n = self._under_way
        room = self._window - n
        if room <= 0:
            room = min(self._limit - n, self._window - self._pool._tasks.waiting)
        return room

    def _feed_parts(self, parts: int) -> None:
        pool = self._pool
        message, named = self._function
        submit = pool._tasks.submit_map
        fed = self._feed_items(submit, message, named, self._chunk, parts, pool._chosen)
        if fed is True:
            return
        if fed is not False:
            if is_of_a_signal(fed):
                raise fed  # who goes on has all the results
            self._ended_by = self._reason_of(fed)  # comes last, after all results
        self._end()

    def _reason_of(self, error: Exception) -> BaseException:
        """Return why no more items are submitted, now that this has been raised."""
        over = self._pool._why_over()
        if over is None:
            first = self._opened * self._chunk
            self._pool._explain(error, "parts_of_map", self._in_hand or [], first)
        return over or error

    def _end(self) -> None:
        self._exhausted = True
        self._low = -1
        self._pool._has_fed(self)

    def _run_on(self) -> None:
        """Go further ahead if nobody asks for results."""
        if self._exhausted:
            self._end()  # what a signal's handler raised may have kept the pool from knowing
            return
        now = monotonic()
        if self._asking.depth or self._taken != self._seen:
            self._seen = self._taken
            self._since = now
            self._limit = self._window
        elif not self._strict:
            self._go_further(now)
        if self._bell is None:
            self._feed()

    def _go_further(self, now: float) -> None:
        if self._taken == 0:
            if now - self._since > NOBODY:
                self._limit = _FOREVER
        elif now - self._since > GAP:
            self._limit = 2 * max(self._limit, self._under_way)
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
    try:
        while not iterator._exhausted and pool._state in (RUN, CLOSE):
            iterator._feed()
            if not iterator._exhausted:
                bell.acquire(True, LOOK)
                iterator._run_on()
    except BaseException as error:  # such as sys.exit(): nobody else would end the iterator
        iterator._ended_by = error
        iterator._end()


class IMapUnorderedIterator(IMapIterator):
    """The results of an imap_unordered, each as soon as it is there."""

    __module__ = _PUBLIC_MODULE

    _unordered = True
