"""What the package uses of CPython beyond its documentation, all in one place.

Another version or another interpreter may lack any of these names. Each use is guarded here: where
a name is missing, the documented one takes its place, or the docstring says what is done without.
No other module of the package names a private thing of the standard library.

The child's way to run() comes through here, so these functions import nothing (see "What a fork
costs" in docs/architecture.md).
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

__all__ = [
    "CHILDREN_RUN_EXIT_FUNCTIONS",
    "FREE_THREADED",
    "SIGCONT",
    "SIGINT",
    "MutableMapping",
    "MutableSequence",
    "MutableSet",
    "RLock",
    "ThreadLocal",
    "WeakSet",
    "at_threads_end",
    "before_threads_end",
    "child_intent",
    "end_threads",
    "forget_exit_functions",
    "forget_imports_of_others",
    "fork_of_others",
    "free_lock",
    "has_threads",
    "imports_going_on",
    "interpreter_options",
    "is_of_a_signal",
    "leave_event_loop",
    "pickle",
    "print_error",
    "raw_environment",
    "ref",
    "remove_dead",
    "run_exit_functions",
    "running_as_main",
    "set_handler",
    "set_native_id",
    "socket_of_c",
    "spawn_of_others",
    "text_of",
    "thread_count",
    "warn_of_threads",
]

# ---- names with a documented counterpart, whose module takes longer to import

if TYPE_CHECKING:
    from collections.abc import MutableMapping, MutableSequence, MutableSet
    from signal import SIGCONT, SIGINT
    from signal import signal as set_handler
    from threading import RLock
    from threading import local as ThreadLocal
    from weakref import WeakSet, ref

    _remove_dead_weakref: Callable[[dict[Any, ref[Any]], Any], None] | None
else:
    try:
        from _weakref import ref
        from _weakrefset import WeakSet
    except ImportError:
        from weakref import WeakSet, ref
    try:
        from _weakref import _remove_dead_weakref
    except ImportError:
        _remove_dead_weakref = None
    try:
        from _thread import RLock
        from _thread import _local as ThreadLocal
    except ImportError:
        from threading import RLock
        from threading import local as ThreadLocal
    try:
        # Without the enumerations of signal, whose pages a forked child would have to copy.
        from _signal import SIGCONT, SIGINT
        from _signal import signal as set_handler
    except ImportError:
        from signal import SIGCONT, SIGINT
        from signal import signal as set_handler
    try:
        from _collections_abc import MutableMapping, MutableSequence, MutableSet
    except ImportError:
        from collections.abc import MutableMapping, MutableSequence, MutableSet


def remove_dead(references: dict[Any, ref[Any]], key: Any) -> None:
    """Remove the weak reference that has the key if it is dead: by one step, if CPython has one."""
    if _remove_dead_weakref is not None:
        _remove_dead_weakref(references, key)
        return
    found = references.pop(key, None)
    if found is not None and found() is not None:
        references.setdefault(key, found)


def pickle() -> ModuleType:
    """Return the module with Pickler, dumps() and loads(), imported when it is first needed."""
    try:
        import _pickle
    except ImportError:
        import pickle

        return pickle
    return _pickle


# ---- the imports of a forked child

# The locks of the modules that are being imported, as weak references by name.
imports_going_on: dict[str, Callable[[], Any]] = getattr(
    sys.modules.get("_frozen_importlib"), "_module_locks", {}
)


def forget_imports_of_others() -> None:
    """Let a forked child import what other threads of its parent were importing at the fork.

    Those threads are not in the child: nobody would ever unlock the modules, or finish them. So
    those are forgotten that this package imports late, where the standard library's own modules
    have been imported before the fork: its own, and plain ones of Python. Another module of which
    something has run stays: the child may run in it, and executed twice it may start a child again.
    """
    me = get_ident()
    for name, lock_of in list(imports_going_on.items()):
        owner = getattr(lock_of(), "owner", None)
        module = sys.modules.get(name)  # None: it is being looked for, and nothing of it has run
        if owner == me or not (module is None or _is_imported_late(name, module)):
            continue
        imports_going_on.pop(name, None)
        if owner is not None and getattr(getattr(module, "__spec__", None), "_initializing", False):
            del sys.modules[name]


def _is_imported_late(name: str, module: ModuleType) -> bool:
    """Return whether a module is a part of this package, or a plain one of Python.

    re is the one package that others of Python need: it has no use for its parts' being bound.
    """
    if name == "re" or name.startswith((f"{__package__}.", "re.")):
        return True
    return name in sys.stdlib_module_names and not hasattr(module, "__path__")


# ---- the exit functions of a forked child

_forget_exit_functions: Callable[[], None] | None = getattr(atexit, "_clear", None)
_run_exit_functions: Callable[[], None] | None = getattr(atexit, "_run_exitfuncs", None)

# Whether a forked child runs what it registers with atexit: CPython's do so from 3.13 on. Without
# the two names a child cannot tell its own exit functions from its parent's, and runs none.
CHILDREN_RUN_EXIT_FUNCTIONS = (
    sys.version_info >= (3, 13)
    and _forget_exit_functions is not None
    and _run_exit_functions is not None
)


def forget_exit_functions() -> None:
    """Unregister all that the parent of a forked child has registered with atexit."""
    if _forget_exit_functions is not None:
        _forget_exit_functions()


def run_exit_functions() -> None:
    """Run what the process has registered with atexit, which is then unregistered."""
    if _run_exit_functions is not None:
        _run_exit_functions()


# ---- threads


def end_threads(threading: ModuleType) -> None:
    """Wait for the threads that are not daemonic, and call what waits for the end of the threads.

    Without `threading._shutdown` the threads are joined one by one, and what was registered with
    `threading._register_atexit` is not called.
    """
    try:
        shut_down, waiting = threading._shutdown, threading._threading_atexits
    except AttributeError:
        shut_down, waiting = getattr(threading, "_shutdown", _join_threads), True
    if waiting or _thread_count():
        shut_down()


def at_threads_end(threading: ModuleType) -> list[object] | None:
    """Return the list of what waits for the end of the threads: it is never replaced.

    None: this version has no such list, and only end_threads() knows.
    """
    return getattr(threading, "_threading_atexits", None)


try:
    from _thread import _count as _thread_count
except ImportError:

    def _thread_count() -> int:
        return 1  # there may be some: _shutdown() knows


# As a function of the interpreter's own: a child calls it, and each frame is pages to copy.
thread_count = _thread_count


def has_threads() -> bool:
    """Return whether there may be threads of Python beside the main one."""
    return _thread_count() > 0


def warn_of_threads() -> None:
    """Warn before a fork of a process that has threads, as os.fork() does from 3.12 on.

    DeprecationWarning, in the words that programs filter. Threads that are not Python's are not
    counted. Where a filter makes an error of it, os.fork() raises that from 3.15 on; before, it
    drops the error, and forks.
    """
    if sys.version_info >= (3, 12) and _thread_count():
        import warnings

        text = (
            f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to"
            " deadlocks in the child."
        )
        try:
            warnings.warn(text, DeprecationWarning, stacklevel=2)
        except DeprecationWarning:
            if sys.version_info >= (3, 15):
                raise


def before_threads_end(function: Callable[[], None]) -> None:
    """Have a function called at the interpreter's end before threads are waited for.

    Without `threading._register_atexit` it is called after that. If the end has begun, now.
    """
    import threading

    try:
        getattr(threading, "_register_atexit", atexit.register)(function)
    except RuntimeError:
        function()


def _join_threads() -> None:
    import threading

    me = threading.current_thread()
    while others := [t for t in threading.enumerate() if t is not me and not t.daemon]:
        for other in others:
            other.join()


def set_native_id(threading: dict[str, Any], number: int) -> None:
    """Correct the `native_id` of the main thread in a started child, by the names of `threading`.

    Without `_main_thread` it stays that of the parent's main thread.
    """
    try:
        threading["_main_thread"]._native_id = number
    except (KeyError, AttributeError):
        return


def leave_event_loop(unix_events: ModuleType) -> None:
    """Leave the signals of asyncio's event loop to the parent, in a child that was forked from it.

    The loop takes them by a descriptor, which the child shares: what it is sent would run the
    parent's handlers and not end the child. They have their default effect then, and there is no
    such descriptor. Without `asyncio.unix_events._sighandler_noop` all is left as it is.
    """
    handler = getattr(unix_events, "_sighandler_noop", None)
    if handler is None:
        return
    import signal

    taken = [number for number in signal.valid_signals() if signal.getsignal(number) is handler]
    if taken:
        signal.set_wakeup_fd(-1)
    for number in taken:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)


def text_of(error: BaseException) -> str:
    """Return the traceback of an error, as the interpreter shows it.

    The module traceback imports others late: tokenize in 3.13, _colorize in 3.15. A process that
    may read no files any more cannot, and gets the text without what they are for.
    """
    return _formatted(error) or _bare_text_of(error)


def print_error(error: BaseException) -> None:
    """Print the traceback of an error to stderr: in colours, where the interpreter does so."""
    if _formatted(error):  # whose modules have been imported thereby
        sys.modules["traceback"].print_exception(error)
    elif sys.stderr is not None:
        sys.stderr.write(_bare_text_of(error))


def _formatted(error: BaseException) -> str:
    try:
        import traceback

        return "".join(traceback.format_exception(error))
    except (ImportError, OSError):
        return ""


def _bare_text_of(error: BaseException | None) -> str:
    """Do what traceback does, with nothing imported: an error, before it the ones it came from."""
    texts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts.append("".join(_bare_lines_of(error)))
        context = None if error.__suppress_context__ else error.__context__
        error = context if error.__cause__ is None else error.__cause__
    return "\nand then:\n\n".join(reversed(texts))


def _bare_lines_of(error: BaseException) -> Iterator[str]:
    traceback = error.__traceback__
    if traceback is not None:
        yield "Traceback (most recent call last):\n"
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield f'  File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}\n'
        traceback = traceback.tb_next
    try:
        text = str(error)
    except Exception:
        text = "its str() fails"
    yield f"{type(error).__name__}: {text}\n" if text else f"{type(error).__name__}\n"
    for note in getattr(error, "__notes__", ()):
        yield f"{note}\n"


def is_of_a_signal(error: BaseException) -> bool:
    """Return whether a signal's handler has raised an exception: it has come through one.

    Imports nothing: the reason may be that there is no descriptor. A program that has no module
    `signal` has no handlers.
    """
    signal: Any = sys.modules.get("signal")
    if signal is None:
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [_code_of(handler) for handler in handlers if callable(handler)]
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code not in codes:
        traceback = traceback.tb_next
    return traceback is not None


def _code_of(function: Any) -> object:
    while type(function).__name__ == "partial":
        function = function.func
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    return getattr(function, "__code__", None)


def free_lock(lock: LockType) -> LockType:
    """Make a lock free in a forked child, and return it; without `_at_fork_reinit` a new one."""
    try:
        lock._at_fork_reinit()  # type: ignore[attr-defined]
    except AttributeError:
        return allocate_lock()
    return lock


# ---- the environment


def raw_environment() -> dict[bytes, bytes] | None:
    """Return the variables as the system has them; None if os.environ keeps them in another way.

    os.environ decodes every variable at every reading. `os.environ._data` is what it reads. The
    caller must not change it.
    """
    data = getattr(os.environ, "_data", None)
    return data if type(data) is dict else None


# ---- what tools put in the place of calls that make processes

_BUILTIN: type = type(len)


def fork_of_others() -> Callable[[], int] | None:
    """Return what a tool has put in the place of os.fork(), to follow children; None if nothing."""
    fork = os.fork
    return None if type(fork) is _BUILTIN else fork


def spawn_of_others() -> Callable[[bytes, list[bytes], list[bytes], list[int]], int] | None:
    """Return what starts a program by what a tool has put in the place of `fork_exec()`.

    None: there is no such tool. `_posixsubprocess.fork_exec` is what subprocess calls. It takes 23
    arguments up to 3.13, and tells its parameters from 3.12 on.
    """
    module = sys.modules.get("_posixsubprocess")
    fork_exec = getattr(module, "fork_exec", None)
    if fork_exec is None or type(fork_exec) is _BUILTIN:
        return None

    def start(path: bytes, argv: list[bytes], envp: list[bytes], fds: list[int]) -> int:
        failed, failing = os.pipe()  # how the system's exec() failed
        try:
            pid: int = fork_exec(*_fork_exec_arguments(path, argv, envp, fds, failed, failing))
            os.close(failing)
            failing = -1
            _check_exec(pid, path, failed)
        finally:
            os.close(failed)
            if failing >= 0:
                os.close(failing)
        return pid

    return start


def _fork_exec_arguments(
    path: bytes, argv: list[bytes], envp: list[bytes], fds: list[int], failed: int, failing: int
) -> list[Any]:
    kept = tuple(sorted([*fds, failing]))
    streams = [-1] * 6
    ids = [None] * 3  # group, other groups, user
    arguments: list[Any] = [argv, [path], True, kept, None, envp, *streams, failed, failing]
    arguments += [False, False, -1, *ids, -1, None]
    if sys.version_info < (3, 14):
        arguments.append(True)  # vfork() may be used
    return arguments


def _check_exec(pid: int, path: bytes, failed: int) -> None:
    """Raise the OSError of a program that could not be executed; it is the child's last message."""
    message = b""
    while part := os.read(failed, 1000):
        message += part
    if message:
        os.waitpid(pid, 0)
        number = int(message.split(b":")[1] or b"0", 16)
        raise OSError(number, os.strerror(number), os.fsdecode(path))


# ---- the standard library's resource tracker, if the program uses that beside mproc


def child_intent(tracker: ModuleType | None) -> Any:
    """Return the object whose `preserve_fd` tells that module whose fork is to come.

    From Python 3.14 on, and in late releases of 3.13, it leaves its process to the parent in a fork
    that is not said to be that of a multiprocessing.Process. A child that attaches shared memory
    would then start another one, which removes the memory at the child's end. None: there is no
    such difference.
    """
    return getattr(tracker, "_fork_intent", None)


# ---- the interpreter

# Whether this build can do without the interpreter's lock. What one thread has made, and another
# one has dropped, is freed in such a build when the first one runs Python code again.
FREE_THREADED = "t" in getattr(sys, "abiflags", "")


def interpreter_options() -> dict[str, str | bool]:
    """Return the -X options of this interpreter; none, where it does not tell."""
    return dict(getattr(sys, "_xoptions", {}))


def socket_of_c() -> ModuleType:
    """Return the module of sockets that imports no others: a program may have none of them yet."""
    try:
        import _socket
    except ImportError:
        import socket

        return socket
    return _socket


def running_as_main(module: str | None, path: str = "") -> tuple[Any, ...]:
    """Return what to call, and with what, to run a module as `__main__`.

    module: its name; None runs the `__main__` of the directory or archive `path`. Without
    `runpy._run_module_as_main` the program does not run in the `__main__` that is there, but in
    another one that has the name meanwhile.
    """
    import runpy

    run = getattr(runpy, "_run_module_as_main", None)
    if run is not None:
        return run, module or "__main__", module is not None
    if module is not None:
        return runpy.run_module, module, None, "__main__", True
    return runpy.run_path, path, None, "__main__"
