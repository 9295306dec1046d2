"""What a ProcessPoolExecutor is made of: its futures, its engine, and what its workers run.

How it works. The pool is the core's (`_mproc.Pool`): it has the books of open tasks, notices
workers that have ended and has others started (`_start_in_seat`). The engine holds what has been
submitted in two places: the core's queue, from which the workers take, and the backlog, which only
the owner sees. What is in the backlog can be cancelled; a future whose task is in the queue is
*running*, though its worker may have another task before it. So the queue is kept short: a task for
each worker and what they are likely to begin within 2 ms. Whoever submits or pumps fills it up.

Futures are real ones. Those who wait by result() or exception() pump themselves; those who wait in
any other way, by concurrent.futures.wait() or a callback, call the engine's helper. The engine
knows nothing of its executor, so an executor that nobody holds any more is collected, while its
engine lives as long as work is open: the helper, or who waits for a future, holds it.

Shared state, in addition to that of the engine.
  _pool      by seat, the worker that was started there last. `_tasks.has_worker(seat)` tells
             whether its end has been noticed.
  _wanted    how many workers the core is to have. It grows under _sizing.
  _backlog   what is not in the queue, oldest first (backlog.c). Filled by who submits, emptied by
             who submits, pumps, cancels or breaks: taking is one step of the interpreter.
  _lock      of all conditions of futures (future.c).
  _refuses   what is submitted has to be looked at by _check(); of the class, too, at the end.
  _over      no task will come any more. _broken: why no task will be done any more, None: it works.

If a worker dies: its task fails. Unless the engine is to heal, the core's pool is a fragile one:
all other tasks fail, too. Then the engine breaks, and ends the workers that are left, as programs
know it of concurrent.futures.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import BrokenExecutor
from weakref import WeakSet

from .. import _mproc, process
from .._cpython import before_threads_end
from .._current import finalizers
from .._engine import Engine
from .._mproc import getpid as _getpid
from .._worker import Workplace, import_for_workers
from .errors import (
    AbruptEnd,
    ExceptionWithTraceback,
    RemoteTraceback,
    WorkerDiedError,
    add_note,
    explain_result,
    explain_unknown,
    rebuild,
    representation,
)
from .future import Future, Released, Waiters
from .helper import be as _  # noqa: F401 # before the fork of workers: after it each page is copied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from ..context import BaseContext
    from .errors import Where
    from .limits import TaskOptions

    _Options = tuple[int, tuple[int, int, int]] | None  # TaskOptions.for_backlog()

__all__ = ["BrokenProcessPool", "ExecutorEngine", "Future", "UnreadableError"]

HANDFUL = 256  # items of a map
EXIT_PRIORITY = 20  # of finishing at the end of a child, before its children are waited for

BROKEN = (
    "A process in the process pool was terminated abruptly while the future was running or pending."
)
UNUSABLE = "A child process terminated abruptly, the process pool is not usable anymore"


class BrokenProcessPool(BrokenExecutor):
    """A worker ended while the future was running or pending; the executor takes no more.

    The cause, a WorkerDiedError, names the worker, its pid and how it ended.
    """

    __module__ = "mproc.futures"


class UnreadableError(BrokenProcessPool):
    """A task, its result or exception was sent, but could not be unpickled.

    Only this future fails. It is a BrokenProcessPool because the standard executor breaks here.
    """

    __module__ = "mproc.futures"


class _Broken(Exception):
    """Stands for a BrokenProcessPool: each future gets one of its own."""

    def __init__(self, cause: BaseException | None, message: str = BROKEN) -> None:
        super().__init__(message)
        self.cause = cause

    def make(self) -> BrokenProcessPool:
        error = BrokenProcessPool(self.args[0])
        error.__cause__ = self.cause
        if type(self.cause) is WorkerDiedError and sys.version_info >= (3, 15):
            error.__cause__ = AbruptEnd(*self.cause.args)
        return error


# ---- tasks


class _Call(_mproc.Job):
    """The task of a future."""

    __slots__ = ()

    def _error(self, value: BaseException) -> BaseException:
        return value.make() if type(value) is _Broken else value

    def _unreadable(self, error: BaseException) -> BaseException:
        return _unreadable("a result", error)


def _unreadable(what: str, error: BaseException) -> UnreadableError:
    unreadable = UnreadableError(f"{what} could not be unpickled: {error!r}")
    unreadable.__cause__ = error
    return unreadable


# ---- the workers' side


class _Described(ExceptionWithTraceback):
    """An exception on its way to a future."""

    __module__ = "mproc._pool.executor"

    @staticmethod
    def _rebuild(message: bytes, tb: str, name: str) -> BaseException:
        return rebuild(message, tb, lambda error: UnreadableError(f"{name} ({error!r})"))


def _describe(exc: BaseException, called: bool, where: Where = None) -> ExceptionWithTraceback:
    if not called:
        explain_unknown(exc)
    wrapped = _Described(exc, exc.__traceback__, where)
    if not called:
        wrapped.exc = UnreadableError(f"a task could not be unpickled: {exc!r}")
    return wrapped


def _excuse(value: object, exc: BaseException, first: int | None) -> ExceptionWithTraceback:
    """Return what is sent instead of a result, or an exception, that cannot be pickled."""
    if isinstance(value, ExceptionWithTraceback):
        add_note(exc, f"The task raised what cannot be sent: {representation(value.exc)}")
        exc.__context__ = RemoteTraceback(value.tb)
        value = value.exc
    explain_result(exc, value, first)
    return _Described(exc, exc.__traceback__)


def run_worker(
    place: Workplace,
    seat: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    limit: int | None,
) -> None:
    """Run tasks until there are no more, or as many as the limit are done."""
    # It was started as a daemonic process, to end with its owner. But it may have children.
    process.current_process()._config["daemon"] = False
    if initializer is not None:
        import_for_workers()
        try:
            initializer(*initargs)
        except KeyboardInterrupt:
            raise
        except BaseException:
            import logging

            logging.getLogger("concurrent.futures").critical(
                "Exception in initializer:", exc_info=True
            )
            raise SystemExit(1) from None
    pid = _getpid()
    try:
        place.serve(seat, limit or 0, _describe, _excuse, True)
    except ChildProcessError as error:
        if _getpid() != pid:
            add_note(
                error, "A task forked, and came back in the child, too: end that by os._exit()"
            )
        raise


# ---- the owner's side


class ManagerThread(threading.Thread):
    """The helper of an executor's engine."""


class ExecutorEngine(Engine):
    """The books and the workers of an executor."""

    _helper_stays = True
    _helper_name = "mproc-executor"
    _kind_of_helper = ManagerThread
    _function_name = "fn"
    _refuses = False

    def __init__(
        self,
        seats: int,
        context: BaseContext,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        limit: int | None,
        heal: bool,
    ) -> None:
        self._context = context
        self._initializer = initializer
        self._initargs = initargs
        self._limit = limit
        self._is_fragile = not heal
        seats = min(seats, _mproc.SEATS_MAX)  # more will not be needed
        self._set_up(seats, context)
        self._pool = [None] * seats
        self._seats = seats
        self._all_at_once = context.get_start_method(allow_none=False) == "fork"
        self._wanted = 0  # workers that the core is to have
        self._sizing = threading.RLock()
        self._backlog = _mproc.Backlog(Future, _Call, seats)
        self._lock = threading.RLock()
        self._over = False
        self._finished = False
        self._broken: str | None = None
        self._reason: BaseException | None = None
        self._end_at_exit(EXIT_PRIORITY, lambda engine: engine._finish())
        engines.add(self)

    # -- workers

    def _make_worker(self, seat: int) -> process.BaseProcess:
        new = self._context.Process(
            target=run_worker,
            args=(self._place, seat, self._initializer, self._initargs, self._limit),
        )
        new.daemon = True
        new._quiet = True
        return new

    def _start(self, new: process.BaseProcess) -> None:
        try:
            new.start()
        finally:
            new._config["daemon"] = False  # at exit it is waited for

    def _start_first(self) -> None:
        """Start workers for the first task. Raises what keeps every one from starting."""
        self._start_error = None
        self._grow()
        error = self._start_error
        if error is not None and not self._started:
            self._start_error = None
            try:
                raise error
            finally:
                del error  # its traceback holds this frame

    def _grow(self) -> None:
        """Have as many workers as there are tasks, as far as there may be."""
        demand = max(self._tasks.open + len(self._backlog), 1)
        wanted = self._seats if self._all_at_once else min(demand, self._seats)
        if wanted > self._wanted or not self._started:
            self._resize(wanted)

    def _resize(self, wanted: int) -> None:
        with self._sizing:  # another thread may have come first, and want more
            before = self._wanted
            wanted = self._wanted = max(before, wanted)
        try:
            self._tasks.resize(wanted)
            while self._wanted > wanted:  # another thread's, and this one may have come after it
                wanted = self._wanted
                self._tasks.resize(wanted)
        except (OSError, RuntimeError, ValueError):
            pass  # it is closed or broken, as the task that is about to be put will say
        except BaseException:  # of a signal's handler: the next task tries again
            self._wanted = before
            raise

    def _start_one_more(self) -> None:
        """Start a worker before there is work for it, if there may be another one."""
        self._check()
        if not self._started:
            self._start_first()
        elif self._wanted < self._seats:
            self._resize(self._wanted + 1)

    def _look_after_workers(self) -> None:
        if self._broken is None and (self._has_work() or not self._over):
            super()._look_after_workers()

    def _failure_of_all(self, error: BaseException) -> BaseException:
        if self._broken is None:
            self._break(self._what_broke_it(error))
        return _Broken(error if isinstance(error, WorkerDiedError) else self._reason)

    def _break(self, reason: BaseException) -> None:
        if self._broken is not None:
            return
        self._broken = UNUSABLE
        self._refuses = True
        self._reason = reason
        self._tasks.abandon()
        self._tasks.close()
        self._backlog.fail_all(_Broken(reason).make)
        self._tell()
        self._end_living()
        self._need_helper()

    # -- submitting

    def _check(self) -> None:
        """Raise what keeps tasks from being submitted."""
        if self._broken is not None:
            raise _Broken(self._reason, self._broken).make()
        if self._over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._owner != _getpid():
            raise RuntimeError(f"this executor belongs to process {self._owner}, not to this one")

    def _submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: _Options = None,
    ) -> Future:
        """Take a call; return its future."""
        if not self._started:
            self._start_first()
        future: Future = self._backlog.put(self, fn, args, kwargs, options)
        if self._wanted < self._seats or self._helper is None or self._parked:
            self._see_to_it()
        return future

    def _submit_chunk(
        self, fn: Callable[..., Any], chunk: list[Any], first: int, options: _Options = None
    ) -> Future:
        """Take a chunk of a map; return its future. first: the number of its first item."""
        if not self._started:
            self._start_first()
        future: Future = self._backlog.put_chunk(self, fn, chunk, first, options)
        if self._wanted < self._seats or self._helper is None or self._parked:
            self._see_to_it()
        return future

    def _submit_chunks(
        self,
        fn: Callable[..., Any],
        items: Iterator[tuple[Any, ...]],
        chunksize: int,
        options: _Options,
    ) -> list[Future]:
        """Take all chunks of a map; return their futures.

        A handful of them in one call of C: in between, signal handlers and other threads run.
        """
        futures: list[Future] = []
        most = max(1, HANDFUL // chunksize)
        try:
            while len(futures) % most == 0:  # fewer: the items have ended
                first = len(futures) * chunksize
                more = self._backlog.put_chunks(self, fn, items, chunksize, first, most, options)
                if not more:
                    break
                futures += more
        finally:
            if futures:
                self._see_to_it()
        return futures

    def _see_to_it(self) -> None:
        """See to it that what is submitted is done."""
        if self._wanted < self._seats:
            self._grow()
        self._need_helper()

    def _instead_of(
        self,
        error: Exception,
        fn: Callable[..., Any],
        args: tuple[Any, ...] | list[Any],
        kwargs: Mapping[str, Any] | None,
        first: int,
    ) -> BaseException:
        """Return what a task that cannot be queued fails with: the engine may have ended since."""
        if isinstance(args, list):
            self._explain(error, "parts_of_chunk", args, first)
        else:
            self._explain(error, "parts_of_call", args, kwargs)
        if self._broken is not None:
            return _Broken(self._reason).make()
        if isinstance(error, ValueError) and self._over and not self._has_work():
            return RuntimeError("cannot schedule new futures after shutdown")
        return error

    def _keep_fed(self) -> None:
        if self._backlog:
            self._backlog.feed(self)
        if self._over:
            self._finish_up()

    def _withdraw(self, future: Future) -> None:
        """Take a cancelled future out of the backlog, and tell those who wait for it."""
        if self._backlog.remove(future):
            future.set_running_or_notify_cancel()
            future._let_go()
        # else a worker has it, or another thread is about to run it and sees that
        self._tell()

    def _cancel_all(self) -> None:
        for future in self._backlog.futures():
            future.cancel()
        self._tell()

    @staticmethod
    def _options_for(options: TaskOptions) -> _Options:
        """Return options as the backlog takes them."""
        return options.for_backlog()

    # -- waiting

    def _has_work(self) -> bool:
        return bool(self._tasks.open > 0 or self._backlog)

    def _check_owner(self) -> None:
        if self._owner != _getpid():
            raise RuntimeError(f"this future belongs to process {self._owner}, not to this one")

    def _await(self, future: Future, timeout: float | None) -> None:
        """Collect until a future is done, or for that many seconds."""
        self._check_owner()
        self._pump_until(future.done, timeout)

    def _sleep(self, job: _mproc.Job | None, seconds: float, seen: int | None) -> None:
        with Released(self._lock):  # the pumping thread may wait for it
            super()._sleep(job, seconds, seen)

    def _make_condition(self) -> threading.Condition:
        """Return the condition of a future."""
        return threading.Condition(self._lock)

    def _make_waiters(self) -> Waiters:
        """Return the list of a future's foreign waiters, the first of which calls the helper."""
        waiters = Waiters()
        waiters.engine = self
        return waiters

    def _serve_others(self) -> None:
        """Have the helper collect for somebody who waits and cannot."""
        self._check_owner()
        self._call_helper()

    # -- the end

    def _is_over(self) -> bool:
        return self._over or self._broken is not None

    def _shut_down(self, wait: bool, cancel: bool) -> None:
        self._over = self._refuses = True
        if self._finished or self._owner != _getpid():
            return
        if cancel:
            self._cancel_all()
        self._finish_up()
        if wait:
            self._finish()
        elif self._started:
            self._need_helper()

    def _finish(self) -> None:
        """Wait until all is done and the workers have ended."""
        self._over = self._refuses = True
        with Released(self._lock):
            self._pump_until(lambda: not self._has_work(), None, True)
            self._finish_up()
            self._join_workers()
            self._join_helper(None)
        self._finished = True
        finalizers.pop(self._at_exit, None)

    def _join_workers(self) -> None:
        if self._broken is not None:
            self._end_workers()
        for old in self._started_workers():
            old.join()

    def _leave(self) -> bool:
        if self._is_over():
            self._join_workers()
        return super()._leave()

    def _workers(self) -> dict[int, process.BaseProcess]:
        """Return the workers that have been started and not been missed, by pid."""
        pool = enumerate(list(self._pool))
        seated = [old for seat, old in pool if self._tasks.has_worker(seat) and not old._closed]
        return {old.pid: old for old in seated}

    def _end_workers_by(self, how: str) -> None:
        """Call a method of every worker that lives: terminate() or kill(). What is open fails.

        It fails first: an engine that heals would put others in the place of the workers, and a
        task with retries would be begun anew.
        """
        self._ends_by = how
        if self._has_work():
            self._break(RuntimeError(f"{how}_workers() has ended the workers"))
        self._end_living()


engines: WeakSet[ExecutorEngine] = WeakSet()
_exiting = False


def finish_all() -> None:
    """Finish what is open at the interpreter's end, as long as threads can still wait for it."""
    global _exiting
    _exiting = ExecutorEngine._refuses = True
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for engine in list(engines):
        if engine._owner == _getpid():
            if interrupted:
                engine._cancel_all()
            engine._finish()


before_threads_end(finish_all)
