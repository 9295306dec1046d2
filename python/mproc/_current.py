"""The calling process: which one it is, whom it has started, how it begins and how it ends.

This is the ground of the package: `process`, `util` and `context` stand on it, and it imports none
of them. It knows the objects of `process` and `popen_*` by their methods only.

State, each a variable of this module that only functions of this module set:
  _process        the object that stands for this process; another one in each started child.
  _children       the started processes that have not been seen to end. A child begins with none.
  _numbers        counts the processes that _counting makes, for their names. A child that makes
                  none keeps its parent's: to count anew is five pages.
  _counters       the counters by the ids of those for whom they count, whom _ancestors keeps.
  _pid            the pid, in a started child; a bare fork of that keeps the child's.
  _wrapped        the pid of a process that a wrapper has started for its starter; 0: none has.
  _ancestors      what _process was in the parent, in its parent, ...: kept from being freed.
  _logger         what log() writes to; None until util.get_logger() is called.
  _ending         the process that has begun to run its exit function.
  _in_use         whether use_begins() was called.
  _standard       what keep_standard() was given.
  _no_input       see there.
  engine          the engine that set_engine() has chosen for pools; None: this machine.
  _fetched        whether the names of _cpython are here that a started child calls: fetch().
  _threading      the names of the module threading, of which a child corrects one; None: it was not
                  imported when add_child() looked last.
  _at_threads_end what waits for the end of the threads; None: not known, end_threads() looks.
  _prepared       whether what a confined child may need is imported: prepare_for_confinement().
Registries, which are filled by others and never replaced, so that others may keep them:
  finalizers      Finalize objects, and what at_exit() was given, by (priority, number), see
                  run_finalizers(). finalizer_numbers counts them.
  after_forkers   functions that a forked child calls before anything else.
  before_listing  functions that active_children() calls first.
  manager_keys    the keys of the managers' servers that this process knows, by address; children
                  are told them.

A started child has one thread when it sets these variables. Otherwise only _children and the
registries change, in single operations of the interpreter.

A forked child pays for each object that it touches with a copy of the page, two microseconds, and
an attribute of a module touches four. Hence the globals instead of modules, and no call that has
nothing to do.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from _thread import get_native_id
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any

    from . import _cpython, _mproc
    from .process import BaseProcess

    CHILDREN_RUN_EXIT_FUNCTIONS: bool
    at_threads_end = _cpython.at_threads_end
    child_intent = _cpython.child_intent
    end_threads = _cpython.end_threads
    forget_exit_functions = _cpython.forget_exit_functions
    forget_imports_of_others = _cpython.forget_imports_of_others
    imports_going_on = _cpython.imports_going_on
    hold_interrupts = _mproc.hold_interrupts
    leave_event_loop = _cpython.leave_event_loop
    run_exit_functions = _cpython.run_exit_functions
    set_native_id = _cpython.set_native_id
    thread_count = _cpython.thread_count
    warn_of_threads = _cpython.warn_of_threads

__all__: list[str] = []

finalizers: dict[tuple[int | None, int], Callable[[], object]] = {}
finalizer_numbers = count()
after_forkers: list[Callable[[], object]] = []
manager_keys: dict[Any, bytes] = {}

_process: BaseProcess
_children: set[BaseProcess] = set()
before_listing: list[Callable[[], object]] = []
_numbers = count(1)
_counting: BaseProcess | None = None
_counters: dict[int, count[int]] = {}
_pid = 0
_wrapped = 0
_ancestors: tuple[Any, ...] = ()
_logger: logging.Logger | None = None
_ending: BaseProcess | None = None
_in_use = False
_standard: ModuleType | None = None
_fetched = False
_threading: dict[str, Any] | None = None
_at_threads_end: list[object] | None = None
_prepared = False
engine: Any = None

_modules = sys.modules
_sys = sys.__dict__


# ---- which process this is


def start_as(process: BaseProcess) -> None:
    """Say what stands for a process that was not started by mproc."""
    global _process
    _process = process


def choose_engine(choice: Any) -> None:
    """Choose the engine of the pools that are made from now on; None: this machine."""
    global engine
    engine = choice


def current_process() -> BaseProcess:
    """Return the object that stands for the calling process."""
    return _process


def came_by_wrapper() -> None:
    """Note that a wrapper has started this process: its parent is not its starter."""
    global _wrapped
    _wrapped = os.getpid()


def pid_of_child() -> int:
    """Return the pid with which this process is a child of its starter; 0 if it never was one."""
    return 0 if _pid == _wrapped else _pid


# ---- whom it has started


def active_children() -> list[BaseProcess]:
    """Return the child processes that are still running; finished ones are joined on the way.

    After a bare fork, the parent's children are forgotten. What is to be a child, and need not be
    there until somebody looks, is started.
    """
    if before_listing:
        for start in [*before_listing]:
            start()
    return running_children()


def running_children() -> list[BaseProcess]:
    """Return what active_children() does, and start nothing."""
    children, gone = [*_children], False
    for process in children:
        popen = process._popen
        try:
            if popen is None:
                if process._parent_pid == os.getpid():
                    continue
            elif popen.poll() is None:
                continue
        except ChildProcessError:
            pass  # the parent's
        _children.discard(process)
        gone = True
    return [*_children] if gone else children


def add_child(process: BaseProcess) -> None:
    """Count a process among the children; on the way, forget those that have ended."""
    if _children:
        running_children()
    if not _fetched:
        fetch()
    if _threading is None:
        fetch_threading()
    if not _prepared and not process._quiet:  # a pool's workers are prepared by their initializer
        prepare_for_confinement()
    _children.add(process)


def forget_child(process: BaseProcess) -> None:
    """Count a process among the children no more."""
    _children.discard(process)


def numbers() -> count[int]:
    """Return the numbers of the processes that this one makes: to all threads the same."""
    global _numbers, _counting
    numbers = _counters.setdefault(id(_process), count(1))
    _numbers, _counting = numbers, _process
    return numbers


def variables() -> dict[str, object]:
    """Return what other programs know as variables of multiprocessing.process."""
    return {
        "_current_process": _process,
        "_children": _children,
        "_process_counter": numbers(),
    }


# ---- what it logs


def log_to(logger: logging.Logger) -> None:
    """Have log() write to a logger."""
    global _logger
    _logger = logger
    # logging shuts down at exit; what is logged there must come before.
    atexit.unregister(exit_function)
    atexit.register(exit_function)


def log(level: int, message: str, *args: object) -> None:
    """Log a message of the caller, if util.get_logger() was called."""
    if _logger is not None:
        _logger.log(level, message, *args, stacklevel=2)


_SUBDEBUG, _DEBUG, _INFO = 5, 10, 20


# ---- its standard streams


class _NoInput(io.RawIOBase):
    """What a child has in place of its parent's stdin: at its end, like /dev/null.

    /dev/null is opened when a program asks for the descriptor: most children never read from stdin,
    and to open a file takes a fifth of the life of a forked child without work.
    """

    name = os.devnull
    mode = "rb"
    _fd: int | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return 0

    def fileno(self) -> int:
        if self._fd is None:
            self._fd = os.open(os.devnull, os.O_RDONLY)
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
        super().close()


def make_no_input() -> io.TextIOWrapper:
    """Return a stream at its end, to be sys.stdin."""
    return io.TextIOWrapper(io.BufferedReader(_NoInput()), encoding="utf-8")


# The sys.stdin of the children, made before they are forked.
_no_input = make_no_input()


def _renew_no_input() -> io.TextIOWrapper:
    """Return the sys.stdin of a child's child, for the child may have closed its own."""
    global _no_input
    if _no_input.closed:
        _no_input = make_no_input()
    return _no_input


def flush_std_streams() -> None:
    """Flush stdout and stderr, unless the program has replaced or closed them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):
            continue


# ---- its beginning and its end, if it is a started child


def fetch() -> None:
    """Fetch what a child calls of others: before it is forked, and not by `import mproc`."""
    global CHILDREN_RUN_EXIT_FUNCTIONS, child_intent, end_threads, forget_exit_functions
    global forget_imports_of_others, imports_going_on
    global hold_interrupts, leave_event_loop, run_exit_functions, set_native_id, thread_count
    global at_threads_end, warn_of_threads, _fetched
    from . import _cpython, _mproc

    CHILDREN_RUN_EXIT_FUNCTIONS = _cpython.CHILDREN_RUN_EXIT_FUNCTIONS
    child_intent = _cpython.child_intent
    end_threads = _cpython.end_threads
    forget_exit_functions = _cpython.forget_exit_functions
    forget_imports_of_others = _cpython.forget_imports_of_others
    imports_going_on = _cpython.imports_going_on
    hold_interrupts = _mproc.hold_interrupts
    leave_event_loop = _cpython.leave_event_loop
    run_exit_functions = _cpython.run_exit_functions
    set_native_id = _cpython.set_native_id
    thread_count = _cpython.thread_count
    warn_of_threads = _cpython.warn_of_threads
    at_threads_end = _cpython.at_threads_end
    _fetched = True


def fetch_threading() -> None:
    """Fetch of the module threading what a child corrects, if it is imported."""
    global _threading, _at_threads_end
    if "threading" in _modules:
        _threading = vars(_modules["threading"])
        _at_threads_end = at_threads_end(_modules["threading"])


def prepare_for_confinement() -> None:
    """Import what a child may need that loses the right to read files, before it is forked.

    It may change its user or root, which root's can, or limit its open files.
    """
    global _prepared
    if os.geteuid() != 0 and "resource" not in _modules:
        return
    from ._cpython import pickle

    pickle()
    _prepared = True
    if f"{__package__}.queues" in _modules:
        import_for_queues()


def import_for_queues() -> None:
    """Import what queues raise, for children that cannot: once there are both.

    That module imports threading and others, a millisecond for programs that have no queue.
    """
    if _prepared:
        import queue  # noqa: F401


def bootstrap(self: BaseProcess, method: str | None = None) -> int:
    """Become this process, started by `method`; run it, clean up; return the exit code.

    None: by fork. Its name would be a page more.
    """
    if not _fetched:
        fetch()
    if method is not None:
        fetch_threading()
    elif imports_going_on:
        forget_imports_of_others()
    # The interpreter runs the exit functions of a spawned child, a forked one calls _exit().
    own_exit = CHILDREN_RUN_EXIT_FUNCTIONS and method != "spawn"
    try:
        _become(self, method, own_exit)
        try:
            if _logger is not None:
                log(_INFO, "child process calling self.run()")
            if method is None:
                self.run()
            else:
                _run_interruptibly(self, method)
            exitcode = 0
        finally:
            if not CHILDREN_RUN_EXIT_FUNCTIONS and (finalizers or _children or _logger is not None):
                exit_function()
            if (_standard is not None or "multiprocessing.util" in _modules) and method != "spawn":
                _end_standard()
    except SystemExit as error:
        exitcode = exit_code_of(error)
    except BaseException as error:
        exitcode = 1
        exec("")  # one that an interrupt left had the interpreter note to end by SIGINT
        if not (self._quiet and isinstance(error, KeyboardInterrupt)):
            _print_exception(self._name)
    finally:
        if "threading" in _modules and (
            _at_threads_end is None or _at_threads_end or thread_count()
        ):
            end_threads(_modules["threading"])
        if own_exit:
            run_exit_functions()
        flush_std_streams()
    if _logger is not None:
        log(_INFO, "process exiting with exitcode %s", exitcode)
    return exitcode


def _run_interruptibly(process: BaseProcess, method: str) -> None:
    """Run a process of its own program: a quiet one is interrupted here, and at no other time."""
    if process._quiet or method == "forkserver":
        hold_interrupts(False)
    try:
        process.run()
    finally:
        if process._quiet:
            hold_interrupts(True)


def _become(process: BaseProcess, method: str | None, own_exit: bool) -> None:
    global _process, _pid, _ancestors
    if _sys["stdin"] is not None:
        _sys["stdin"] = _renew_no_input() if _ancestors else _no_input
    _ancestors = (_process, _ancestors)
    _process = process
    _children.clear()
    _pid = get_native_id()  # there is one thread
    if own_exit:
        forget_exit_functions()
        atexit.register(exit_function)
    if (finalizers or after_forkers) and method != "spawn":
        process._after_fork()
    if (_standard is not None or "multiprocessing.util" in _modules) and method != "spawn":
        _begin_standard()
    if _threading is not None:
        set_native_id(_threading, _pid)
    if "asyncio.unix_events" in _modules:
        leave_event_loop(_modules["asyncio.unix_events"])


def after_fork() -> None:
    """Make this process independent of its parent, whose copy it is."""
    finalizers.clear()
    for function in after_forkers:
        function()


def exit_code_of(error: SystemExit) -> int:
    """Return the exit code that a SystemExit asks for; print what is no code to stderr.

    A number that a C long cannot hold is 255, as the interpreter's own exit code would be.
    """
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code if -1 << 63 <= error.code < 1 << 63 else 255
    if sys.stderr is not None:
        sys.stderr.write(str(error.code) + "\n")
    return 1


def _print_exception(name: str) -> None:
    from ._cpython import print_error

    error = sys.exception()
    if sys.stderr is not None and error is not None:
        sys.stderr.write(f"Process {name}:\n")
        print_error(error)


# ---- the standard library's multiprocessing, if the program uses that beside mproc


def keep_standard(util: ModuleType) -> None:
    """Remember its module `util`, which nobody finds in sys.modules any more."""
    global _standard
    _standard = util


def standard_tracker() -> ModuleType | None:
    """Return its module `resource_tracker`, None if the program has not imported that."""
    return _modules.get("multiprocessing.resource_tracker")


def _standard_util() -> Any:
    """Return its module `util`, None if the program has not imported that."""
    util = _modules.get("multiprocessing.util")
    return _standard if util is None or util is _modules.get("mproc.util") else util


def _begin_standard() -> None:
    """Do for its objects in a forked child what its own children do first."""
    util = _standard_util()
    if util is None:
        return
    util._finalizer_registry.clear()
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.__name__ == "multiprocessing.process":
        process._children = set()  # type: ignore[attr-defined]
    intent = child_intent(standard_tracker())
    if intent is not None:
        intent.preserve_fd = False  # as popen_fork has left it: what this process forks is no child
    util._run_after_forkers()


def _end_standard() -> None:
    """Run what its objects have to do before their process ends: a queue sends what was put."""
    util = _standard_util()
    if util is not None:
        util._exit_function()


# ---- its end, whatever it is


def is_exiting() -> bool:
    """Return whether the process has begun to run its exit function."""
    return _ending is _process


def exit_function() -> None:
    """Run finalizers, end the children, run the other finalizers: once in each process.

    In the main process it comes where use_begins() has put it among the exit functions. Where
    children run exit functions it is their last one; elsewhere bootstrap() calls it. First the
    finalizers of priority 0 and more run, then daemonic children are terminated and all are joined,
    then the remaining finalizers that have a priority run.
    """
    global _ending
    if is_exiting():
        return
    _ending = _process
    log(_INFO, "process shutting down")
    _end_all()


def use_begins() -> None:
    """Have the exit function come before what the program has registered with atexit so far.

    What stands for a module of the standard library that imports multiprocessing.util calls this
    when it is imported, for that registers the function there. A program that first registers the
    removal of its files, and then starts processes, has them until the processes have ended.
    """
    global _in_use
    if not _in_use:
        _in_use = True
        atexit.register(exit_function)


def _end_what_is_left() -> None:
    """The last exit function: end what other exit functions have begun, if they have.

    It may be the only one: what is registered while exit functions run is forgotten.
    """
    if not is_exiting():
        exit_function()
    elif _children or any(priority is not None for priority, _ in list(finalizers)):
        _end_all()


def _end_all() -> None:
    log(_DEBUG, 'running all "atexit" finalizers with priority >= 0')
    run_finalizers(0)
    if _children:
        _end_children()
    log(_DEBUG, 'running the remaining "atexit" finalizers')
    run_finalizers()


_ref: Any = None


def _weakly(obj: object, callback: Callable[[Any], object]) -> Any:
    """Return a weak reference to an object."""
    global _ref
    if _ref is None:
        from ._cpython import ref

        _ref = ref
    return _ref(obj, callback)


class Finalize:
    """A callback that runs once: when obj is collected, when this is called, or at exit.

    At exit those with an `exitpriority` run, in the order that _exit_function() tells. A
    forked child runs none of its parent's.
    """

    __module__ = f"{__package__}.util"  # where programs and pickles find it

    def __init__(
        self,
        obj: object,
        callback: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        exitpriority: int | None = None,
    ) -> None:
        if exitpriority is not None and not isinstance(exitpriority, int):
            raise TypeError(
                f"Exitpriority ({exitpriority!r}) must be None or int, not {type(exitpriority)}"
            )
        if obj is None and exitpriority is None:
            raise ValueError("Without object, exitpriority cannot be None")
        self._callback: Callable[..., Any] | None = callback
        self._args = tuple(args)
        self._kwargs = kwargs or {}
        self._key = (exitpriority, next(finalizer_numbers))
        self._pid = os.getpid()
        self._weakref = None if obj is None else _weakly(obj, self)
        finalizers[self._key] = self

    def __call__(self, wr: object = None) -> Any:
        """Run the callback, unless it has run, or was cancelled, or is another process'."""
        if finalizers.pop(self._key, None) is None or self._callback is None:
            log(_SUBDEBUG, "finalizer no longer registered")
            return None
        callback, args, kwargs = self._callback, self._args, self._kwargs
        self._forget()
        if self._pid != os.getpid():
            log(_SUBDEBUG, "finalizer ignored because different process")
            return None
        log(_SUBDEBUG, "finalizer calling %s with args %s and kwargs %s", callback, args, kwargs)
        return callback(*args, **kwargs)

    def cancel(self) -> None:
        """Have the callback never run."""
        if finalizers.pop(self._key, None) is not None:
            self._forget()

    def still_active(self) -> bool:
        """Return whether the callback is still waiting to run."""
        return self._key in finalizers

    def _forget(self) -> None:
        self._callback = self._weakref = None
        self._args, self._kwargs = (), {}

    def __repr__(self) -> str:
        obj = self._weakref() if self._weakref is not None else None
        if self._callback is None:
            return f"<{type(self).__name__} object, dead>"
        name = getattr(self._callback, "__name__", self._callback)
        text = f"<{type(self).__name__} object, callback={name}"
        if self._args:
            text += f", args={self._args}"
        if self._kwargs:
            text += f", kwargs={self._kwargs}"
        if self._key[0] is not None:
            text += f", exitpriority={self._key[0]}"
        return text + (">" if obj is None else f", obj={type(obj).__name__}>")


def at_exit(priority: int, function: Callable[[], object]) -> tuple[int, int]:
    """Have a function called at this process' exit; return the key by which it can be removed."""
    key = priority, next(finalizer_numbers)
    finalizers[key] = function
    return key


def run_finalizers(minpriority: int | None = None) -> None:
    """Run the finalizers that have a priority (of at least minpriority); the rest are for GC.

    The highest priority comes first, within one the youngest.
    """
    if not finalizers:
        return
    # A copy: callbacks and other threads change the registry meanwhile.
    keys = [
        (priority, number)
        for priority, number in list(finalizers)
        if priority is not None and (minpriority is None or priority >= minpriority)
    ]
    for key in sorted(keys, reverse=True):
        finalizer = finalizers.get(key)
        if finalizer is not None:
            log(_SUBDEBUG, "calling %s", finalizer)
            try:
                finalizer()
            except Exception as error:
                from ._cpython import print_error

                print_error(error)
    if minpriority is None:
        finalizers.clear()


def _end_children() -> None:
    for child in running_children():
        if child.daemon and child._popen is not None:
            log(_INFO, "calling terminate() for daemon %s", child.name)
            child._popen.terminate()
    for child in running_children():
        log(_INFO, "calling join() for process %s", child.name)
        child.join()


atexit.register(_end_what_is_left)
