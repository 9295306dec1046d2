"""Pools of worker processes.

A pool is a task queue of the arena and some daemonic processes that serve it. There is no thread:
who waits for a result collects what the workers have handed in, for everybody, and looks after the
workers while there is nothing to collect. Only callbacks, and workers that are replaced after some
tasks, need somebody who looks when nobody waits: for them a thread is started.

A worker that dies fails the one task it had, with WorkerDiedError, and is replaced.
"""

from __future__ import annotations

import os
from _thread import allocate_lock as _allocate_lock
from itertools import islice as _islice
from time import monotonic as _monotonic

from . import _mproc, process, util
from ._cpython import ref as _reference
from ._mproc import getpid as _getpid
from .context import ProcessError, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any

    from .context import BaseContext

    _Callback = Callable[[Any], object] | None

__all__ = ["Pool"]

INIT = "INIT"
RUN = "RUN"
CLOSE = "CLOSE"
TERMINATE = "TERMINATE"

SLICE = 0.05  # seconds between two looks at the workers while results are awaited
PATIENCE = 5.0  # seconds that a worker has for ending after terminate(), before it is killed
EXIT_PRIORITY = 15  # of terminating a pool that is still there at exit
WINDOW = 64  # parts of an imap that are under way or not taken yet, at least
DEATHS = 16  # workers that may die one after the other without having done anything


# ---- what can go wrong


class WorkerDiedError(ProcessError):
    """A worker process ended while it had the task. The pool goes on with a new worker.

    Attributes: task, the task's number in its pool; pid and exitcode of the worker.
    """

    def __init__(self, name: str, pid: int, exitcode: int, task: int | None) -> None:
        super().__init__(name, pid, exitcode, task)
        self.name = name
        self.pid = pid
        self.exitcode = exitcode
        self.task = task

    def __str__(self) -> str:
        if self.exitcode < 0:
            import signal

            try:
                how = f"was ended by {signal.Signals(-self.exitcode).name}"
            except ValueError:
                how = f"was ended by signal {-self.exitcode}"
        else:
            how = f"exited with code {self.exitcode}"
        when = "" if self.task is None else f" while it ran task {self.task}"
        return f"worker {self.name} (pid {self.pid}) {how}{when}"


def _name(value: object) -> str:
    """Return the repr of anything, also of what fails to have one."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} object at {id(value):#x}, repr: {type(error).__name__}>"


class MaybeEncodingError(Exception):
    """A result or an exception could not be sent back, or not be read when it came."""

    def __init__(self, exc: object, value: object) -> None:
        self.exc = _name(exc)
        self.value = _name(value)
        super().__init__(self.exc, self.value)

    def __str__(self) -> str:
        return f"Error sending result: {self.value!r}. Reason: {self.exc!r}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


class RemoteTraceback(Exception):
    """The traceback of the worker, as the cause of an exception."""

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return self.tb


class ExceptionWithTraceback:
    """An exception on its way: it arrives with the worker's traceback as its cause."""

    def __init__(self, exc: BaseException, tb: TracebackType | None) -> None:
        import traceback

        text = "".join(traceback.format_exception(type(exc), exc, tb))
        self.exc = exc.with_traceback(None)
        self.tb = f'\n"""\n{text}"""'

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_exception, (self.exc, self.tb)


def _rebuild_exception(exc: BaseException, tb: str) -> BaseException:
    exc.__cause__ = RemoteTraceback(tb)
    return exc


# ---- the worker's side


class Tasks(_mproc.Tasks):
    """The task queue that a pool shares with its workers."""

    def __getstate__(self) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        from . import reduction

        return reduction.reduce_handle(self)


def _describe(exc: BaseException) -> ExceptionWithTraceback:
    return ExceptionWithTraceback(exc, exc.__traceback__)


def _describe_barely(exc: BaseException) -> BaseException:
    return exc


def _excuse(value: object, exc: BaseException) -> MaybeEncodingError:
    if isinstance(value, ExceptionWithTraceback):
        value = value.exc
    return MaybeEncodingError(exc, value)


def worker(
    tasks: Tasks,
    seat: int,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasks: int | None = None,
    wrap_exception: bool = True,
) -> None:
    """Run tasks until there are no more, or maxtasks are done."""
    if initializer is not None:
        initializer(*initargs)
    describe = _describe if wrap_exception else _describe_barely
    done = tasks.serve(seat, maxtasks or 0, describe, _excuse)
    util.debug("worker exiting after %d tasks", done)


# ---- results


class AsyncResult(_mproc.Job):
    """The result of one call, or of a map, when it has come."""

    __class_getitem__: Any = classmethod(type(list[int]))

    _callback: _Callback = None
    _error_callback: _Callback = None

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def ready(self) -> bool:
        """Return whether the result has come."""
        if not self._ready:
            self._pool._collect()
        return self._ready

    def successful(self) -> bool:
        """Return whether the call has returned and not raised. ValueError: it is not ready."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return not self._failed

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result has come, or for that many seconds."""
        if not self._ready:
            self._pool._wait(self, timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise what the call raised. multiprocessing.TimeoutError."""
        if not self._ready:
            self._pool._wait(self, timeout)
            if not self._ready:
                raise TimeoutError
        if self._failed:
            raise self._value
        return self._value

    def _finished(self) -> None:
        callback = self._error_callback if self._failed else self._callback
        if callback is not None:
            callback(self._value)

    def _announce(self) -> None:
        self._pool._wake_sleepers()

    def _unreadable(self, error: BaseException) -> BaseException:
        return MaybeEncodingError(error, "a result that cannot be unpickled")


ApplyResult = AsyncResult


class MapResult(AsyncResult):
    """The results of a map, in the making."""


class _Part(AsyncResult):
    """The results of some items of an imap."""

    def __init__(self, pool: Pool, finished: list[_Part] | None) -> None:
        super().__init__(pool)
        self._where = finished
        self._watched = finished is not None

    def _finished(self) -> None:
        if self._where is not None:
            self._where.append(self)


class IMapIterator:
    """The results of an imap, in order, each as soon as it is there.

    Items are taken from the iterable only as results are taken from here: at most `_window` parts
    are under way or waiting to be taken.
    """

    _ordered = True

    def __init__(
        self,
        pool: Pool,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
    ) -> None:
        self._pool = pool
        self._function = pool._message_of(func)
        self._items = iter(iterable)
        self._chunksize = chunksize
        self._parts: list[_Part] = []  # that are under way, or ready and not taken; oldest first
        self._done: list[_Part] = []  # unordered: that are ready and not taken
        self._values: list[Any] = []  # of the part that is being taken, the next one last
        self._exhausted = False
        self._error: Exception | None = None
        self._window = max(WINDOW, 4 * pool._processes)
        pool._feeding.append(self)
        self._feed(self._window)

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, or raise what the call raised. multiprocessing.TimeoutError."""
        if not self._values:
            part = self._take(timeout)
            self._feed(self._window)
            if part._failed:
                raise part._value
            self._values = part._value[::-1]
        return self._values.pop()

    def _take(self, timeout: float | None) -> _Part:
        """Wait for a part, and take it out. StopIteration: there is none to come."""
        self._check_more()
        part = self._parts[0]
        if not part._ready:
            self._pool._wait(part, timeout)
            if not part._ready:
                raise TimeoutError
        return self._parts.pop(0)

    def _check_more(self) -> None:
        """Raise StopIteration, or once what ended the iterable, if there is no part to come."""
        if not self._parts:
            error, self._error = self._error, None
            raise StopIteration if error is None else error

    def _feed(self, window: float) -> None:
        """Submit parts until there are so many."""
        while not self._exhausted and len(self._parts) < window:
            part = _Part(self._pool, None if self._ordered else self._done)
            try:
                items = list(_islice(self._items, self._chunksize))
                if not items:
                    self._end()
                    return
                self._pool._tasks.submit_map(part, *self._function, False, items, len(items))
                self._parts.append(part)
            except Exception as error:
                self._error = error  # comes last, after all results
                self._end()

    def _end(self) -> None:
        self._exhausted = True
        self._pool._has_fed(self)


class IMapUnorderedIterator(IMapIterator):
    """The results of an imap_unordered, each as soon as it is there."""

    _ordered = False

    def _take(self, timeout: float | None) -> _Part:
        deadline = None if timeout is None else _monotonic() + timeout
        while not self._done:
            self._check_more()
            left = SLICE if deadline is None else min(SLICE, deadline - _monotonic())
            if left < 0:
                raise TimeoutError
            self._pool._check_owner()
            self._pool._pump(None, left)
        part = self._done.pop(0)
        self._parts.remove(part)
        return part


# ---- the pool


def _is_a_name(function: Callable[..., object]) -> bool:
    """Tell whether a function pickles as a mere name, so that a worker may look it up once."""
    kind = type(function)
    if kind is type(_is_a_name) or kind is type:
        return True
    return kind is type(len) and isinstance(getattr(function, "__self__", None), type(os) | None)


class Pool:
    """A pool of worker processes.

    processes: how many; initializer(*initargs) runs in each first; a worker is replaced after
    maxtasksperchild tasks. ValueError, TypeError.
    """

    _wrap_exception = True
    _state = INIT

    @staticmethod
    def Process(ctx: BaseContext, *args: Any, **kwds: Any) -> process.BaseProcess:
        """Make a worker's process object."""
        return ctx.Process(*args, **kwds)

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
    ) -> None:
        self._pool: list[process.BaseProcess] = []
        if context is None:
            from .context import _default_context

            context = _default_context.get_context()
        if processes is None:
            processes = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._ctx = context
        self._processes = processes
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._maxtasksperchild = maxtasksperchild
        self._owner = _getpid()
        self._tasks = Tasks(processes)
        self._deaths = 0
        self._last_function: tuple[object, bytes, bool] = (None, b"", False)
        self._pumping = _allocate_lock()
        self._sleepers: list[LockType] = []
        self._thread: Any = None
        self._feeding: list[IMapIterator] = []
        self._start_workers()
        # Before the exit ends the children: a thread would replace them.
        self._at_exit = util.Finalize(
            self, _terminate, args=(_reference(self),), exitpriority=EXIT_PRIORITY
        )
        self._state = RUN
        if maxtasksperchild is not None:
            self._need_thread()

    # -- workers

    def _start_worker(self, seat: int) -> process.BaseProcess:
        new = self.Process(
            self._ctx,
            target=worker,
            args=(
                self._tasks,
                seat,
                self._initializer,
                self._initargs,
                self._maxtasksperchild,
                self._wrap_exception,
            ),
        )
        new.name = new.name.replace("Process", "PoolWorker")
        new.daemon = True
        new.start()
        return new

    def _start_workers(self) -> None:
        try:
            for seat in range(self._processes):
                self._pool.append(self._start_worker(seat))
        except BaseException:
            self._end_workers()
            raise

    def _look_after_workers(self) -> None:
        """Notice workers that have ended: fail their tasks, put others in their place."""
        for seat, old in enumerate(self._pool):
            if old.exitcode is not None:
                self._replace(seat, old)

    def _replace(self, seat: int, old: process.BaseProcess) -> None:
        open_before = self._tasks.open
        had_task = self._tasks.mourn(seat, lambda ticket: self._obituary(old, ticket))
        if old.exitcode == 0 or had_task:
            self._deaths = 0
        else:
            self._deaths += 1
        if self._deaths > DEATHS:
            self._break(old)
        elif self._state == RUN or (self._state == CLOSE and (open_before or self._feeding)):
            self._pool[seat] = self._start_worker(seat)

    def _repopulate_pool(self) -> None:
        """Replace workers that have ended; that happens anyway, but programs that derive ask."""
        self._collect()

    def _obituary(self, dead: process.BaseProcess, ticket: int | None) -> WorkerDiedError:
        return WorkerDiedError(dead.name, dead.pid or 0, dead.exitcode or 0, ticket)

    def _break(self, last: process.BaseProcess) -> None:
        """Give up: workers die before they do anything, an initializer that fails for example."""
        self._state = CLOSE
        self._tasks.close()
        self._tasks.fail_all(self._obituary(last, None))

    def _end_workers(self) -> None:
        for old in self._pool:
            if old.exitcode is None:
                old.terminate()
        for old in self._pool:
            old.join(PATIENCE)
            if old.exitcode is None:
                old.kill()
                old.join()

    # -- collecting results

    def _check_owner(self) -> None:
        if self._owner != _getpid():
            raise ValueError(f"{self!r} belongs to process {self._owner}, not to this one")

    def _collect(self) -> None:
        """Book what has come, without waiting."""
        self._check_owner()
        if self._pumping.acquire(False):
            try:
                self._tasks.pump(None, 0)
                self._look_after_workers()
            finally:
                self._pass_on()

    def _pass_on(self) -> None:
        self._pumping.release()
        self._wake_sleepers()

    def _wake_sleepers(self) -> None:
        while self._sleepers:
            self._sleepers.pop().release()

    def _sleep(self, job: _mproc.Job | None, seconds: float) -> None:
        """Sleep until the collecting thread says that the job is ready, or that it has left."""
        turn = _allocate_lock()
        turn.acquire()
        if job is not None:
            job._watched = True
        self._sleepers.append(turn)
        if (job is None or not job._ready) and self._pumping.locked():
            turn.acquire(True, seconds)

    def _pump(self, job: _mproc.Job | None, seconds: float) -> None:
        """Collect for a job, or whatever comes, for at most that long; alone."""
        if not self._pumping.acquire(False):
            self._sleep(job, seconds)
            return
        try:
            if not self._tasks.pump(job, seconds):
                self._look_after_workers()
        finally:
            self._pass_on()

    def _wait(self, job: _mproc.Job, timeout: float | None) -> None:
        self._check_owner()
        if timeout is None:
            while not job._ready:
                self._pump(job, SLICE)
            return
        deadline = _monotonic() + timeout
        left = timeout
        while not job._ready and left >= 0:
            self._pump(job, min(SLICE, left))
            left = deadline - _monotonic()

    def _goes_on(self) -> bool:
        return self._state == RUN or (self._state == CLOSE and self._tasks.open > 0)

    def _need_thread(self) -> None:
        if self._thread is None:
            import threading

            self._thread = threading.Thread(
                target=_collect_for, args=(_reference(self),), name="mproc-pool", daemon=True
            )
            self._thread.start()

    # -- tasks

    def _message_of(self, function: Callable[..., Any]) -> tuple[bytes, bool]:
        known, message, named = self._last_function
        if known is not function:
            message = _mproc.dumps(function)
            named = _is_a_name(function)
            self._last_function = (function if named else None, message, named)
        return message, named

    def _check_running(self) -> None:
        self._check_owner()
        if self._state != RUN:
            raise ValueError("Pool not running")

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return func(*args, **kwds), called by a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        """Have a worker call func(*args, **kwds).

        One of the callbacks is called with the result or the exception before it can be got, by the
        thread that collects it.
        """
        if self._state != RUN or self._owner != _getpid():
            self._check_running()
        result = AsyncResult(self)
        if callback is not None or error_callback is not None:
            self._set_callbacks(result, callback, error_callback)
        try:
            known, message, named = self._last_function
            if known is not func:
                message, named = self._message_of(func)
            arguments = (tuple(args), dict(kwds) if kwds else None)
            self._tasks.submit(result, message, named, arguments)
        except Exception as error:
            result._fail(error)
        return result

    def _set_callbacks(
        self, result: AsyncResult, callback: _Callback, error_callback: _Callback
    ) -> None:
        if callback is not None or error_callback is not None:
            result._callback = callback
            result._error_callback = error_callback
            self._need_thread()

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Return [func(item) for item in iterable], called by the workers."""
        return self._map_async(func, iterable, False, chunksize).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        """Have the workers call func(item) for each item; see apply_async() for the callbacks."""
        return self._map_async(func, iterable, False, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Return [func(*item) for item in iterable], called by the workers."""
        return self._map_async(func, iterable, True, chunksize).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        """Have the workers call func(*item) for each item; see apply_async() for the callbacks."""
        return self._map_async(func, iterable, True, chunksize, callback, error_callback)

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool,
        chunksize: int | None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult:
        self._check_running()
        items = iterable if type(iterable) is list else list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (4 * len(self._pool)))
        result = MapResult(self)
        self._set_callbacks(result, callback, error_callback)
        try:
            message, named = self._message_of(func)
            self._tasks.submit_map(result, message, named, star, items, max(chunksize, 1))
        except Exception as error:
            result._fail(error)
        return result

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Return an iterator over func(item) for each item, called by the workers, in order.

        The iterable is read only as far as results are taken. ValueError: chunksize < 1.
        """
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Return an iterator as imap(), over the results in the order in which they come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(
        self,
        kind: type[IMapIterator],
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
    ) -> IMapIterator:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        return kind(self, func, iterable, chunksize)

    def _has_fed(self, iterator: IMapIterator) -> None:
        """Note that an imap submits no more: the workers of a closed pool may wait for that."""
        if iterator in self._feeding:
            self._feeding.remove(iterator)
        if self._state == CLOSE and not self._feeding:
            self._tasks.close()

    # -- the end

    def close(self) -> None:
        """Take no more tasks; the workers end when all are done, those of open imaps too."""
        if self._state == RUN:
            self._state = CLOSE
            if not self._feeding:
                self._tasks.close()

    def terminate(self) -> None:
        """End the workers at once. Results that have not come fail with ProcessError."""
        self._check_owner()
        if self._state == TERMINATE:
            return
        self._state = TERMINATE
        self._at_exit.cancel()
        self._tasks.close()
        self._end_workers()
        self._join_thread(PATIENCE)
        self._end_workers()  # the one that the thread may have been starting
        self._tasks.fail_all(ProcessError("the pool was terminated before the task was done"))
        self._wake_sleepers()

    def join(self) -> None:
        """Wait for the workers to end, after close() or terminate(). ValueError: still running."""
        self._check_owner()
        if self._state == RUN:
            raise ValueError("Pool is still running")
        while self._state == CLOSE and self._feeding:
            self._feeding[0]._feed(float("inf"))  # who joins now takes results afterwards
        while self._state == CLOSE and self._tasks.open > 0:
            self._pump(None, SLICE)
        for old in self._pool:
            old.join()
        self._join_thread(None)

    def _join_thread(self, seconds: float | None) -> None:
        if self._thread is not None and self._thread.ident != _current_thread_id():
            self._thread.join(seconds)

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()

    def __del__(self) -> None:
        if self._state == RUN and self._owner == os.getpid():
            import warnings

            text = f"unclosed running multiprocessing pool {self!r}"
            warnings.warn(text, ResourceWarning, stacklevel=1, source=self)
            self._tasks.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        kind = type(self)
        name = f"{kind.__module__}.{kind.__qualname__}"
        return f"<{name} state={self._state} pool_size={len(self._pool)}>"


def _current_thread_id() -> int:
    import _thread

    return _thread.get_ident()


def _terminate(reference: Callable[[], Pool | None]) -> None:
    pool = reference()
    if pool is not None:
        pool.terminate()


def _collect_for(reference: Callable[[], Pool | None]) -> None:
    """Collect and look after the workers when nobody waits: the thread of a pool that needs one.

    Between two looks it keeps the pool only while tasks are open, that their callbacks are called.
    """
    while (pool := reference()) is not None and pool._goes_on():
        pool._pump(None, SLICE)
        while pool._tasks.open > 0 and pool._goes_on():
            pool._pump(None, SLICE)
        del pool
