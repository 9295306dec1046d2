"""How far a map is: `progress=` of map, starmap, imap and executor.map.

Imported when somebody asks for it; a map without it costs nothing more. Whoever waits for the
results shows how far they are, between two waits of TICK seconds, so there is no thread for that.

    True      one line on a terminal, which is written anew; a line now and then where standard
              error is something else
    "tqdm"    a bar of tqdm's
    callable  is called with the Progress, by whoever waits

A line that is begun is ended, whatever ends the map. What cannot be written is left out.
"""

from __future__ import annotations

import operator
import os
import sys
from time import monotonic

from ..context import TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .._engine import Engine
    from ..pool import AsyncResult, IMapIterator, Pool

__all__ = ["Progress", "WatchedIterator", "make", "size_of", "watch_imap"]

TICK = 0.1  # seconds between two writings of a terminal's line, and of each wait
SELDOM = 10.0  # seconds between two lines where standard error is no terminal
FINEST = 100  # parts into which a map is divided at least, if it is watched


def make(asked: Any, total: int | None, engine: Engine) -> Progress:
    """Return what shows how far a map of so many items is. TypeError, ImportError.

    total: None if it is unknown. engine: the one whose workers are counted.
    """

    def alive() -> int:
        return sum(old.exitcode is None for old in engine._started_workers())

    if asked is True:
        return (_Line if _is_a_terminal() else _Log)(total, alive)
    if asked == "tqdm":
        return _Bar(total, alive)
    if callable(asked):
        return _Called(total, alive, asked)
    raise TypeError(f'progress must be True, "tqdm" or a callable, not {asked!r}')


def size_of(*iterables: Iterable[Any]) -> int | None:
    """Return how many items side by side iterables have; None: they do not say."""
    sizes = [operator.length_hint(iterable, -1) for iterable in iterables]
    return None if -1 in sizes else min(sizes, default=0)


class Progress:
    """How far a map is.

    Attributes: done and total, in items; total is None if it is unknown.
    """

    interval = TICK

    def __init__(self, total: int | None, alive: Callable[[], int]) -> None:
        self.done = 0
        self.total = total
        self._alive = alive
        self._begun = monotonic()
        self._due = self._begun + self.interval

    @property
    def seconds(self) -> float:
        """How long the map has run."""
        return monotonic() - self._begun

    @property
    def rate(self) -> float:
        """Items a second, so far."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at that rate; None if that is unknown."""
        if self.total is None or not self.done:
            return None
        return max(self.total - self.done, 0) / self.rate

    @property
    def alive(self) -> int:
        """How many workers there are."""
        return self._alive()

    def __str__(self) -> str:
        parts = [f"{self.done} items"]
        if self.total is not None:
            percent = 100 * self.done // self.total if self.total else 100
            parts = [f"{self.done}/{self.total} items", f"{percent}%"]
        parts.append(f"{self.rate:.1f}/s" if self.rate < 100 else f"{self.rate:.0f}/s")
        if self.left is not None:
            parts.append(f"{_clock(self.left)} left")
        parts.append(f"{self.alive} workers")
        return ", ".join(parts)

    # -- what differs

    def _show(self) -> None:
        """Show how far it is."""

    def _end(self) -> None:
        """End what has been shown."""

    # -- counting

    def update(self, done: int) -> None:
        """Note how many items are done, and show it if that is due."""
        self.done = done
        now = monotonic()
        if now >= self._due:
            self._due = now + self.interval
            self._show()

    def finish(self) -> None:
        """Show how far it is, for the last time."""
        try:
            self._show()
        finally:
            self._end()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._end()

    # -- waiting

    def wait_for(self, pool: Pool, submit: Callable[[], AsyncResult]) -> Any:
        """Return what a map gets that is to be submitted, and show how far it is until then."""
        with self:
            result = submit()
            parts, size = result._left, result._chunksize
            while not result._ready:
                pool._wait(result, TICK)
                self.update(min((parts - result._number_left) * size, self.total or 0))
            return result.get()

    def take(
        self, take: Callable[[list[Any], float | None], list[Any]]
    ) -> Callable[[list[Any], float | None], list[Any]]:
        """Return a function that takes what the last future has got, as another one does."""

        def watching(futures: list[Any], timeout: float | None) -> list[Any]:
            end = None if timeout is None else monotonic() + timeout
            while not futures[-1].done() and (end is None or monotonic() < end):
                self._await(futures[-1], TICK if end is None else min(TICK, end - monotonic()))
            return take(futures, None if end is None else end - monotonic())

        return watching

    def _await(self, future: Any, seconds: float) -> None:
        from concurrent.futures import CancelledError
        from concurrent.futures import TimeoutError as NotYet

        try:
            future.exception(max(seconds, 0))
        except NotYet:
            self.update(self.done)
        except CancelledError:
            pass

    def count(self, results: Iterator[Any]) -> Iterator[Any]:
        """Yield results, and count them."""
        with self:
            for value in results:
                self.update(self.done + 1)
                yield value


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# ---- the ways of showing


def _is_a_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, OSError, ValueError):
        return False  # there is none, or it was closed


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # there is none, or it was closed


class _Line(Progress):
    """One line of a terminal, which is written anew."""

    _begun_line = False

    def _show(self) -> None:
        self._begun_line = True
        _write(f"\r{str(self)[: _columns() - 1]}\x1b[K")

    def _end(self) -> None:
        if self._begun_line:
            self._begun_line = False
            _write("\n")


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


class _Log(Progress):
    """A line now and then."""

    interval = SELDOM

    def _show(self) -> None:
        _write(f"{self}\n")


class _Called(Progress):
    """Calls a function of the program."""

    def __init__(
        self, total: int | None, alive: Callable[[], int], function: Callable[[Progress], object]
    ) -> None:
        super().__init__(total, alive)
        self._function = function

    def _show(self) -> None:
        self._function(self)


class _Bar(Progress):
    """A bar of tqdm's."""

    def __init__(self, total: int | None, alive: Callable[[], int]) -> None:
        super().__init__(total, alive)
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped]
        except ImportError:
            raise ImportError(
                'progress="tqdm" needs the package tqdm: pip install tqdm', name="tqdm"
            ) from None
        self._bar = tqdm(total=total, file=sys.stderr)

    def _show(self) -> None:
        self._bar.set_postfix(workers=self.alive, refresh=False)
        self._bar.update(self.done - self._bar.n)

    def _end(self) -> None:
        self._bar.close()


# ---- imap


def watch_map(
    pool: Any,
    func: Callable[..., Any],
    iterable: Iterable[Any],
    star: bool,
    chunksize: int | None,
    asked: Any,
) -> list[Any]:
    """Return what a map or starmap returns, and show meanwhile how far it is."""
    items = iterable if type(iterable) is list else list(iterable)
    shown = make(asked, len(items), pool)
    if chunksize is None:
        chunksize = -(-len(items) // max(4 * pool._size(), FINEST))
    result: list[Any] = shown.wait_for(pool, lambda: pool._map_async(func, items, star, chunksize))
    return result


def watch_imap(
    pool: Pool, kind: type[IMapIterator], func: Any, iterable: Iterable[Any], *how: Any
) -> Any:
    """Return the results of an imap that is begun here, and shown; how ends with progress=."""
    *sizes, asked = how
    progress = make(asked, size_of(iterable), pool)
    return WatchedIterator(kind(pool, func, iterable, *sizes), progress)


class WatchedIterator:
    """The results of an imap, whose number is shown as they are taken."""

    def __init__(self, results: IMapIterator, progress: Progress) -> None:
        self._results = results
        self._progress = progress

    def __iter__(self) -> WatchedIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, or raise what the call raised. multiprocessing.TimeoutError."""
        end = None if timeout is None else monotonic() + timeout
        try:
            value = self._next(end)
            self._progress.update(self._progress.done + 1)
        except StopIteration:
            self._progress.finish()
            raise
        except BaseException:
            self._progress._end()
            raise
        return value

    def _next(self, end: float | None) -> Any:
        results = self._results
        while not results._at_hand:
            left = TICK if end is None else min(TICK, end - monotonic())
            try:
                results._await_next(max(left, 0))
            except TimeoutError:
                self._progress.update(self._progress.done)
                if end is not None and not monotonic() < end:
                    raise
        return results.next()

    def __del__(self) -> None:
        self._progress._end()
