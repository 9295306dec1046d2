"""mproc: multiprocessing, built anew.

The package has the interface of the standard library's multiprocessing: import it under that name,

    import mproc as multiprocessing

or call `mproc.install()` before anything else, or run an unedited program with
`python -m mproc program.py`, or tests with `pytest -p mproc`. `mproc.installed()`, also called
`is_active()`, says whether `multiprocessing` is mproc, and `mproc.uninstall()` ends that.
"""

import os as _os
import sys as _sys

from . import context as _context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import inspect as inspect
    from . import reduction as reducer
    from ._alias import install as install
    from ._alias import installed as installed
    from ._alias import uninstall as uninstall
    from ._library import get_include as get_include
    from ._library import get_library as get_library
    from .buffers import Buffer as Buffer
    from .buffers import asarray as asarray
    from .buffers import empty as empty
    from .c_functions import CFunctionError as CFunctionError
    from .c_functions import c_function as c_function
    from .engines import EngineError as EngineError
    from .engines import WorkerLostError as WorkerLostError
    from .engines import set_engine as set_engine
    from .futures import ProcessPoolExecutor as ProcessPoolExecutor
    from .inspect import log_deadlocks as log_deadlocks
    from .program import Program as Program
    from .program import child_args as child_args

    Dict = _context._default_context.Dict
    List = _context._default_context.List
    Namespace = _context._default_context.Namespace
    Set = _context._default_context.Set
    is_active = installed
    __version__: str
del TYPE_CHECKING

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "OwnerDiedError",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]

_default = _context._default_context

Array = _default.Array
AuthenticationError = _context.AuthenticationError
Barrier = _default.Barrier
BoundedSemaphore = _default.BoundedSemaphore
BufferTooShort = _context.BufferTooShort
Condition = _default.Condition
Event = _default.Event
JoinableQueue = _default.JoinableQueue
Lock = _default.Lock
Manager = _default.Manager
OwnerDiedError = _context.OwnerDiedError
Pipe = _default.Pipe
Pool = _default.Pool
Process = _context.Process
ProcessError = _context.ProcessError
Queue = _default.Queue
RLock = _default.RLock
RawArray = _default.RawArray
RawValue = _default.RawValue
Semaphore = _default.Semaphore
SimpleQueue = _default.SimpleQueue
TimeoutError = _context.TimeoutError
Value = _default.Value
active_children = _default.active_children
allow_connection_pickling = _default.allow_connection_pickling
cpu_count = _default.cpu_count
current_process = _default.current_process
freeze_support = _default.freeze_support
get_all_start_methods = _default.get_all_start_methods
get_context = _default.get_context
get_logger = _default.get_logger
get_start_method = _default.get_start_method
log_to_stderr = _default.log_to_stderr
parent_process = _default.parent_process
set_executable = _default.set_executable
set_forkserver_preload = _default.set_forkserver_preload
set_start_method = _default.set_start_method

SUBDEBUG = 5
SUBWARNING = 25


# Programs use these as attributes without importing them: something else always has.
_SUBMODULES = {
    "connection", "dummy", "forkserver", "heap", "managers", "pool", "popen_fork",
    "popen_forkserver", "popen_spawn_posix", "process", "queues", "reduction", "resource_sharer",
    "resource_tracker", "shared_memory", "sharedctypes", "spawn", "synchronize", "util",
}  # fmt: skip


# Names of this module that are found when they are first asked for, and where.
_OF_CONTEXT = ("Dict", "List", "Namespace", "Set", "reducer")
_ELSEWHERE = {
    "Buffer": "buffers",
    "CFunctionError": "c_functions",
    "EngineError": "engines",
    "ProcessPoolExecutor": "futures",
    "Program": "program",
    "WorkerLostError": "engines",
    "asarray": "buffers",
    "c_function": "c_functions",
    "child_args": "program",
    "empty": "buffers",
    "get_include": "_library",
    "get_library": "_library",
    "install": "_alias",
    "installed": "_alias",
    "is_active": "_alias",
    "log_deadlocks": "inspect",
    "set_engine": "engines",
    "uninstall": "_alias",
}


def _submodule(name: str) -> object:
    full_name = f"{__name__}.{name}"
    __import__(full_name)
    return _sys.modules[full_name]


def __getattr__(name: str) -> object:
    if name in _OF_CONTEXT:
        return getattr(_default, name)
    if name == "__version__":
        from ._mproc import version

        return version
    if name in _SUBMODULES or name == "inspect":
        return _submodule(name)
    if name in _ELSEWHERE:
        place = _submodule(_ELSEWHERE[name])
        return getattr(place, "installed" if name == "is_active" else name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "__version__", *_OF_CONTEXT, *_ELSEWHERE})


def pytest_load_initial_conftests() -> None:
    """Have the tests run on mproc: a hook of pytest, which finds it by `pytest -p mproc`."""
    from ._alias import install

    install()


# No name of multiprocessing's: its test of the public names looks where they are from.
pytest_load_initial_conftests.__module__ = "mproc._alias"


if "MPROC_STACKS" in _os.environ:
    from . import _stacks

    _stacks.answer_if_asked(_os.environ["MPROC_STACKS"])


# What a child pickles of its main module, `__mp_main__`, its parent finds here.
if "__main__" in _sys.modules:
    _sys.modules["__mp_main__"] = _sys.modules["__main__"]
