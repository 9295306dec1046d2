"""The owner's side of a pool: open tasks, worker processes, and who collects results.

Pool is an Engine; a ProcessPoolExecutor has one.

How it works. A task queue of the arena holds what is to be done, and knows of each worker, by its
seat, which task it has. Whoever waits for a result *pumps*: it collects what the workers have
handed in, for everybody, and looks after the workers while there is nothing to collect. One thread
pumps at a time; others sleep until it has booked what they wait for, or has left.

The helper. Programs rely on work that goes on although nobody waits: workers that died are
replaced, results are booked, callbacks come. So what is submitted without a wait starts a helper,
a thread that mostly sleeps. It looks every LOOK seconds whether somebody has pumped since its last
look. If nobody has, and there is work, it pumps itself until somebody else comes. Where callbacks
or waiters of foreign code need every result at once (`_call_helper`), it pumps all the time.

Shared state, all of it private to the owner's process.
  _pool      a worker process by seat; None: not started yet. The pumping thread's, and that of
             who starts or ends the engine.
  _vacant    seats without a worker: it has ended, or was never started. Filled by the thread that
             holds _seating.
  _pumping   whose turn it is to pump. The thread that has it may take it again: a callback or a
             signal handler of that thread may pump, too. The other threads that wait sleep there.
  _looks     counts up whenever somebody who waits comes to pump. Only its changes count.
  _helper    the thread, None: there is none. _needed: it has to pump all the time. _parked: it
             sleeps until _bell is released. Set by the helper, or under the interpreter's lock.

Waiting. Whoever waits for anything but a job of its own reads `_pumping.news` before it looks
whether that has come, and hands it to `_pump()`, which does not wait if there has been news since.
The pumping thread makes news when it leaves, and wakes who waits for a job when that is ready. What
comes otherwise than by a result - a task is cancelled, the engine breaks, an imap ends - is told by
`_tell()`, to the pumping thread as well. So nothing that happens in this process is found by the
end of a slice. What SLICE is for is what no one tells: that a worker has ended.

Invariants.
  1  A task in the books is booked as done, or failed, by the pumping thread, by the one that
     breaks the engine, or by who ends it.
  2  Whenever there is work, a thread pumps or the helper lives; but where no thread can be started
     the next that submits tries again.

If a worker dies: its seat names the task that it had. That one fails, and another worker is put
into the seat. Where none can be started (descriptors, memory), that is tried again with each look;
after RESTART seconds without a single worker the engine breaks.
"""

from __future__ import annotations

from _thread import allocate_lock as _allocate_lock
from _thread import get_ident as _get_ident
from time import monotonic as _monotonic
from types import ModuleType

from .. import _mproc
from .._cpython import has_threads, pickle
from .._cpython import ref as _reference
from .._mproc import getpid as _getpid

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from _thread import LockType
    from collections.abc import Callable
    from typing import Any

    from .. import process
    from ..context import BaseContext

__all__ = ["Engine", "import_for_workers", "ring"]

SLICE = 0.05  # seconds between two looks at the workers while results are awaited
LOOK = 0.01  # seconds between two looks of the helper at whether somebody pumps
REST = 100  # looks at an engine without work, after which its helper ends or parks
PATIENCE = 5.0  # seconds that a worker has for ending when asked, before it is killed
DEATHS = 16  # workers that may die one after the other without having done anything
RESTART = 30.0  # seconds for which there may be no worker at all because none can be started

_NOTHING = object()


class Engine:
    """The books, the workers, and the helper of a pool."""

    _helper_stays = False  # parks instead of ending, until the engine is over
    _helper_name = "mproc-pool"
    _function_name = "func"  # of the parameter, for errors

    # Submits what waits for results to come; the pumping thread calls it. None: nothing waits so.
    _keep_fed: Callable[[], None] | None = None

    # What is the same at first for every engine stands here: an object with many attributes of its
    # own takes more pages, and each is copied when a worker is forked.
    _sealer: Any = None  # the module that sends by value, if the context asks for that
    _last_function: tuple[object, bytes, bool] = (_NOTHING, b"", False)
    _ending = False  # who ends the workers does not want their deaths to be noticed
    _deaths = 0
    _done_before = 0  # results, when a worker died last
    _without = 0.0  # since when there has been no worker
    _looked = 0.0  # when somebody has looked after the workers
    _looks = 0
    _seen = 0
    _rests = 0
    _needed = False
    _parked = False
    _helper: threading.Thread | None = None

    def _set_up(self, seats: int, context: BaseContext) -> None:
        if has_threads():
            import_for_workers()
        self._owner = _getpid()
        if getattr(context, "_pickler", None) is not None:
            from .. import _cloudpickle

            self._sealer = _cloudpickle
        self._tasks = self._make_tasks(seats)
        self._pool: list[Any] = []
        self._vacant: set[int] = set()
        self._seating = _allocate_lock()
        self._pumping = _mproc.Turn()
        self._bell = _allocate_lock()
        self._bell.acquire()

    def _make_tasks(self, seats: int) -> Any:
        if self._sealer is not None:
            return self._sealer.SealedTasks(seats)
        from .worker import Tasks

        return Tasks(seats)

    # -- what differs

    def _start_worker(self, seat: int) -> Any:
        """Start a worker for a seat; return its process object."""
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

    def _worker_ended(self, seat: int, old: process.BaseProcess, had_task: bool) -> None:
        """Decide what becomes of a seat whose worker has ended."""
        raise NotImplementedError

    def _break(self, reason: BaseException) -> None:
        """Fail every open task: there are no workers that could do it."""
        raise NotImplementedError

    # -- workers

    def _look_after_workers(self) -> None:
        """Notice workers that have ended: fail their tasks, put others in their place."""
        if self._ending:
            return
        self._looked = _monotonic()
        for seat, old in enumerate(self._pool):
            if old is not None and seat not in self._vacant and old.exitcode is not None:
                self._vacant.add(seat)
                had_task = self._tasks.worker_died(
                    seat, lambda task, old=old: self._death_of(old, task)
                )
                self._worker_ended(seat, old, had_task)
        if self._vacant:
            self._fill_vacant()

    def _death_of(self, old: process.BaseProcess, task: int | None) -> BaseException:
        """Return what a task fails with whose worker has ended."""
        from .errors import WorkerDiedError

        return WorkerDiedError(old.name, old.pid or 0, old.exitcode or 0, task)

    def _wants(self, seat: int) -> bool:
        """Return whether a vacant seat is to get another worker."""
        return True

    def _fill_vacant(self) -> None:
        """Start workers for the seats that want one. One thread at a time does."""
        import_for_workers()
        if self._seating.acquire(False):
            try:
                self._fill_each()
            finally:
                self._seating.release()

    def _fill_each(self) -> None:
        for seat in sorted(self._vacant):
            if not self._wants(seat):
                continue
            try:
                self._pool[seat] = self._start_worker(seat)
            except OSError as error:
                self._do_without(error)
                return
            except Exception as error:
                self._break(error)
                return
            self._vacant.discard(seat)
            self._without = 0.0

    def _do_without(self, error: OSError) -> None:
        """Note that no worker can be started now; break when that has lasted too long."""
        if len(self._vacant) < len(self._pool):
            return
        now = _monotonic()
        self._without = self._without or now
        if now - self._without > RESTART:
            self._break(error)

    def _died_again(self, had_task: bool, exitcode: int | None) -> bool:
        """Return whether workers die, one after the other, before they have done anything."""
        done = self._tasks.done
        useful = exitcode == 0 or had_task or done != self._done_before
        self._deaths = 0 if useful else self._deaths + 1
        self._done_before = done
        return self._deaths > DEATHS

    def _end_workers(self) -> None:
        """Have all workers end, and wait for them; kill those that do not listen."""
        alive = self._started_workers()
        for old in alive:
            if old.exitcode is None:
                old.terminate()
        for old in alive:
            old.join(PATIENCE)
            if old.exitcode is None:
                old.kill()
                old.join()

    def _alive(self) -> int:
        """Return how many workers there are."""
        return sum(old.exitcode is None for old in self._started_workers())

    def _started_workers(self) -> list[Any]:
        """Return the workers that were started last in their seats, and nobody has closed."""
        seats = list(self._pool)
        return [old for old in seats if old is not None and not getattr(old, "_closed", False)]

    # -- tasks

    def _message_of(self, function: Callable[..., Any]) -> tuple[bytes, bool]:
        """Return the message that tells workers of a function, and whether it is a mere name."""
        known, message, named = self._last_function
        if known is not function:
            message = self._dumps_function(function)
            named = self._sealer is None and _is_a_name(function)
            self._last_function = (function if named else _NOTHING, message, named)
        return message, named

    def _dumps_function(self, function: Callable[..., Any]) -> bytes:
        try:
            if self._sealer is not None:
                return self._sealer.dumps_function(function)  # type: ignore[no-any-return]
            return _mproc.dumps(function)
        except Exception as error:
            self._explain(error, "parts_of_function", self._function_name, function)
            raise

    def _explain(self, error: BaseException, parts_of: str, *what: Any) -> None:
        """Say in an error which part of a task cannot be pickled, if one cannot."""
        if isinstance(self._tasks, _mproc.Tasks | _mproc.Pool):
            from .errors import explain

            explain(error, parts_of, *what, by_value=self._sealer and self._sealer.dumps)

    # -- collecting results

    def _check_owner(self) -> None:
        if self._owner != _getpid():
            raise ValueError(f"{self!r} belongs to process {self._owner}, not to this one")

    def _collect(self) -> None:
        """Book what has come, without waiting."""
        self._check_owner()
        with self._pumping as depth:
            if depth:
                self._tasks.pump(None, 0)
                self._look_after_workers()

    def _tell(self) -> None:
        """Wake all who wait: something they may wait for has come otherwise than by a result."""
        self._pumping.tell()
        if self._pumping.depth:
            self._tasks.notify()

    def _sleep(self, job: _mproc.Job | None, seconds: float, seen: int) -> None:
        """Sleep until the pumping thread has booked the job, or there is other news."""
        if job is not None:
            job._watched = True
            seen = self._pumping.news
            if job._ready:
                return
        self._pumping.wait(seen, seconds, job)

    def _pump(self, job: _mproc.Job | None, seconds: float, seen: int) -> None:
        """Collect for a job, or whatever comes, for at most that long; alone.

        seen: `_pumping.news`, read before it was found that what is waited for has not come. A
        callback or a signal handler may run in the pumping thread and wait for another result: it
        pumps on, and what it books may be what that thread waited for.
        """
        self._looks += 1
        with self._pumping as depth:
            if depth and (job is not None or self._pumping.news == seen):
                if self._keep_fed is not None and not self._tasks.open:
                    self._keep_fed()  # an interrupt may have kept it from being fed
                if not self._tasks.pump(job, seconds):
                    self._look_after_workers()
                elif job is None and _monotonic() - self._looked > SLICE:
                    self._look_after_workers()  # results that never cease hide no death
                if self._keep_fed is not None:
                    self._keep_fed()
        if depth > 1:
            self._tasks.notify()
        elif not depth:
            self._sleep(job, seconds, seen)

    def _pump_while(self, unfinished: Callable[[], bool]) -> None:
        """Pump as long as something is unfinished."""
        seen = self._pumping.news
        while unfinished():
            self._pump(None, SLICE, seen)
            seen = self._pumping.news

    def _wait(self, job: _mproc.Job, timeout: float | None) -> None:
        if self._owner != _getpid():
            self._check_owner()
        if timeout is None:
            while not job._ready:
                self._pump(job, SLICE, 0)
            return
        deadline = _monotonic() + timeout
        left = timeout
        while not job._ready and left >= 0:
            self._pump(job, min(SLICE, left), 0)
            left = deadline - _monotonic()

    # -- the helper

    def _need_helper(self) -> None:
        """See to it that work goes on although nobody may wait for it."""
        if self._helper is None:
            self._start_helper()
        elif self._parked:
            self._ring()

    def _call_helper(self) -> None:
        """Have the helper pump all the time, until there is no work."""
        if not self._needed:
            self._needed = True
            if self._helper is None:
                self._start_helper()
            else:
                self._ring()

    def _ring(self) -> None:
        ring(self._bell)

    def _make_thread(self, **options: Any) -> threading.Thread:
        import threading

        return threading.Thread(**options)

    def _start_helper(self) -> None:
        thread = self._make_thread(
            target=_help, args=(_reference(self), self._bell), name=self._helper_name, daemon=True
        )
        self._helper = thread
        self._rests = 0
        try:
            thread.start()
        except RuntimeError:
            self._helper = None  # no thread can be started now: the next that submits tries again

    def _join_helper(self, seconds: float | None) -> None:
        helper = self._helper
        if helper is not None and helper.ident != _get_ident():
            self._ring()
            helper.join(seconds)

    def _help(self) -> bool | None:
        """Do the helper's share. False: it is to end; None: to park; True: to come again."""
        if self._ending:
            return False
        if self._needed:
            self._help_as_needed()
        elif self._looks != self._seen:
            self._seen = self._looks  # somebody has pumped since
        else:
            self._stand_in()
        if self._has_work():
            self._rests = 0
            return True
        return self._rest()

    def _help_as_needed(self) -> None:
        """Pump for those who cannot, until there is no work."""
        seen = self._pumping.news
        while self._has_work() and not self._ending:
            self._pump(None, SLICE, seen)
            seen = self._pumping.news
            self._run_on()
        self._needed = False
        if self._has_work():
            self._needed = True

    def _stand_in(self) -> None:
        """Pump until somebody else comes."""
        seen = self._pumping.news
        while self._has_work() and self._looks == self._seen and not self._ending:
            self._pump(None, SLICE, seen)
            seen = self._pumping.news
            self._seen += 1
            self._run_on()

    def _rest(self) -> bool | None:
        self._finish_up()
        if self._is_over():
            return self._leave()
        self._rests += 1
        if self._rests <= REST:
            return True
        self._rests = 0
        return self._park() if self._helper_stays else self._leave()

    def _park(self) -> bool | None:
        self._parked = True
        if self._has_work() or self._needed or self._is_over():
            self._parked = False
            return True
        return None

    def _leave(self) -> bool:
        self._helper = None
        if self._has_work():
            self._need_helper()  # it came too late for this thread
        return False


def import_for_workers() -> None:
    """Import what a worker may need, before it is forked.

    If another thread imported that at this moment, the worker would wait for it for ever.
    """
    from . import errors  # noqa: F401

    pickle()


def _is_a_name(function: Callable[..., object]) -> bool:
    """Tell whether a function pickles as a mere name, so that a worker may look it up once."""
    kind = type(function)
    if kind is type(_is_a_name) or kind is type:
        return True
    return kind is type(len) and isinstance(getattr(function, "__self__", None), ModuleType | None)


def ring(bell: LockType) -> None:
    """Wake the thread that sleeps until a lock is released, or will."""
    try:  # noqa: SIM105 # contextlib would cost an import
        bell.release()
    except RuntimeError:
        pass  # it rings already


def _help_safely(engine: Engine) -> bool | None:
    """Have the helper do its share; what goes wrong breaks the engine, and the helper goes on."""
    try:
        return engine._help()
    except KeyboardInterrupt:
        return True  # what a result was unpickled to raise: it is booked, and no one's signal
    except Exception as error:
        engine._break(error)
        return True


def _help(reference: Callable[[], Engine | None], bell: LockType) -> None:
    """Be the helper. Between two looks it does not keep the engine."""
    while (engine := reference()) is not None:
        again = _help_safely(engine)
        if again is False:
            return
        del engine
        if again:
            bell.acquire(True, LOOK)
        else:
            bell.acquire()
            if (engine := reference()) is not None:
                engine._parked = False
