"""The task queue of a ThreadPool: what Tasks is to a Pool, for workers that are threads.

How it works. Calls go to the workers as they are, through one queue of the interpreter, and come
back through another one. Results are booked by whoever pumps, as those of processes are, so that
callbacks and waiting are the same for both kinds of pool.

Shared state, all under the interpreter's lock.
  _waiting   calls that no worker has taken; None at its end: a worker that takes it puts it back.
  _results   calls that are done, with what came of them. None: a notice.
  _books     calls whose results have not been booked, so that they can be failed together.
  _served    seats whose worker has begun to serve.

A thread dies only with its process, or of what its initializer raises: then it has served nothing.
"""

from __future__ import annotations

from queue import Empty
from queue import SimpleQueue as _SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .. import _mproc

__all__ = ["Call", "ThreadTasks", "run"]


class Call:
    """A task: a function and what it is called with; a part of a job."""

    __slots__ = ("arguments", "function", "job", "kind", "part")

    def __init__(
        self, job: _mproc.Job, part: int, kind: str, function: Callable[..., Any], arguments: Any
    ) -> None:
        self.job = job
        self.part = part
        self.kind = kind
        self.function = function
        self.arguments = arguments


def run(kind: str, function: Callable[..., Any], arguments: Any) -> Any:
    """Do what a call says."""
    if kind == "call":
        args, kwds = arguments
        return function(*args, **(kwds or {}))
    if kind == "map":
        return [function(item) for item in arguments]
    return [function(*item) for item in arguments]


class ThreadTasks:
    """A queue of calls for threads, and the books of those that are open."""

    done = 0  # not counted: `served` tells what a thread has done

    def __init__(self, seats: int) -> None:
        self._waiting: _SimpleQueue[Call | None] = _SimpleQueue()
        self._results: _SimpleQueue[tuple[Call, bool, Any] | None] = _SimpleQueue()
        self._books: set[Call] = set()
        self._served: set[int] = set()
        self._closed = False

    # -- the owner's side

    @property
    def open(self) -> int:
        """How many calls have not been booked."""
        return len(self._books)

    @property
    def waiting(self) -> int:
        """How many calls no worker has taken."""
        return self._waiting.qsize()

    def submit(
        self, job: _mproc.Job, function: Any, named: bool, arguments: tuple[Any, Any]
    ) -> None:
        """Queue one call. RuntimeError: after close()."""
        job._begin(1, 0, None)
        self._put(Call(job, 0, "call", function, arguments))

    def submit_map(
        self,
        job: _mproc.Job,
        function: Any,
        named: bool,
        star: bool,
        items: list[Any],
        chunk: int,
        first: int = 0,
    ) -> None:
        """Queue a call per item of a list, chunk of them per task."""
        starts = range(0, len(items), chunk)
        job._begin(len(starts), chunk, [None] * len(items))
        for part, start in enumerate(starts):
            some = items[start : start + chunk]
            self._put(Call(job, part, "starmap" if star else "map", function, some))

    def _put(self, call: Call) -> None:
        if self._closed:
            raise RuntimeError("the pool takes no more tasks")
        self._books.add(call)
        self._waiting.put(call)

    def pump(self, job: _mproc.Job | None, timeout: float | None) -> bool:
        """Book results until the job is ready; see Tasks.pump()."""
        booked = False
        while job is None or not job._ready:
            try:
                result = self._results.get(timeout is None or timeout > 0, timeout or None)
            except Empty:
                break
            if result is not None:
                self._book(*result)
            booked = True
            if job is None:
                timeout = 0
        return booked if job is None else job._ready

    def notify(self) -> None:
        """Have the thread that pumps look again at what it waits for; see Tasks.notify()."""
        self._results.put(None)

    def _book(self, call: Call, failed: bool, value: Any) -> None:
        if call in self._books:
            self._books.discard(call)
            if failed:
                call.job._book_failure(value)
            else:
                call.job._book(call.part, value)

    def worker_died(self, seat: int, make_error: Callable[[int], BaseException]) -> bool:
        """Return False: a thread does not end while it has a task."""
        return False

    def served(self, seat: int) -> bool:
        """Return whether the seat's worker began to serve, and forget it."""
        begun = seat in self._served
        self._served.discard(seat)
        return begun

    def fail_all(self, error: BaseException) -> None:
        """Fail every open job."""
        while self._books:
            self._books.pop().job._fail(error)

    def close(self) -> None:
        """Take no more calls: workers do what waits, then end."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)

    def drop_waiting(self) -> None:
        """Have the workers end as soon as they can: what waits is not done."""
        self.close()
        try:
            while True:
                self._waiting.get_nowait()
        except Empty:
            self._waiting.put(None)

    # -- the workers' side

    def serve(
        self,
        seat: int,
        limit: int,
        describe: Callable[[BaseException, bool], Any],
        excuse: Callable[[object, BaseException], object],
        everything: bool = False,
    ) -> int:
        """Run calls until there are no more, or as many as the limit are done."""
        self._served.add(seat)
        done = 0
        while limit == 0 or done < limit:
            call = self._waiting.get()
            if call is None:
                self._waiting.put(None)  # for the others
                break
            self._results.put(self._do(call, describe))
            call = None
            done += 1
        return done

    @staticmethod
    def _do(call: Call, describe: Callable[[BaseException, bool], Any]) -> tuple[Call, bool, Any]:
        try:
            return call, False, run(call.kind, call.function, call.arguments)
        except BaseException as error:  # a thread that ends would leave its call undone
            return call, True, describe(error, True)
