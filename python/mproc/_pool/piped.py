"""The tasks of a pool whose subclass sets up queues of its own: `_setup_queues()`.

Such pools send tasks and results their own way, with picklers of their own, for example. They know
the standard pool's parts: `_quick_put(task)` sends a task, `_quick_get()` receives a result, and
workers call `worker(_inqueue, _outqueue, ...)`, which gets and puts.

How it works. As in ThreadTasks tasks wait in a queue of the interpreter, and whoever pumps books
results out of another one. A thread sends what waits, another one receives what was done. At most
AHEAD tasks for each worker are under way, because what was sent cannot be taken back.

A result that cannot be read does not say whose it is. So as many of the oldest tasks under way fail
as there are workers: one of them is it, for workers take tasks in their order.

If a worker dies: nobody knows which task it had. So all that are under way fail, and no other. A
worker that ends in good order takes its leave: number 0, with its pid for the part. Workers that
run a program's own function do not know that: their exit code 0 is enough.

The threads are daemonic and hold no pool. The sending one ends after close() or drop_waiting(), the
receiving one when the owner sends itself the last result, None: when the workers have ended, or are
to be ended at once.
"""

from __future__ import annotations

from time import monotonic, sleep

from .. import _mproc
from .._mproc import getpid
from .._worker import import_for_workers
from ..context import OwnerDiedError
from .errors import ExceptionWithTraceback, MaybeEncodingError, WorkerDiedError
from .threads import ThreadTasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..pool import Pool

__all__ = ["PipedTasks", "serve_queues"]

LEAVE = 1.0  # seconds for which the last word of a worker that has ended may be on its way
AHEAD = 2  # tasks under way for each worker: one that runs and one behind it


class PipedTasks(ThreadTasks):
    """The books of a pool with queues of its own, and the threads that use these queues."""

    def __init__(self, pool: Pool, seats: int, patience: float) -> None:
        import threading

        super().__init__(pool, seats, patience)
        self._seats = seats
        self._put_task = pool._quick_put
        self._get_result = pool._quick_get
        self._put_result = pool._outqueue.put
        self._close_results = pool._outqueue._writer.close
        self._under_way: dict[int, _mproc.Task] = {}
        self._free = threading.Semaphore(AHEAD * seats)
        self._foreign = pool._workers_are_foreign()
        self._ended = False
        self._dropped = False
        self._left: set[int] = set()  # pids of workers that have taken leave
        for target in (self._send, self._receive):
            threading.Thread(target=target, name="mproc-pool-queue", daemon=True).start()

    # -- the owner's side

    def _was_of_use(self, seat: int, old: Any) -> bool:
        """Fail all tasks that are under way, unless the worker has ended in good order."""
        if self._has_taken_leave(old):
            return True
        lost = list(self._under_way.items())
        for number, task in lost:
            self._book(task, True, self._death_of(self._engine(), old, number))
            self._finish(number)
        return bool(lost)

    def _has_taken_leave(self, old: Any) -> bool:
        """Return whether a worker has ended in good order; its last word may be on its way."""
        if old.exitcode != 0:
            return False
        if self._foreign:
            return True
        deadline = monotonic() + LEAVE
        while old.pid not in self._left and monotonic() < deadline:
            sleep(0.001)
        return old.pid in self._left

    def _death_of(self, engine: Any, old: Any, task: int | None = None) -> BaseException:
        return WorkerDiedError(old.name, old.pid or 0, old.exitcode or 0, task)

    def _fill(self, engine: Any) -> None:
        if not engine._repopulates():
            super()._fill(engine)
            return
        gone = {id(engine._pool[seat]) for seat in self._vacant if seat < len(engine._pool)}
        engine._pool[:] = [old for old in engine._pool if id(old) not in gone]
        self._vacant.clear()
        engine._repopulate_pool()

    def _finish(self, number: int) -> _mproc.Task | None:
        """Take a task out of those under way, if it still is."""
        task = self._under_way.pop(number, None)
        if task is not None:
            self._free.release()
        return task

    def drop_waiting(self) -> None:
        """End the sending thread: what waits is not done."""
        self._dropped = True
        super().drop_waiting()
        self._free.release()

    def end_receiving(self) -> None:
        """End the receiving thread: no result is wanted any more."""
        if not self._ended:
            self._ended = True
            try:
                self._put_result(None)
            except OwnerDiedError:  # a worker was killed, and perhaps half a result is in the pipe
                self._close_results()

    # -- the threads

    def _send(self) -> None:
        number = 0
        while (task := self._waiting.get()) is not None:
            self._free.acquire()
            if self._dropped:
                return
            number += 1
            self._under_way[number] = task
            self._send_one(number, task)
        for _ in range(0 if self._dropped else self._seats):
            self._put_task(None)

    def _send_one(self, number: int, task: _mproc.Task) -> None:
        try:
            self._put_task((number, task.part, _run, task.work, {}))
        except BaseException as error:  # of the pickling: there is nobody else in this thread
            if self._finish(number) is not None:
                self._results.put((task, True, error))

    def _receive(self) -> None:
        while (some := self._receive_some()) is not None:
            for number, part, (success, value) in some:
                task = self._finish(number)
                if task is not None:
                    self._results.put((task, not success, value))
                elif number == 0:
                    self._left.add(part)

    def _receive_some(self) -> list[Any] | None:
        """Return the next result, or what stands for one that cannot be read; None: none comes."""
        try:
            result = self._get_result()
        except BaseException as error:  # of the unpickling, or the queue was closed
            closed = isinstance(error, (EOFError, OSError)) and (self._ended or not self._under_way)
            return None if closed else self._fail_oldest(error)
        return None if result is None else [result]

    def _fail_oldest(self, error: BaseException) -> list[Any]:
        """Return failures for all tasks whose result may be the one that cannot be read.

        It does not tell whose it is. But workers take tasks in their order, one at a time.
        """
        oldest = sorted(self._under_way)[: self._seats]
        return [(number, 0, (False, MaybeEncodingError(error, "a result"))) for number in oldest]


def _run(kind: int, function: Callable[..., Any], arguments: Any) -> Any:
    """Do a task's work; in the worker, which finds this by its name."""
    return _mproc.run(kind, function, arguments)


def serve_queues(
    inqueue: Any,
    outqueue: Any,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    maxtasks: int | None,
    wrap_exception: bool,
) -> int:
    """Run the tasks that come through one queue, and put their results into another."""
    if initializer is not None:
        import_for_workers()
        initializer(*initargs)
    done = 0
    while (maxtasks is None or done < maxtasks) and (task := _next_task(inqueue)) is not None:
        job, part, function, args, kwds = task
        try:
            result = (True, function(*args, **kwds))
        except Exception as error:
            text = ExceptionWithTraceback(error, error.__traceback__)
            result = (False, text if wrap_exception else error)
        try:
            outqueue.put((job, part, result))
        except Exception as error:
            outqueue.put((job, part, (False, MaybeEncodingError(error, result[1]))))
        del task, args, result
        done += 1
    outqueue.put((0, getpid(), (True, None)))  # it takes its leave
    return done


def _next_task(inqueue: Any) -> Any:
    try:
        return inqueue.get()
    except (EOFError, OSError):
        return None  # the owner has gone
