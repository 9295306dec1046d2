"""Pools of worker processes.

A pool is one of the core's (`_mproc.Pool`), whose workers are daemonic processes. Whoever waits for
a result collects what the workers have handed in, for everybody, and looks after the workers
meanwhile. Where nobody waits, a thread that is started for what was submitted
does the same: workers are replaced, callbacks come, an imap runs to its end (`_engine.py`).

A worker that dies fails the one task it had, with WorkerDiedError, and is replaced.
"""

from __future__ import annotations

import errno
import os

from . import _current, _mproc
from ._current import finalizers as _finalizers
from ._engine import PATIENCE, RESTART, Engine, HasOptions, place_for
from ._mproc import getpid as _getpid
from ._worker import worker
from .context import BaseContext, ProcessError
from .context import TimeoutError as TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Any, Generic, Self, TypeVar

    from . import aio, process
    from ._pool.errors import ExceptionWithTraceback as ExceptionWithTraceback
    from ._pool.errors import MaybeEncodingError as MaybeEncodingError
    from ._pool.errors import RemoteTraceback as RemoteTraceback
    from ._pool.errors import TaskMemoryError as TaskMemoryError
    from ._pool.errors import TaskTimeoutError as TaskTimeoutError
    from ._pool.errors import WorkerDiedError as WorkerDiedError
    from ._pool.imap import IMapIterator as IMapIterator
    from ._pool.imap import IMapUnorderedIterator as IMapUnorderedIterator
    from ._pool.limits import TaskOptions
    from ._pool.threads import ThreadPool as ThreadPool

    _Callback = Callable[[Any], object] | None
    _S = TypeVar("_S")
    _T = TypeVar("_T")

    class _Results(_mproc.AsyncResult[list[_T]], Generic[_T]): ...

else:
    _T = ...
    _Results = {_T: _mproc.AsyncResult}

__all__ = ["Pool", "ThreadPool"]

_current.use_begins()

INIT = "INIT"
RUN = "RUN"
CLOSE = "CLOSE"
TERMINATE = "TERMINATE"

MOST = 64  # workers for which there is room, if a pool has not more at first
EXIT_PRIORITY = 15  # of terminating a pool that is still there at exit

AsyncResult = _mproc.AsyncResult
ApplyResult = AsyncResult


class MapResult(_Results[_T]):
    """The results of a map, in the making."""


def _is_refusal(error: Exception) -> bool:
    """Return whether that is how the engine refuses a task: it is closed, or abandoned."""
    if isinstance(error, OSError):
        return error.errno == errno.ECANCELED
    return type(error) in _REFUSALS and error.args == (_REFUSALS[type(error)],)


_REFUSALS: dict[type[Exception], str] = {
    ValueError: "the object has been closed",  # the core's tasks say so
    RuntimeError: "the pool takes no more tasks",  # those that have their books in Python
}


# ---- the pool


class _Shown:
    """A part of the standard pool, or of a result of it, that this one does without.

    A `__getattr__` of the pool would serve as well, but make each of its attributes slower to find.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, whole: Any, owner: type | None = None) -> Any:
        from ._pool.shown import part

        return part(whole, self._name)


def _show(whole: type, *names: str) -> None:
    for name in names:
        setattr(whole, name, _Shown(name))


_show(AsyncResult, "_cache", "_event", "_job", "_success")


def _has_own_queues(ctx: BaseContext) -> bool:
    """Return whether a context makes other simple queues: their pickling, say, is a program's."""
    method = getattr(ctx, "SimpleQueue", None)
    return method is not None and getattr(method, "__func__", None) is not BaseContext.SimpleQueue


def _is_star(mapper: Any) -> bool:
    from ._pool import shown

    if mapper not in (shown.mapstar, shown.starmapstar):
        raise ValueError(f"the mapper is mapstar or starmapstar, not {mapper!r}")
    return mapper is shown.starmapstar


class Pool(HasOptions, Engine):
    """A pool of worker processes.

    processes: how many; initializer(*initargs) runs in each first; a worker is replaced after
    maxtasksperchild tasks. pickler: "cloudpickle" sends functions, arguments and results that have
    no name by value. engine: "dask", "ray" or "mpi" has the workers on the machines of such an
    engine, "local" on this one whatever set_engine() has chosen; see engines.Choice. ValueError,
    TypeError, ImportError, engines.EngineError.
    """

    _is_outlived = True
    _wrap_exception = True
    _state = INIT
    _terminated = False  # terminate() has come to its end
    _broken: BaseException | None = None  # why there are no workers any more
    _chosen: tuple[int, ...] | None = None  # options of what is submitted
    _piped = False  # tasks and results go through queues
    _may_leave = True  # its workers may be on other machines

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
        *,
        pickler: str | None = None,
        engine: Any = None,
    ) -> None:
        self._wanted = processes
        self._cluster, processes = place_for(processes, engine, self._may_leave)
        if context is None:
            from .context import _default_context

            context = _default_context.get_context()
        if pickler is not None:
            context = context.get_context(pickler=pickler)
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
        self._initargs = () if initializer is None else tuple(initargs)
        self._maxtasksperchild = maxtasksperchild
        self._function_of_workers = worker  # or what a program has put into this module
        self._feeding: list[IMapIterator] = []
        self._unsent: list[tuple[AsyncResult, Exception]] = []  # jobs that are to fail
        self._made: list[process.BaseProcess] = []  # workers to be started, the last one first
        self._terminating = _mproc.Turn()
        self._set_up(processes, context)
        self._start_workers()
        # Before the exit ends the children: a thread would replace them.
        self._end_at_exit(EXIT_PRIORITY, lambda pool: pool.terminate())
        self._state = RUN

    # -- workers

    def _make_worker(self, seat: int) -> process.BaseProcess:
        return self._made.pop() if self._made else self._make_one(seat)

    def _make_one(self, seat: int) -> process.BaseProcess:
        ends = (self._place, seat) if not self._piped else (self._inqueue, self._outqueue)
        new = self.Process(
            self._ctx,
            target=self._function_of_workers,
            args=(
                *ends,
                self._initializer,
                self._initargs,
                self._maxtasksperchild,
                self._wrap_exception,
            ),
        )
        new.name = new.name.replace("Process", "PoolWorker")
        new.daemon = True
        new._quiet = True
        return new

    def _make_tasks(self, seats: int) -> Any:
        if self._cluster is not None:
            from .engines.tasks import EngineTasks

            how = (self._initializer, self._initargs, self._maxtasksperchild, self._ctx)
            return EngineTasks(self, self._wanted, self._cluster, how, False)
        if seats > _mproc.SEATS_MAX:
            raise ValueError(f"Number of processes must be at most {_mproc.SEATS_MAX}")
        if not self._wants_queues():
            return super()._make_tasks(max(seats, MOST))
        self._piped = True
        from ._pool.piped import PipedTasks

        self._setup_queues()
        return PipedTasks(self, seats, RESTART)

    def _wants_queues(self) -> bool:
        """Return whether a subclass, or workers that are not ours, need queues to talk through."""
        return (
            type(self)._setup_queues is not Pool._setup_queues
            or _has_own_queues(self._ctx)
            or self._workers_are_foreign()
        )

    def _workers_are_foreign(self) -> bool:
        """Return whether a program has replaced what workers run, or what starts them."""
        return (
            self._repopulates() or self._function_of_workers.__module__ != f"{__package__}._worker"
        )

    def _setup_queues(self) -> None:
        """Make the queues of a pool that needs them."""
        self._inqueue: Any = self._ctx.SimpleQueue()
        self._outqueue: Any = self._ctx.SimpleQueue()
        self._quick_put: Any = self._inqueue.put
        self._quick_get: Any = self._outqueue.get

    def _queue_to_show(self) -> Any:
        return self._ctx.SimpleQueue()

    def _message_of(self, function: Callable[..., Any]) -> tuple[Any, bool]:
        return (function, True) if self._piped else super()._message_of(function)

    def _start_workers(self) -> None:
        # What is written between two forks is copied twice: so all objects are made before.
        if not self._repopulates() and self._cluster is None:
            self._made = [self._make_one(seat) for seat in reversed(range(self._processes))]
        try:
            self._tasks.resize(self._processes)
            if len(self._pool) < self._processes:
                raise self._start_error or OSError(errno.EAGAIN, "no worker can be started")
        except BaseException:
            self._end_workers()
            raise

    def _size(self) -> int:
        """Return how many workers there are or will be; some may have ended in the other seats."""
        return min(len(self._pool), self._processes)

    def _repopulates(self) -> bool:
        """Return whether a subclass starts workers its own way."""
        return type(self)._repopulate_pool is not Pool._repopulate_pool

    def _repopulate_pool(self) -> None:
        """Replace workers that have ended; that happens anyway, but programs that derive ask.

        A subclass may override this to start workers, and call it.
        """
        if not self._repopulates():
            self._check_owner()
            self._tasks.resize(self._processes)
            return
        for seat in range(len(self._pool), self._processes):
            self._start_in_seat(seat)

    def _break(self, reason: BaseException) -> None:
        """Give up: workers die before they do anything, an initializer that fails for example."""
        if self._broken is None:
            self._broken = reason
            self._state = CLOSE
            self._tasks.abandon()
            self._tasks.close()
            self._tell()

    def _why_over(self) -> BaseException | None:
        """Return what every task fails with from now on; None: workers do them."""
        if self._state == TERMINATE:
            return ProcessError("the pool was terminated before the task was done")
        return self._broken

    def _failure_of_all(self, error: BaseException) -> BaseException:
        if self._why_over() is None:
            self._break(self._what_broke_it(error))
        return self._why_over() or error

    def _has_work(self) -> bool:
        eager = [imap for imap in self._feeding if not imap._strict]
        return bool(self._tasks.open > 0 or self._unsent or eager)

    def _is_over(self) -> bool:
        return self._state != RUN

    def _run_on(self) -> None:
        self._book_unsent()
        for imap in list(self._feeding):
            imap._run_on()

    def _finish_up(self) -> None:
        """Let the workers of a closed pool go when all is done.

        Results are read before: some need their worker alive, connections for example.
        """
        if self._state == CLOSE and not self._is_busy():
            self._tasks.close()

    def _is_busy(self) -> bool:
        """Return whether there are tasks, or will be."""
        return bool(self._tasks.open > 0 or self._feeding or self._unsent)

    def _has_run_out(self) -> bool:
        """Return whether nothing is left of a closed pool; imaps go on to their end for that."""
        if self._state != CLOSE or not self._is_busy():
            return True
        self._book_unsent()  # an interrupt may have kept others from that
        for imap in list(self._feeding):
            imap._run_out()
        return False

    # -- tasks

    def _check_running(self) -> None:
        self._check_owner()
        if self._state != RUN:
            raise ValueError("Pool not running")

    def apply(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> _T:
        """Return func(*args, **kwds), called by a worker."""
        if type(self).apply_async is not Pool.apply_async:  # a subclass wants to see each call
            return self.apply_async(func, args, kwds).get()
        result: AsyncResult[_T] = self._apply_async(func, args, kwds)
        return result.get()

    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult[_T]:
        """Have a worker call func(*args, **kwds).

        One of the callbacks is called with the result or the exception before it can be got, by the
        thread that collects it.
        """
        result = self._apply_async(func, args, kwds, callback, error_callback)
        self._see_to(result)
        return result

    def _see_to(self, result: AsyncResult[Any]) -> None:
        """See to it that a result comes though nobody waits, and at once if it has a callback."""
        if result._callback is not None or result._error_callback is not None:
            self._call_helper()  # first: one that is started now keeps the pool until it is called
        if self._helper is None or self._parked:
            self._need_helper()

    def _apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: Mapping[str, Any] | None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> AsyncResult[Any]:
        if self._state != RUN or self._owner != _getpid():
            self._check_running()
        result: AsyncResult[Any] = AsyncResult(self)
        if callback is not None or error_callback is not None:
            result._callback, result._error_callback = callback, error_callback
        try:
            args = tuple(args)
            known, message, named = self._last_function
            if known is not func:
                message, named = self._message_of(func)
            arguments = (args, dict(kwds) if kwds else None)
            self._tasks.submit(result, message, named, arguments, self._chosen)
        except Exception as error:
            self._explain(error, "parts_of_call", args, kwds, "kwds")
            self._fail_unsent(result, error)
        return result

    def _fail_unsent(self, job: AsyncResult[Any], error: Exception) -> None:
        """Fail a job that could not be sent. If it calls back, who collects does that.

        The caller may have a lock that the callback takes.
        """
        if self._state != RUN and _is_refusal(error):  # it has ended while the task was pickled
            error = self._why_unsent()
        if job._error_callback is None:
            job._fail(error)
            return
        self._unsent.append((job, error))
        self._keep_fed = self._book_unsent
        self._tell()

    def _why_unsent(self) -> Exception:
        why = self._why_over()
        return why if isinstance(why, Exception) else ValueError("Pool not running")

    def _book_unsent(self) -> None:
        self._keep_fed = None
        try:
            _mproc.fail_jobs(self._unsent)
        finally:
            if self._unsent:  # a callback has raised
                self._keep_fed = self._book_unsent

    def map(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        *,
        progress: Any = None,
    ) -> list[_T]:
        """Return [func(item) for item in iterable], called by the workers.

        progress: True shows how far it is on standard error, "tqdm" as a bar of tqdm's, and a
        callable is called with a `progress.Progress`. TypeError, ImportError.
        """
        return self._map(func, iterable, False, chunksize, progress)

    def map_async(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> MapResult[_T]:
        """Have the workers call func(item) for each item; see apply_async() for the callbacks."""
        return self._in_background(func, iterable, False, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: Any = None,
    ) -> list[_T]:
        """Return [func(*item) for item in iterable], called by the workers; progress: as map()."""
        return self._map(func, iterable, True, chunksize, progress)

    def starmap_async(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
    ) -> MapResult[_T]:
        """Have the workers call func(*item) for each item; see apply_async() for the callbacks."""
        return self._in_background(func, iterable, True, chunksize, callback, error_callback)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool,
        chunksize: int | None,
        progress: Any,
    ) -> list[Any]:
        if progress:
            from ._pool.progress import watch_map

            return watch_map(self, func, iterable, star, chunksize, progress)
        mapper = self._mapper(star)
        if type(mapper) is not bool:
            return self._map_async(func, iterable, mapper, chunksize).get()
        return self._map_async(func, iterable, mapper, chunksize, awaited=True).get()

    def _in_background(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool,
        chunksize: int | None,
        callback: _Callback,
        error_callback: _Callback,
    ) -> MapResult[Any]:
        mapper = self._mapper(star)
        result = self._map_async(func, iterable, mapper, chunksize, callback, error_callback)
        self._see_to(result)
        return result

    def _mapper(self, star: bool) -> Any:
        """Return what _map_async() is given for a starmap or a map; a function, if overridden."""
        if type(self)._map_async is Pool._map_async:
            return star
        from ._pool import shown

        return shown.starmapstar if star else shown.mapstar

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        mapper: Any,
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
        *,
        awaited: bool = False,
    ) -> MapResult[Any]:
        self._check_running()
        star = mapper if type(mapper) is bool else _is_star(mapper)
        items = iterable if type(iterable) is list else list(iterable)
        if chunksize is None:
            workers = len(self._pool)
            if workers > self._processes:  # some seats have ended; as _size(), inlined
                workers = self._processes
            chunksize = -(-len(items) // (4 * workers))
        result: MapResult[Any] = MapResult(self)
        result._callback, result._error_callback = callback, error_callback
        try:
            message, named = self._message_of(func)
            size = max(chunksize, 1)
            self._tasks.submit_map(
                result, message, named, star, items, size, 0, self._chosen, awaited
            )
        except Exception as error:
            self._explain(error, "parts_of_map", items, 0)
            self._fail_unsent(result, error)
        return result

    def imap(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> IMapIterator[_T]:
        """Return an iterator over func(item) for each item, called by the workers, in order.

        While results are taken, the iterable is read only some way ahead of them; when nobody takes
        any for a while, it is read on. buffersize: at most so many chunks are under way or not
        taken, whatever happens. progress: as map(); what is taken counts as done. ValueError:
        chunksize or buffersize < 1. TypeError.
        """
        from ._pool.imap import IMapIterator

        return self._imap(IMapIterator, func, iterable, chunksize, buffersize, progress)

    def imap_unordered(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = None,
    ) -> IMapIterator[_T]:
        """Return an iterator as imap(), over the results in the order in which they come."""
        from ._pool.imap import IMapUnorderedIterator

        return self._imap(IMapUnorderedIterator, func, iterable, chunksize, buffersize, progress)

    def _imap(
        self,
        kind: type[IMapIterator[Any]],
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
        progress: Any,
    ) -> IMapIterator[Any]:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if progress:
            from ._pool.progress import watch_imap

            watched: IMapIterator[Any] = watch_imap(
                self, kind, func, iterable, chunksize, buffersize, progress
            )
            return watched
        return kind(self, func, iterable, chunksize, buffersize)

    def _has_fed(self, iterator: IMapIterator[Any]) -> None:
        """Note that an imap submits no more: the workers of a closed pool may wait for that."""
        try:
            self._feeding.remove(iterator)
        except ValueError:
            return  # another thread has noted it
        self._tell()

    def _with_options(self, options: TaskOptions) -> Self:
        from ._pool.limits import with_options

        return with_options(self, options)

    def resize(self, processes: int) -> None:
        """Have so many workers from now on.

        Those that are missing are started. Those that are too many end when all is done that was
        submitted before. ValueError: the pool is closed, or processes is none of 1 to 64, or to as
        many as it was made with; TypeError. NotImplementedError: a pool of threads, with queues of
        its own, or on an engine.
        """
        self._check_running()
        if not isinstance(self._tasks, _mproc.Pool):
            raise NotImplementedError(f"the workers of a {type(self).__name__} are always as many")
        if not 1 <= processes <= self._tasks.seats:
            raise ValueError(f"Number of processes must be from 1 to {self._tasks.seats}")
        self._tasks.resize(processes)
        self._processes = processes

    # -- in an asyncio program

    def aapply(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, _T]:
        """Call func(*args, **kwds) in a worker, in an asyncio program."""
        from . import aio

        return aio.apply(self, func, args, kwds)

    def amap(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int | None = None
    ) -> Coroutine[Any, Any, list[_T]]:
        """Call func for each item, in an asyncio program; the results are in order."""
        from . import aio

        return aio.map(self, func, iterable, chunksize)

    def aimap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> aio.imap:
        """Call func for each item: `async for result in pool.aimap(func, items)`."""
        from . import aio

        return aio.imap(self, func, iterable, chunksize)

    def aimap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> aio.imap:
        """Do the same with the results in the order in which they come."""
        from . import aio

        return aio.imap_unordered(self, func, iterable, chunksize)

    # -- the end

    def close(self) -> None:
        """Take no more tasks; the workers end when all are done, those of open imaps too."""
        if self._state == RUN:
            self._state = CLOSE
            self._finish_up()

    def terminate(self) -> None:
        """End the workers at once. Results that have not come fail with ProcessError."""
        self._check_owner()
        with self._terminating as depth:
            if depth == 1 and not self._terminated:
                self._end_at_once()
                self._terminated = True

    def _end_at_once(self) -> None:
        self._state = TERMINATE
        self._ending = True
        _finalizers.pop(self._at_exit, None)
        self._tasks.close()
        self._end_queues()  # now: a worker may be killed while it puts a result
        try:
            self._tasks.abandon()
            self._book_unsent()
        finally:
            self._end_workers()
            self._tell()
            self._join_helper(PATIENCE)
            self._end_workers()  # the one that the helper may have been starting

    def join(self) -> None:
        """Wait for the workers to end, after close() or terminate(). ValueError: still running."""
        self._check_owner()
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state == TERMINATE:
            self.terminate()  # to its end: an interrupt may have come
        self._pump_until(self._has_run_out, None, True)
        self._finish_up()
        for old in self._pool:
            old.join()
        self._join_helper(None)
        self._end_queues()

    def _end_queues(self) -> None:
        if self._piped:
            self._tasks.end_receiving()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._owner == _getpid():  # a forked child leaves the block, too, and it is not its pool
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
        return f"<{name} state={self._state} pool_size={self._size()}>"


_QUEUES = ("_inqueue", "_outqueue", "_quick_get", "_quick_put", "_taskqueue", "_change_notifier")
_HANDLERS = ("_result_handler", "_task_handler", "_worker_handler", "_terminate", "_cache")
_MAKERS = ("_get_tasks", "_guarded_task_generation")
_LOOKS = ("_get_sentinels", "_get_worker_sentinels", "_join_exited_workers")
_show(Pool, *_QUEUES, *_HANDLERS, *_MAKERS, *_LOOKS)


_ELSEWHERE = {
    "ExceptionWithTraceback": "errors",
    "IMapIterator": "imap",
    "IMapUnorderedIterator": "imap",
    "MaybeEncodingError": "errors",
    "RemoteTraceback": "errors",
    "TaskMemoryError": "errors",
    "TaskTimeoutError": "errors",
    "ThreadPool": "threads",
    "WorkerDiedError": "errors",
    "_helper_reraises_exception": "shown",
    "job_counter": "shown",
    "mapstar": "shown",
    "rebuild_exc": "shown",
    "starmapstar": "shown",
}
_ITS_NAME = {"_helper_reraises_exception": "reraise"}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import what programs know by this module's name when they first ask for it."""
        module = _ELSEWHERE.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(f"{__package__}._pool.{module}"), _ITS_NAME.get(name, name))
        return globals().setdefault(name, found)

    def __dir__():
        return sorted({*globals(), *_ELSEWHERE})
