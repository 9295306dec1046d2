"""Processes: the Process class, and the calling process among its kin.

A process knows itself (`current_process()`), the one that started it (`parent_process()`) and those
it has started (`active_children()`). These are plain module variables, set anew in each child by
`BaseProcess._bootstrap()`; what starts a child and asks for its end is the popen object, one class
per start method.
"""

from __future__ import annotations

import os
import sys
from _thread import _count as _count_threads
from _thread import get_native_id as _get_native_id
from _weakrefset import WeakSet as _WeakSet
from itertools import count as _count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, ClassVar

    from .popen_fork import Popen

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]

try:
    ORIGINAL_DIR: str | None = os.path.abspath(os.getcwd())
except OSError:
    ORIGINAL_DIR = None


def current_process() -> BaseProcess:
    """Return the object that stands for the calling process."""
    return _current_process


def active_children() -> list[BaseProcess]:
    """Return the child processes that are still running; finished ones are joined on the way."""
    children = list(_children)
    for process in children:
        popen = process._popen
        if popen is not None and popen.poll() is not None:
            _children.discard(process)
    return children if len(children) == len(_children) else list(_children)


def parent_process() -> _ParentProcess | None:
    """Return the object that stands for the process that started this one; None in the main one."""
    global _parent_process
    if _parent_process is None and _current_process._parent_pid is not None:
        _parent_process = _ParentProcess(
            _current_process._parent_name, _current_process._parent_pid, _own_pid
        )
    return _parent_process


_cleanup = active_children


class BaseProcess:
    """A process and what it runs; the classes of the contexts add how it is started.

    Like threading.Thread, but it is an independent process: override `run()`, or give a `target`.
    """

    _start_method: ClassVar[str | None] = None
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _target: Callable[..., object] | None

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Popen:
        raise NotImplementedError

    @staticmethod
    def _after_fork() -> None:
        """What a child must do first that is a copy of its parent."""
        _finalizers.clear()
        if _after_forkers:
            _util._run_after_forkers()

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        assert group is None, "group argument must be None for now"
        identity = (*_current_process._identity, next(_process_counter))
        self._identity: tuple[int, ...] = identity
        self._config: dict[str, Any] = _current_process._config.copy()
        self._parent_pid: int | None = os.getpid()
        self._parent_name: str = _current_process.name
        self._popen: Popen | None = None
        self._closed = False
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs) if kwargs else {}
        if name is None:
            name = f"{type(self).__name__}-{':'.join(map(str, identity))}"
        self._name = str(name)
        if daemon is not None:
            self.daemon = daemon
        _dangling.add(self)

    def _check_closed(self) -> None:
        if self._closed:
            raise ValueError("process object is closed")

    def run(self) -> None:
        """Do the process' work: call its target. Subclasses may override it."""
        if self._target:
            self._target(*self._args, **self._kwargs)

    def start(self) -> None:
        """Start the child process."""
        self._begin(False)

    def _begin(self, may_leave: bool) -> type[Popen] | None:
        """Start the child process, but leave a fork, if that may be, to the class returned."""
        if self._closed:
            self._check_closed()
        assert self._popen is None, "cannot start a process twice"
        assert self._parent_pid == os.getpid(), (
            "can only start a process object created by current process"
        )
        assert not _current_process._config.get("daemon"), (
            "daemonic processes are not allowed to have children"
        )
        if _children:
            _cleanup()
        _children.add(self)
        make: Callable[[BaseProcess], Popen] = self._Popen
        try:
            if make is not _forking:
                make = self._chosen_popen(make)
            if may_leave and make is _forking:
                _flush_std_streams()
                return _forking
            self._popen = make(self)
        except BaseException:
            self._not_started()
            raise
        # The target may refer to this object: without it there is no cycle.
        del self._target, self._args, self._kwargs
        return None

    def _chosen_popen(self, make: Callable[[BaseProcess], Popen]) -> Callable[[BaseProcess], Popen]:
        return make

    def _not_started(self) -> None:
        _children.discard(self)

    def terminate(self) -> None:
        """End the process with SIGTERM."""
        self._started("terminate").terminate()

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._started("kill").kill()

    def interrupt(self) -> None:
        """Send SIGINT to the process: KeyboardInterrupt, unless it handles the signal otherwise."""
        self._started("interrupt").interrupt()

    def _started(self, verb: str) -> Popen:
        self._check_closed()
        if self._popen is None:
            raise AttributeError(f"cannot {verb} process {self._name!r}: it has not been started")
        return self._popen

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, or for at most `timeout` seconds."""
        self._check_closed()
        assert self._parent_pid == os.getpid(), "can only join a child process"
        popen = self._popen
        assert popen is not None, "can only join a started process"
        if popen.wait(timeout) is not None:
            _children.discard(self)

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        popen = self._popen
        if popen is not None and popen.running():
            return True
        self._check_closed()
        if self is _current_process:
            return True
        assert self._parent_pid == os.getpid(), "can only test a child process"
        if popen is not None:
            _children.discard(self)
        return False

    def close(self) -> None:
        """Free the descriptor and whatever else the object holds. ValueError while it runs."""
        if self._popen is not None:
            if self._popen.poll() is None:
                raise ValueError(
                    "Cannot close a process while it is still running. "
                    "You should first call join() or terminate()."
                )
            self._popen.close()
            self._popen = None
            _children.discard(self)
        self._closed = True

    @property
    def name(self) -> str:
        """The process' name, for people; it need not be unique."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        assert isinstance(name, str), "name must be a string"
        self._name = name

    @property
    def daemon(self) -> bool:
        """Whether the process ends with its parent."""
        return bool(self._config.get("daemon", False))

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        assert self._popen is None, "process has already started"
        self._config["daemon"] = daemonic

    @property
    def authkey(self) -> bytes:
        """The key with which connections of the process authenticate themselves."""
        key: bytes = self._config["authkey"]
        return key

    @authkey.setter
    def authkey(self, authkey: bytes) -> None:
        self._config["authkey"] = AuthenticationString(authkey)

    @property
    def exitcode(self) -> int | None:
        """The exit code, minus the signal that ended the process, or None while there is none."""
        self._check_closed()
        return self._popen.poll() if self._popen is not None else None

    @property
    def ident(self) -> int | None:
        """The process id, or None before the start."""
        self._check_closed()
        if self is _current_process:
            return os.getpid()
        return self._popen.pid if self._popen is not None else None

    pid = ident

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the process ends: for connection.wait()."""
        self._check_closed()
        if self._popen is None:
            raise ValueError("process not started")
        return self._popen.sentinel

    def __repr__(self) -> str:
        parts = [type(self).__name__, f"name={self._name!r}"]
        exitcode = None
        if self._closed:
            status = "closed"
        elif self is _current_process:
            status = "started"
        elif self._parent_pid != os.getpid():
            status = "unknown"
        elif self._popen is None:
            status = "initial"
        else:
            exitcode = self._popen.poll()
            status = "started" if exitcode is None else "stopped"
        if self._popen is not None:
            parts.append(f"pid={self._popen.pid}")
        parts += [f"parent={self._parent_pid}", status]
        if exitcode is not None:
            parts.append(f"exitcode={_exitcode_to_name.get(exitcode, exitcode)}")
        if self.daemon:
            parts.append("daemon")
        return f"<{' '.join(parts)}>"

    # ---- in the child

    def _bootstrap(self, method: str = "fork") -> int:
        """Become this process, started by `method`; run it, clean up; return the exit code.

        A forked child pays for each object that it touches with a copy of the page, two
        microseconds, and an attribute of a module touches four. Hence globals instead of modules,
        and no call that has nothing to do.
        """
        # A copy of its parent never gets to the interpreter's own end.
        own_atexit = _CHILDREN_RUN_ATEXIT and method != "spawn"
        try:
            self._become(method, own_atexit)
            try:
                if _verbose:
                    _util.info("child process calling self.run()")
                self.run()
                exitcode = 0
            finally:
                if _finalizers or _children or _verbose or own_atexit:
                    _util._end_of_child(own_atexit)
        except SystemExit as error:
            exitcode = _exit_code_of(error)
        except BaseException:
            exitcode = 1
            _print_exception(self._name)
        finally:
            if "threading" in _modules:
                threading = _modules["threading"]
                if _count_threads() or threading._threading_atexits:
                    threading._shutdown()
            _flush_std_streams()
        if _verbose:
            _util.info("process exiting with exitcode %s", exitcode)
        return exitcode

    def _become(self, method: str, own_atexit: bool) -> None:
        global _current_process, _forefathers, _parent_process, _process_counter, _children
        global _own_pid
        if _sys["stdin"] is not None:
            _sys["stdin"] = _renew_no_input() if _forefathers else _no_input
        _forefathers = (_current_process, _forefathers)
        _current_process = self
        _parent_process = None
        _process_counter = _count(1)
        _children = set()
        _own_pid = _get_native_id()  # there is one thread
        if own_atexit:
            _util._start_of_child()
        if method != "spawn" and (_finalizers or _after_forkers):
            self._after_fork()
        if "threading" in _modules:
            _modules["threading"]._main_thread._native_id = _own_pid


def _exit_code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    if sys.stderr is not None:
        sys.stderr.write(str(error.code) + "\n")
    return 1


def _print_exception(name: str) -> None:
    if sys.stderr is not None:
        import traceback

        sys.stderr.write(f"Process {name}:\n")
        traceback.print_exc()


class AuthenticationString(bytes):
    """An authentication key: bytes that are pickled for a child only, never sent anywhere."""

    def __reduce__(self) -> tuple[type[AuthenticationString], tuple[bytes]]:
        from .context import get_spawning_popen

        if get_spawning_popen() is None:
            raise TypeError(
                "Pickling an AuthenticationString object is disallowed for security reasons"
            )
        return AuthenticationString, (bytes(self),)


class _ParentProcess:
    """The process that started this one: not a child, so it can be waited for, no more."""

    def __init__(self, name: str, pid: int, child_pid: int) -> None:
        self._name = name
        self._pid = pid
        self._child_pid = child_pid
        self._sentinel: int | None = None

    @property
    def name(self) -> str:
        """The parent's name."""
        return self._name

    @property
    def ident(self) -> int:
        """The parent's process id."""
        return self._pid

    pid = ident

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the parent has ended."""
        if self._sentinel is None:
            self._sentinel = self._open()
        return self._sentinel

    def _open(self) -> int:
        # Whose parent is still this pid after the opening has opened its parent, not a process that
        # has the pid by now. (A bare fork of the child is no child of the parent.)
        try:
            sentinel = os.pidfd_open(self._pid)
        except ProcessLookupError:
            return _ended()
        if os.getpid() == self._child_pid and os.getppid() != self._pid:
            os.close(sentinel)
            return _ended()
        return sentinel

    def is_alive(self) -> bool:
        """Return whether the parent is running."""
        from .connection import wait

        return not wait([self.sentinel], timeout=0)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the parent has ended, or for at most `timeout` seconds."""
        from .connection import wait

        wait([self.sentinel], timeout=timeout)


def _ended() -> int:
    """Return the descriptor of something that is over."""
    reader, writer = os.pipe()
    os.close(writer)
    return reader


class _MainProcess(BaseProcess):
    """The process that was not started by mproc."""

    def __init__(self) -> None:
        self._identity = ()
        self._name = "MainProcess"
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {"authkey": AuthenticationString(os.urandom(32)), "semprefix": "/mp"}

    def close(self) -> None:
        pass


_CHILDREN_RUN_ATEXIT = sys.version_info >= (3, 13)

_after_forkers: Mapping[Any, Any] = {}
_plain_start = BaseProcess.start  # popen_fork has a faster one
_forking: type[Popen] | None = None  # popen_fork.Popen, once it is imported
_verbose = False  # somebody has called get_logger()

_modules = sys.modules
_sys = sys.__dict__

_own_pid = 0  # in a started child
_parent_process: _ParentProcess | None = None
_dangling: _WeakSet[BaseProcess] = _WeakSet()
_process_counter = _count(1)
_children: set[BaseProcess] = set()
_current_process: BaseProcess = _MainProcess()
_forefathers: tuple[Any, ...] = ()  # what the parent was, and its parent: not freed in a child


class _ExitcodeNames(dict[int, str]):
    """Names of the exit codes that mean a signal, made when first asked."""

    def __missing__(self, exitcode: int) -> str:
        import signal

        for number in signal.Signals:
            self.setdefault(-number, f"-{number.name}")
        return self.setdefault(exitcode, str(exitcode))

    def get(self, exitcode: int, default: Any = None) -> Any:
        return self[exitcode] if exitcode < 0 else default


_exitcode_to_name = _ExitcodeNames()

# util needs what is above. These are what every child uses of it: see _bootstrap().
from . import util as _util  # noqa: E402

_finalizers = _util._finalizer_registry
_flush_std_streams = _util._flush_std_streams
_no_input = _util._no_input
_renew_no_input = _util._renew_no_input
