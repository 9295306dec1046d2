"""The owner's side of a pool: open tasks, worker processes, and who collects results.

Pool is an Engine; a ProcessPoolExecutor has one.

How it works. The tasks are the core's pool (`_mproc.Pool`): it has the books of what is open,
notices workers that have ended and has others started (`_start_in_seat`). A pool of threads, or
with queues of its own, has tasks in Python instead, which do the same (`_pool/threads.py`). Whoever
waits for a result *pumps*: it has the tasks collect what the workers have handed in, for everybody;
see python/_mproc/engine.c.

The helper. Programs rely on work that goes on although nobody waits: workers that died are
replaced, results are booked, callbacks come. So what is submitted without a wait starts a helper,
a thread that mostly sleeps (`_pool/helper.py`). Where callbacks or waiters of foreign code need
every result at once (`_call_helper`), it pumps all the time.

This file is no part of the package `_pool`, and what few pools need stands there: all that is here
is imported when a program makes its first pool, and to find a package takes longer than a module.

Shared state, all of it private to the owner's process.
  _pool      by seat, the worker that was started there last; None: none was.
  _pumping   whose turn it is to pump, and where the other threads that wait sleep (turn.c).
  _helper    the thread, None: there is none. _needed: it has to pump all the time. _parked: it
             sleeps until _bell is released. Set by the helper, or under the interpreter's lock.

Invariants.
  1  An open task is booked as done, or failed, by the pumping thread, by the one that breaks the
     engine, or by who ends it.
  2  Whenever there is work, a thread pumps or the helper lives; but where no thread can be started
     the next that submits tries again.

If a worker dies: the task that it had fails, and another worker is put into its seat. Where none
can be started (descriptors, memory), that is tried again with each look; after RESTART seconds
without a single worker the engine breaks.
"""

from __future__ import annotations

import os
from _thread import allocate_lock as _allocate_lock
from _thread import get_ident as _get_ident
from errno import ECANCELED
from time import monotonic as _monotonic

from . import _current, _mproc
from ._cpython import SIGCONT, has_threads, is_of_a_signal
from ._cpython import ref as _reference
from ._mproc import getpid as _getpid
from ._worker import Workplace, import_for_workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from _thread import LockType
    from collections.abc import Callable
    from typing import Any, Self

    from ._pool.limits import TaskOptions
    from .context import BaseContext

__all__ = ["Engine", "HasOptions", "place_for", "ring"]

LOOK = 0.01  # seconds between two looks of the helper at whether somebody pumps
PATIENCE = 5.0  # seconds that a worker has for ending when asked, before it is killed
RESTART = 30.0  # seconds for which there may be no worker at all because none can be started

_NOTHING = object()


def place_for(wanted: int | None, engine: Any, may_leave: bool = True) -> tuple[Any, int]:
    """Return the engine of other machines for a pool, or None, and how many workers it is to have.

    wanted, engine: as the program says. may_leave: its workers may be on other machines.
    """
    cluster = None
    if may_leave and (engine is not None or _current.engine is not None):
        from .engines import chosen

        cluster = chosen(engine)
    if wanted is None:
        count = getattr(os, "process_cpu_count", os.cpu_count)
        wanted = count() or 1 if cluster is None else cluster.slots()
    return cluster, wanted


class HasOptions:
    """What takes tasks that may have options: a Pool, or a ProcessPoolExecutor."""

    def options(
        self,
        *,
        timeout: float | None = None,
        retries: int | None = None,
        memory: int | None = None,
        priority: int | None = None,
    ) -> Self:
        """Return the same pool or executor; each task submitted through it has these options.

        timeout: seconds that the task may run; then its worker is ended, and it fails with
        pool.TaskTimeoutError. memory: bytes that its worker may have to itself while the task runs;
        with more it is ended, and the task fails with pool.TaskMemoryError. retries: how often the
        task is begun anew after its worker died or its time was up. priority: tasks of a higher one
        are given to workers before those of a lower one; the usual one is 0. Of a Pool's, only what
        is submitted after priorities have been asked for first can be overtaken.

        None: as it is in what is asked. The tasks of a map or imap are its chunks. A worker that is
        ended or dies so does not break an executor. TypeError, ValueError; NotImplementedError: a
        pool of threads, or with queues of its own.
        """
        from ._pool.limits import TaskOptions

        return self._with_options(TaskOptions(timeout, retries, memory, priority))

    def _with_options(self, options: TaskOptions) -> Self:
        raise NotImplementedError


class Engine(_mproc.Engine):
    """The books, the workers, and the helper of a pool."""

    _helper_stays = False  # parks instead of ending, until the engine is over
    _helper_name = "mproc-pool"
    _kind_of_helper: type[threading.Thread] | None = None  # None: threading.Thread
    _function_name = "func"  # of the parameter, for errors
    _is_fragile = False  # a worker that dies by itself breaks it
    _slice = 0.05  # seconds between two looks at the workers while results are awaited
    _is_outlived = False  # its workers do what is queued when it is freed, and are not killed

    # Does what waits for the pumping thread, which calls it. None: nothing waits so.
    _keep_fed: Callable[[], None] | None = None

    # What is the same at first for every engine stands here: an object with many attributes of its
    # own takes more pages, and each is copied when a worker is forked.
    _sealer: Any = None  # the module that sends by value, if the context asks for that
    _initializer: Callable[..., object] | None = None
    _cluster: Any = None  # the engine of other machines on which tasks are done; see engines/
    _last_function: tuple[object, bytes, bool] = (_NOTHING, b"", False)
    _ends_by = "terminate"  # the method by which living workers are ended
    _ending = False  # who ends the workers does not want their deaths to be noticed
    _started = False  # there has been a worker
    _start_error: Exception | None = None  # why no worker could be started last
    _seen = 0
    _rests = 0
    _needed = False
    _parked = False
    _helper: threading.Thread | None = None

    def _set_up(self, seats: int, context: BaseContext) -> None:
        self._owner = _getpid()
        if getattr(context, "_pickler", None) is not None:
            from . import _cloudpickle

            self._sealer = _cloudpickle
        self._pool: list[Any] = []
        self._tasks = self._make_tasks(seats)
        self._pumping = _mproc.Turn()
        self._bell = _allocate_lock()
        self._bell.acquire()

    def _end_at_exit(self, priority: int, end: Callable[[Any], object]) -> None:
        """Have it ended at its owner's exit; `_at_exit` is the key by which that is taken back."""
        key: Any = None  # it may be gone before there is one
        reference = _reference(self, lambda _: _current.finalizers.pop(key, None))
        key = self._at_exit = _current.at_exit(priority, lambda: _end_if_there(reference, end))

    def _make_tasks(self, seats: int) -> Any:
        kind = _mproc.Pool if self._sealer is None else self._sealer.SealedPool
        pool = kind(self, seats, RESTART, self._is_fragile, self._is_outlived)
        self._place = Workplace.of(pool.workplace)
        return pool

    # -- what differs

    def _make_worker(self, seat: int) -> Any:
        """Make the process object of a worker for a seat."""
        raise NotImplementedError

    def _has_work(self) -> bool:
        """Return whether results, or tasks to be submitted, are outstanding."""
        return bool(self._tasks.open > 0)

    def _is_over(self) -> bool:
        """Return whether no task will come any more."""
        raise NotImplementedError

    def _run_on(self) -> None:
        """Submit what waits for somebody to take results: the helper has found nobody."""

    def _finish_up(self) -> None:
        """Let the workers go, if the engine is over and there is no work."""
        if self._is_over() and not self._has_work():
            self._tasks.close()

    def _break(self, reason: BaseException) -> None:
        """Fail every open task: there are no workers that could do it."""
        raise NotImplementedError

    # -- workers

    def _start_in_seat(self, seat: int) -> Any:
        """Start a worker, as the tasks ask for it; return it, or minus the errno of a failure.

        If a signal's handler has raised as soon as the worker ran: the worker and the exception.
        """
        if self._initializer is not None or has_threads():
            import_for_workers()
        for old in _not_closed(self._pool[seat : seat + 1]):
            old.join(0)  # it has ended: whoever counts the children is told
        interrupt: BaseException | None = None
        try:
            new = self._make_worker(seat)
            try:
                self._start(new)
            except BaseException as error:
                if new.ident is None:
                    raise
                interrupt = error
        except Exception as error:
            if is_of_a_signal(error):
                raise
            self._start_error = error
            if self._started and not isinstance(error, OSError):
                self._break(error)
            return -(getattr(error, "errno", None) or ECANCELED)
        self._pool[seat : seat + 1] = [new]
        self._started = True
        self._start_error = None
        return new if interrupt is None else (new, interrupt)

    def _start(self, new: Any) -> None:
        new.start()

    def _look_after_workers(self) -> None:
        """Break when there will be no workers: the tasks notice their ends, and replace them."""
        if self._tasks.broken and not self._ending:
            self._break(self._what_broke_it())

    def _what_broke_it(self, error: BaseException | None = None) -> BaseException:
        """Return why there are no workers any more; error: what a task failed with."""
        from ._pool.errors import what_broke

        return what_broke(self, error)

    def _failure_of_all(self, error: BaseException) -> BaseException:
        """Return what every task fails with, now that there are no workers."""
        raise NotImplementedError

    def _end_workers(self) -> None:
        """Have all workers end, and wait for them; kill those that do not listen."""
        alive = self._started_workers()
        self._end_living()
        deadline = _monotonic() + PATIENCE
        for old in alive:
            old.join(max(0.0, deadline - _monotonic()))
            if old.exitcode is None:
                old.kill()
                old.join()

    def _end_living(self) -> None:
        for old in self._started_workers():
            if old.exitcode is None:
                getattr(old, self._ends_by)()
                _let_go_on(old)

    def _started_workers(self) -> list[Any]:
        """Return the workers that were started last in their seats, and nobody has closed."""
        return _not_closed(list(self._pool))

    # -- tasks

    def _message_of(self, function: Callable[..., Any]) -> tuple[bytes, bool]:
        """Return the message that tells workers of a function, and whether it is a mere name."""
        known, message, named = self._last_function
        if known is not function:
            by_pickle = self._sealer is not None or self._cluster is not None
            name = None if by_pickle else _mproc.name_of(function)
            message = self._dumps_function(function) if name is None else _mproc.dumps(name)
            named = name is not None or (self._sealer is None and _mproc.is_a_name(function))
            self._last_function = (function, message, named) if named else (_NOTHING, b"", False)
        return message, named

    def _dumps_function(self, function: Callable[..., Any]) -> bytes:
        if self._cluster is not None:
            return self._tasks.message_of_function(function)  # type: ignore[no-any-return]
        try:
            if self._sealer is not None:
                return self._sealer.dumps_function(function)  # type: ignore[no-any-return]
            return _mproc.dumps(function)
        except Exception as error:
            self._explain(error, "parts_of_function", self._function_name, function)
            raise

    def _explain(self, error: BaseException, parts_of: str, *what: Any) -> None:
        """Say in an error which part of a task cannot be pickled, if one cannot."""
        if isinstance(self._tasks, _mproc.Pool):
            from ._pool.errors import explain

            explain(error, parts_of, *what, by_value=self._sealer and self._sealer.dumps)

    def _check_owner(self) -> None:
        if self._owner != _getpid():
            raise ValueError(f"{self!r} belongs to process {self._owner}, not to this one")

    # -- the helper

    def _need_helper(self) -> None:
        """See to it that work goes on although nobody may wait for it."""
        if self._helper is None:
            self._start_helper()
        elif self._parked:
            ring(self._bell)

    def _call_helper(self) -> None:
        """Have the helper pump all the time, until there is no work."""
        if not self._needed:
            self._needed = True
            if self._helper is None:
                self._start_helper()
            else:
                ring(self._bell)

    def _start_helper(self) -> None:
        """Start the helper. If that is interrupted, the next who needs one starts another.

        The thread may run all the same, now or later. It sees that it is not the helper, and ends.
        """
        try:
            import threading

            from ._pool.helper import be
        except OSError as error:
            if is_of_a_signal(error):
                raise
            return  # there is no descriptor for that: the next that submits tries again
        thread = (self._kind_of_helper or threading.Thread)(
            target=be, args=(_reference(self), self._bell), name=self._helper_name, daemon=True
        )
        self._helper = thread
        self._rests = 0
        self._seen = -1  # its starter has LOOK seconds to submit more, and to pump
        try:
            thread.start()
        except RuntimeError:
            self._helper = None  # no thread can be started now: the next that submits tries again
        except BaseException:
            self._helper = None
            self._needed = False
            raise

    def _join_helper(self, seconds: float | None) -> None:
        helper = self._helper
        if helper is not None and helper.ident != _get_ident():
            ring(self._bell)
            if helper.is_alive():  # another thread may be about to start it: it will end by itself
                helper.join(seconds)

    def _leave(self) -> bool:
        self._helper = None
        if self._has_work():
            self._need_helper()  # it came too late for this thread
        return False


def _end_if_there(reference: Callable[[], Engine | None], end: Callable[[Any], object]) -> None:
    engine = reference()
    if engine is not None and engine._owner == _getpid():
        end(engine)


def _not_closed(seats: list[Any]) -> list[Any]:
    return [old for old in seats if old is not None and not getattr(old, "_closed", False)]


def _let_go_on(worker: Any) -> None:
    """Wake a worker that is stopped: until it goes on, no signal but SIGKILL ends it."""
    send = getattr(getattr(worker, "_popen", None), "_send_signal", None)
    if send is not None:
        send(SIGCONT)


def ring(bell: LockType) -> None:
    """Wake the thread that sleeps until a lock is released, or will."""
    try:  # noqa: SIM105 # contextlib would cost an import
        bell.release()
    except RuntimeError:
        pass  # it rings already
