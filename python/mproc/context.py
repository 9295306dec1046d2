"""Contexts: the whole interface of the package, bound to a start method.

`mproc` itself offers the methods of one DefaultContext. That stands for one of the concrete
contexts, which set_start_method() or the first use chooses. Modules are imported when they are
first needed.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import os
import sys

from . import _current, process
from ._current import current_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    import logging
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType
    from typing import Any, ClassVar, Literal, TypeVar, overload

    from . import dicts as _dicts
    from . import lists as _lists
    from . import managers as _managers
    from . import namespaces as _namespaces
    from . import pool as _pool
    from . import program as _program
    from . import queues as _queues
    from . import sets as _sets
    from . import sharedctypes as _sharedctypes
    from . import synchronize as _synchronize
    from ._mproc import Connection
    from .popen_fork import Popen

    _T = TypeVar("_T")
    _C = TypeVar("_C", bound=ctypes._CData)
    _Simple = ctypes._SimpleCData

__all__: list[str] = []


class _Modules:
    """The package's modules as attributes, each imported when it is first needed.

    An import statement inside a function takes a microsecond every time, this a look-up in a
    dictionary.
    """

    def __getattr__(self, name: str) -> Any:
        full_name = f"{__package__}.{name}"
        __import__(full_name)
        module = sys.modules[full_name]
        setattr(self, name, module)
        return module


_modules = _Modules()

_METHODS_OF_VERSION = (
    ("forkserver", "fork", "spawn")
    if sys.version_info >= (3, 14)
    else ("fork", "spawn", "forkserver")
)


class ProcessError(Exception):
    """The base of the package's errors."""


class BufferTooShort(ProcessError):
    """A message is larger than the buffer of recv_bytes_into(); args[0] is the message."""


class TimeoutError(ProcessError):
    """A result did not come in time."""


class AuthenticationError(ProcessError):
    """The other end of a connection does not know the key."""


class OwnerDiedError(ProcessError):
    """The process that held a lock died. Exactly one later taker gets this; the lock is free then.

    So does a taker of an RLock whose thread has ended: nobody else could release that. What the
    lock guards may be half changed: the taker that gets this error should repair it.

    Attributes: pid, that of the dead process, 0 if it is not known any more; tid, the native id of
    the thread that had acquired the lock; name, that of the Process, and exitcode, as in
    Process.exitcode, each None if this process does not know it.
    """

    def __init__(
        self, pid: int, tid: int, name: str | None = None, exitcode: int | None = None
    ) -> None:
        super().__init__(pid, tid, name, exitcode)
        self.pid = pid
        self.tid = tid
        self.name = name
        self.exitcode = exitcode

    def __str__(self) -> str:
        if self.pid == os.getpid():
            return f"thread {self.tid} of this process ended while it held the lock"
        known = [] if self.name is None else [self.name]
        if self.exitcode is not None:
            end = process._exitcode_to_name.get(self.exitcode, str(self.exitcode))
            known.append(f"exit code {end}")
        who = f"{self.pid} ({', '.join(known)})" if known else f"{self.pid}"
        return f"process {who} died while it held the lock (thread {self.tid})"


def _owner_died(pid: int, tid: int) -> OwnerDiedError:
    """Return the error, with what this process knows of the dead one."""
    for known in list(process._dangling):
        popen = known._popen
        if popen is not None and popen.pid == pid:
            mine = known._parent_pid == os.getpid()
            return OwnerDiedError(pid, tid, known.name, known.exitcode if mine else None)
    return OwnerDiedError(pid, tid)


def _named(name: str | None, shared: Any) -> Any:
    """Return the object, which `python -m mproc locks` and the like call by the name."""
    if name is not None:
        _modules._mproc.set_name(shared.address, name)
    return shared


class BaseContext:
    """The base of all contexts: the methods that each of them has.

    `name`, where a method has it: what the verbs of `python -m mproc` call the object; at most 127
    bytes of UTF-8. ValueError, TypeError: no such name. inspect.name_of() tells it.
    """

    _name: ClassVar[str]
    _pickler: str | None = None  # by what functions travel by value; None: by name only

    ProcessError = ProcessError
    BufferTooShort = BufferTooShort
    TimeoutError = TimeoutError
    AuthenticationError = AuthenticationError

    current_process = staticmethod(current_process)
    parent_process = staticmethod(process.parent_process)
    active_children = staticmethod(process.active_children)

    Process: type[process.BaseProcess]

    @property
    def Program(self) -> type[_program.Program]:
        """The class of processes that run a program of their own; see program.Program."""
        return _modules.program.Program

    def cpu_count(self) -> int:
        """Return the number of CPUs of the system. NotImplementedError if it is unknown."""
        number = os.cpu_count()
        if number is None:
            raise NotImplementedError("cannot determine number of cpus")
        return number

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:
        """Return two connected Connections; unless duplex, the first only receives. OSError."""
        return _modules.connection.Pipe(duplex)

    def Manager(self) -> _managers.SyncManager:
        """Return a started manager of shared objects.

        If set_engine() has chosen another one than this machine, its server has an address there,
        so that tasks on the engine reach it.
        """
        address = None
        if _current.engine is not None:
            address = _modules.engines.address_for_nodes()
        manager: _managers.SyncManager = _modules.managers.SyncManager(
            address, ctx=self.get_context()
        )
        manager.start()
        return manager

    def Lock(self, *, on_owner_death: str = "raise", name: str | None = None) -> _synchronize.Lock:
        """Return a lock that is not recursive; see synchronize.Lock for on_owner_death."""
        return _named(
            name, _modules.synchronize.Lock(ctx=self.get_context(), on_owner_death=on_owner_death)
        )

    def RLock(
        self, *, on_owner_death: str = "raise", name: str | None = None
    ) -> _synchronize.RLock:
        """Return a recursive lock; see synchronize.Lock for on_owner_death."""
        return _named(
            name, _modules.synchronize.RLock(ctx=self.get_context(), on_owner_death=on_owner_death)
        )

    def Condition(self, lock: Any = None, *, name: str | None = None) -> _synchronize.Condition:
        """Return a condition variable, of this lock or a new RLock."""
        return _named(name, _modules.synchronize.Condition(lock, ctx=self.get_context()))

    def Semaphore(self, value: int = 1, *, name: str | None = None) -> _synchronize.Semaphore:
        """Return a semaphore with so many permits. ValueError: a bad value."""
        return _named(name, _modules.synchronize.Semaphore(value, ctx=self.get_context()))

    def BoundedSemaphore(
        self, value: int = 1, *, name: str | None = None
    ) -> _synchronize.BoundedSemaphore:
        """Return a semaphore that never has more permits than now. ValueError: a bad value."""
        return _named(name, _modules.synchronize.BoundedSemaphore(value, ctx=self.get_context()))

    def Event(self, *, name: str | None = None) -> _synchronize.Event:
        """Return an event."""
        return _named(name, _modules.synchronize.Event(ctx=self.get_context()))

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
    ) -> _synchronize.Barrier:
        """Return a barrier for so many threads of any processes; timeout in seconds."""
        return _named(
            name, _modules.synchronize.Barrier(parties, action, timeout, ctx=self.get_context())
        )

    def Queue(
        self, maxsize: int = 0, *, maxbytes: int = 0, name: str | None = None
    ) -> _queues.Queue[Any]:
        """Return a queue for at most maxsize objects; 0 or less: no limit.

        maxbytes: put() waits while the messages in it have so many bytes or more; 0: no limit.
        """
        return _named(
            name, _modules.queues.Queue(maxsize, maxbytes=maxbytes, ctx=self.get_context())
        )

    def JoinableQueue(
        self, maxsize: int = 0, *, maxbytes: int = 0, name: str | None = None
    ) -> _queues.JoinableQueue[Any]:
        """Return a queue as Queue() does, with task_done() and join()."""
        return _named(
            name, _modules.queues.JoinableQueue(maxsize, maxbytes=maxbytes, ctx=self.get_context())
        )

    def SimpleQueue(self, *, name: str | None = None) -> _queues.SimpleQueue[Any]:
        """Return a queue with little more than get() and put()."""
        return _named(name, _modules.queues.SimpleQueue(ctx=self.get_context()))

    def Dict(self, other: Any = (), /, **kwargs: Any) -> _dicts.Dict[Any, Any]:
        """Return a dict that all processes of the family share, made as dict() is."""
        shared = _modules.dicts.Dict(other, **kwargs)
        shared._belong_to(self.get_context())
        return shared

    def List(self, iterable: Iterable[Any] = (), /) -> _lists.List[Any]:
        """Return a list that all processes of the family share, made as list() is."""
        shared = _modules.lists.List(iterable)
        shared._belong_to(self.get_context())
        return shared

    def Set(self, iterable: Iterable[Any] = (), /) -> _sets.Set[Any]:
        """Return a set that all processes of the family share, made as set() is."""
        shared = _modules.sets.Set(iterable)
        shared._belong_to(self.get_context())
        return shared

    def Namespace(self, /, **attributes: Any) -> _namespaces.Namespace:
        """Return an object whose attributes all processes of the family share."""
        shared = _modules.namespaces.Namespace(**attributes)
        shared._belong_to(self.get_context())
        return shared

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        pickler: str | None = None,
        engine: Any = None,
    ) -> _pool.Pool:
        """Return a pool of worker processes; see pool.Pool. ValueError, TypeError."""
        return _modules.pool.Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            context=self.get_context(),
            pickler=pickler,
            engine=engine,
        )

    # What type the object has follows from the arguments: from a ctypes type, not from a typecode.
    if TYPE_CHECKING:

        @overload
        def RawValue(self, typecode_or_type: type[_C], *args: Any) -> _C: ...
        @overload
        def RawValue(self, typecode_or_type: str, *args: Any) -> Any: ...
        def RawValue(self, typecode_or_type: Any, *args: Any) -> Any: ...
        @overload
        def RawArray(
            self, typecode_or_type: type[_C], size_or_initializer: int | Sequence[Any]
        ) -> ctypes.Array[_C]: ...
        @overload
        def RawArray(
            self, typecode_or_type: str, size_or_initializer: int | Sequence[Any]
        ) -> Any: ...
        def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any: ...
        @overload
        def Value(self, typecode_or_type: type[_C], *args: Any, lock: Literal[False]) -> _C: ...
        @overload
        def Value(
            self, typecode_or_type: type[_Simple[_T]], *args: Any, lock: Any = True
        ) -> _sharedctypes.Synchronized[_T]: ...
        @overload
        def Value(self, typecode_or_type: type[_C], *args: Any, lock: Any = True) -> Any: ...
        @overload
        def Value(self, typecode_or_type: str, *args: Any, lock: Any = True) -> Any: ...
        def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any: ...
        @overload
        def Array(
            self,
            typecode_or_type: type[_C],
            size_or_initializer: int | Sequence[Any],
            *,
            lock: Literal[False],
        ) -> ctypes.Array[_C]: ...
        @overload
        def Array(
            self,
            typecode_or_type: type[ctypes.c_char],
            size_or_initializer: int | Sequence[Any],
            *,
            lock: Any = True,
        ) -> _sharedctypes.SynchronizedString: ...
        @overload
        def Array(
            self,
            typecode_or_type: type[_Simple[_T]],
            size_or_initializer: int | Sequence[Any],
            *,
            lock: Any = True,
        ) -> _sharedctypes.SynchronizedArray[_T]: ...
        @overload
        def Array(
            self,
            typecode_or_type: str | type[ctypes._CData],
            size_or_initializer: int | Sequence[Any],
            *,
            lock: Any = True,
        ) -> Any: ...
        def Array(
            self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True
        ) -> Any: ...

    else:

        def RawValue(self, typecode_or_type, *args):
            """Return a shared ctypes object. TypeError: no type."""
            return _modules.sharedctypes.RawValue(typecode_or_type, *args)

        def RawArray(
            self,
            typecode_or_type,
            size_or_initializer,
        ):
            """Return a shared ctypes array. TypeError: no type."""
            return _modules.sharedctypes.RawArray(typecode_or_type, size_or_initializer)

        def Value(self, typecode_or_type, *args, lock=True):
            """Return a shared ctypes object with a lock; see sharedctypes.Value."""
            return _modules.sharedctypes.Value(
                typecode_or_type, *args, lock=lock, ctx=self.get_context()
            )

        def Array(
            self,
            typecode_or_type,
            size_or_initializer,
            *,
            lock=True,
        ):
            """Return a shared ctypes array with a lock; see sharedctypes.Value."""
            return _modules.sharedctypes.Array(
                typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context()
            )

    def freeze_support(self) -> None:
        """In a child of a frozen program, do the child's work and exit; elsewhere do nothing."""
        if getattr(sys, "frozen", False):
            from .spawn import freeze_support

            freeze_support()

    def get_logger(self) -> logging.Logger:
        """Return the package's logger."""
        from .util import get_logger

        return get_logger()

    def log_to_stderr(self, level: int | str | None = None) -> logging.Logger:
        """Have the package's logger print to stderr, from `level` on; return it."""
        from .util import log_to_stderr

        return log_to_stderr(level)

    def allow_connection_pickling(self) -> None:
        """Do nothing: connections and sockets can always be sent to other processes."""
        from . import connection  # noqa: F401

    def set_executable(self, executable: str | bytes | os.PathLike[Any] | None) -> None:
        """Set the path of the interpreter that spawn and forkserver start."""
        from .spawn import set_executable

        set_executable(executable)

    def set_forkserver_preload(self, module_names: list[str], *, on_error: str = "ignore") -> None:
        """Set the modules that the fork server imports; see forkserver.ForkServer."""
        from .forkserver import set_forkserver_preload

        set_forkserver_preload(module_names, on_error=on_error)

    def get_context(self, method: str | None = None, pickler: str | None = None) -> BaseContext:
        """Return the context of a start method. ValueError if there is none.

        pickler: "cloudpickle" has its processes, pools and executors send lambdas, closures, and
        what a prompt or notebook has defined. ImportError: cloudpickle is not installed.
        """
        if pickler is not None:
            return _with_pickler(self.get_context(method), pickler)
        if method is None:
            return self
        try:
            context = _concrete_contexts[method]
        except KeyError:
            raise ValueError(
                f"cannot find context for {method!r}; there are {', '.join(_concrete_contexts)}"
            ) from None
        context._check_available()
        return context

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the name of the start method."""
        return self._name

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Raise ValueError: a concrete context has one start method."""
        raise ValueError(
            f"cannot set start method of concrete context {self._name!r}: use get_context(method)"
        )

    @property
    def reducer(self) -> ModuleType:
        """The module that pickles what is sent to other processes.

        It can be set, for all contexts, to another module or to an instance of a class derived from
        reduction.AbstractReducer. From then on the dumps() and loads() of its ForkingPickler are
        used for all objects that are no plain values, in this process and in those forked from it.
        """
        chosen: ModuleType | None = globals().get("reduction")
        if chosen is not None:
            return chosen
        from . import reduction

        return reduction

    @reducer.setter
    def reducer(self, reduction: ModuleType) -> None:
        from .reduction import use_pickler

        use_pickler(reduction.ForkingPickler)
        globals()["reduction"] = reduction

    def _check_available(self) -> None:
        pass


# ---- the default context


class Process(process.BaseProcess):
    """A process that is started by the method that is in force when it starts."""

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Popen:
        return _default_context.get_context().Process._Popen(process_obj)

    def _chosen_popen(
        self, make: Callable[[process.BaseProcess], Popen]
    ) -> Callable[[process.BaseProcess], Popen]:
        return _default_context.get_context().Process._Popen if make is Process._Popen else make

    @staticmethod
    def _after_fork() -> None:
        _default_context.get_context().Process._after_fork()


class DefaultContext(BaseContext):
    """The context whose methods are the functions of the package."""

    Process = Process

    def __init__(self, context: BaseContext) -> None:
        self._default_context = context
        self._actual: BaseContext | None = None
        self._chooser = current_process()

    @property
    def _actual_context(self) -> BaseContext | None:
        """The context in force. At first it is that of the method that started this process."""
        current = _current._process  # not by a call: every Lock() and Queue() comes here
        if self._chooser is not current:
            self._chooser = current
            if current._start_method is not None:
                self._actual = _concrete_contexts[current._start_method]
        return self._actual

    @_actual_context.setter
    def _actual_context(self, context: BaseContext | None) -> None:
        self._chooser = current_process()
        self._actual = context

    def get_context(self, method: str | None = None, pickler: str | None = None) -> BaseContext:
        """Return the context of a start method. ValueError: there is no such method.

        None stands for the context in force, which set_start_method() cannot change afterwards.
        pickler: see BaseContext.get_context().
        """
        if method is not None or pickler is not None:
            return super().get_context(method, pickler=pickler)
        if self._actual_context is None:
            self._actual_context = self._default_context
        return self._actual_context

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the start method; None undoes the choice, with force.

        RuntimeError: it has been chosen already, and force is false. ValueError: no such method.
        """
        if self._actual_context is not None and not force:
            raise RuntimeError(
                f"context has already been set, to {self._actual_context._name!r}: choose it before"
                " anything is made with it, or use force=True"
            )
        if method is None and force:
            self._actual_context = None
        else:
            self._actual_context = self.get_context(method)

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the start method in force, which set_start_method() cannot change afterwards.

        allow_none: return None, and choose none, if none has been chosen yet.
        """
        if self._actual_context is None:
            if allow_none:
                return None
            self._actual_context = self._default_context
        return self._actual_context._name

    def get_all_start_methods(self) -> list[str]:
        """Return the names of the start methods, the default one first."""
        return list(_METHODS_OF_VERSION)


# ---- the concrete contexts


class ForkProcess(process.BaseProcess):
    """A process that starts as a copy of its parent."""

    _start_method = "fork"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Popen:
        """Start the first process by fork; from then on that is done without this function."""
        return _choose_start()(process_obj)


_start_in_python = process.BaseProcess.start


def _choose_start() -> type[Popen]:
    """Have start() return from a fork through no frame of Python, unless a program replaced it."""
    from ._mproc import make_start
    from .popen_fork import Popen

    ForkProcess._Popen = Popen  # type: ignore[method-assign]
    process.BaseProcess._forking = Popen
    if process.BaseProcess.start is _start_in_python:
        start = make_start(process.BaseProcess)
        process.BaseProcess.start = start  # type: ignore[assignment, method-assign]
    return Popen


class SpawnProcess(process.BaseProcess):
    """A process that starts as a fresh interpreter."""

    _start_method = "spawn"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Popen:
        from .popen_spawn_posix import Popen

        return Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        pass


class ForkServerProcess(process.BaseProcess):
    """A process that starts as a copy of a template process, which has no threads."""

    _start_method = "forkserver"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Popen:
        from .forkserver import _forkserver
        from .popen_forkserver import Popen

        if not _forkserver.is_wrapped:
            try:
                return Popen(process_obj)
            except ChildProcessError:
                if not _forkserver.is_wrapped:
                    raise
        return SpawnProcess._Popen(process_obj)


class ForkContext(BaseContext):
    """The context of start method fork."""

    _name = "fork"
    Process = ForkProcess


class SpawnContext(BaseContext):
    """The context of start method spawn."""

    _name = "spawn"
    Process = SpawnProcess


class ForkServerContext(BaseContext):
    """The context of start method forkserver."""

    _name = "forkserver"
    Process = ForkServerProcess


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
_default_context = DefaultContext(_concrete_contexts[_METHODS_OF_VERSION[0]])


def _with_pickler(context: BaseContext, pickler: str) -> BaseContext:
    if pickler != "cloudpickle":
        raise ValueError(f"unknown pickler {pickler!r}: there is 'cloudpickle'")
    return _modules._cloudpickle.context_with(context)


def _force_start_method(method: str) -> None:
    _default_context._actual_context = _concrete_contexts[method]


if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "reduction":
            return _default_context.reducer
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---- the child that an object is pickled for


def get_spawning_popen() -> Popen | None:
    """Return the popen object of the child that this thread pickles for; None if for none."""
    popen: Popen | None = getattr(globals().get("_tls"), "spawning_popen", None)
    return popen


def set_spawning_popen(popen: Popen | None) -> None:
    """Set the popen object of the child that this thread pickles for."""
    tls = globals().get("_tls")
    if tls is None:
        from ._cpython import ThreadLocal

        tls = globals().setdefault("_tls", ThreadLocal())
    tls.spawning_popen = popen


class Leaving:
    """While this is entered, what its thread pickles leaves this machine, for an engine.

    sharing: has the program's shared objects served to tasks (engines/shared.py); None: they stay.
    shared: what it serves of those that were pickled; kept as long as the pickle may be loaded.
    """

    def __init__(self, sharing: Any = None) -> None:
        self.sharing = sharing
        self.shared: list[Any] = []
        self._outer: Leaving | None = None
        self._popen: Popen | None = None
        self.pid = os.getpid()  # a child that is forked meanwhile has a copy, and sends nothing

    def __enter__(self) -> Leaving:
        self._popen = get_spawning_popen()
        set_spawning_popen(None)  # that makes the thread's variables
        tls = globals()["_tls"]
        self._outer, tls.leaving = getattr(tls, "leaving", None), self
        return self

    def __exit__(self, *exc_info: object) -> None:
        tls = globals()["_tls"]
        tls.leaving, tls.spawning_popen = self._outer, self._popen


def leaving() -> Leaving | None:
    """Return for what this thread pickles, if it is for an engine.

    A process that is started meanwhile, such as a manager's server, is one of this machine.
    """
    if get_spawning_popen() is not None:
        return None
    found: Leaving | None = getattr(globals().get("_tls"), "leaving", None)
    return found if found is not None and found.pid == os.getpid() else None


def is_leaving() -> bool:
    """Return whether this thread pickles for an engine."""
    return leaving() is not None


def share(obj: object) -> tuple[Any, ...] | None:
    """Return what a shared object is pickled as for an engine; None: it is not, or stays here."""
    if not is_leaving():
        return None
    from .engines import shared

    return shared.share(obj)


def check_leaving(obj: object, where: str = "in the memory of") -> None:
    """Raise TypeError if an object of this machine is pickled for an engine."""
    if is_leaving():
        raise TypeError(
            f"{type(obj).__name__} objects are {where} this machine, and cannot be used by"
            " tasks on an engine: use an object of a Manager() instead, or send the contents"
        )


def assert_spawning(obj: object) -> None:
    """Raise RuntimeError unless this thread pickles for a child that is being started."""
    if get_spawning_popen() is None:
        check_leaving(obj)
        raise RuntimeError(
            f"{type(obj).__name__} objects should only be shared between processes"
            " through inheritance"
        )
