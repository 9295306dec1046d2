"""The class Process, and the process that started the calling one.

What a process knows of itself, and what a started child does first and last, stands in `_current`.
What starts a child and asks for its end is the popen object, one class per start method.
"""

from __future__ import annotations

import os
import sys

from . import _current
from ._current import (
    active_children,
    add_child,
    current_process,
    flush_std_streams,
    forget_child,
    running_children,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Any, ClassVar

    from ._cpython import WeakSet
    from .popen_fork import Popen

    _dangling: WeakSet[BaseProcess]

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]

# os.fork() as the interpreter has it; where a tool follows children it is another function.
_fork: object = os.fork if isinstance(os.fork, type(len)) else None
_WARNS_OF_THREADS = sys.version_info >= (3, 12)
_TRACKER_ASKS = sys.version_info >= (3, 13, 12)  # the standard one, who forks: child_intent()

try:
    ORIGINAL_DIR: str | None = os.path.abspath(os.getcwd())
except OSError:
    ORIGINAL_DIR = None


def parent_process() -> _ParentProcess | None:
    """Return the object that stands for the process that started this one; None in the main one."""
    global _parent_of
    process = current_process()
    if process._parent_pid is None:
        return None
    child, parent = _parent_of
    if child is not process or parent is None:
        pid = _current.pid_of_child()
        parent = _ParentProcess(process._parent_name, process._parent_pid, pid)
        _parent_of = process, parent
    return parent


_parent_of: tuple[BaseProcess | None, _ParentProcess | None] = (None, None)
_cleanup = running_children


class BaseProcess:
    """A process and what it runs. Each context has a class derived from it that starts it.

    It is used like threading.Thread: override `run()`, or give a `target`.
    """

    _start_method: ClassVar[str | None] = None
    # The popen class of method fork, once that has been used; _begin() leaves the rest to it.
    _forking: ClassVar[type[Popen] | None] = None
    # Whether it ends without a word when it is interrupted; see _current.bootstrap().
    _quiet = False
    # What pickles it for its child; None: what pickles everything.
    _dumps: ClassVar[Any] = None
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _target: Callable[..., object] | None

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Popen:
        raise NotImplementedError

    @staticmethod
    def _after_fork() -> None:
        """Make this process independent of its parent, whose copy it is."""
        _current.after_fork()

    _bootstrap = _current.bootstrap

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
        # Without calls: a function is two pages more to be copied after the last fork.
        current = _current._process
        numbers = _current._numbers if _current._counting is current else _current.numbers()
        self._identity: tuple[int, ...] = (*current._identity, next(numbers))
        self._config: dict[str, Any] = current._config.copy()
        self._parent_pid: int | None = os.getpid()
        self._parent_name: str = current.name
        self._popen: Popen | None = None
        self._closed = False
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs) if kwargs else {}
        if not name:
            name = f"{type(self).__name__}-{':'.join(map(str, self._identity))}"
        self._name = str(name)
        if daemon is not None:
            self.daemon = daemon
        try:
            _dangling.add(self)
        except NameError:
            _make_dangling().add(self)

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
        """Start the child process; or, if it is to be forked and may_leave is true, only prepare.

        Returns the popen class then, with which the caller forks.
        """
        if self._closed:
            self._check_closed()
        assert self._popen is None, "cannot start a process twice"
        assert self._parent_pid == os.getpid(), (
            "can only start a process object created by current process"
        )
        assert not _current._process._config.get("daemon"), (
            "daemonic processes are not allowed to have children"
        )
        if _current.engine is not None:
            from .engines import say_what_stays  # chosen, so imported already

            say_what_stays(self)
        try:
            # Each call here is two pages that the next child has to copy, or this process after it.
            if _current._threading is not None and _current._prepared and not _current._children:
                _current._children.add(self)
            else:
                add_child(self)
            make: Callable[[BaseProcess], Popen] = self._Popen
            forking = self._forking
            if make is not forking:
                make = self._chosen_popen(make)
            if (
                may_leave
                and make is forking
                and os.fork is _fork
                and not (_TRACKER_ASKS and self._tracker_follows())
            ):
                if _WARNS_OF_THREADS:
                    _current.warn_of_threads()
                flush_std_streams()
                return forking
            self._popen = make(self)
        except BaseException:
            if self._popen is None:  # otherwise the child runs, and a signal's handler has raised
                self._not_started()
            raise
        # The target may refer to this object: without it there is no cycle.
        del self._target, self._args, self._kwargs
        return None

    def _chosen_popen(self, make: Callable[[BaseProcess], Popen]) -> Callable[[BaseProcess], Popen]:
        return make

    @staticmethod
    def _tracker_follows() -> bool:
        """Return whether the standard tracker has a part in a fork, as popen_fork knows."""
        return _current.child_intent(_current.standard_tracker()) is not None

    def _not_started(self) -> None:
        forget_child(self)

    def terminate(self) -> None:
        """Send SIGTERM, unless the process has ended. AttributeError: it was not started."""
        self._started("terminate").terminate()

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended. AttributeError: it was not started."""
        self._started("kill").kill()

    def interrupt(self) -> None:
        """Send SIGINT, unless the process has ended. AttributeError: it was not started.

        It raises KeyboardInterrupt there, unless the process handles the signal otherwise.
        """
        self._started("interrupt").interrupt()

    def _started(self, verb: str) -> Popen:
        popen = self._popen  # another thread may close it
        self._check_closed()
        if popen is None:
            raise AttributeError(f"cannot {verb} process {self._name!r}: it has not been started")
        return popen

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, or for at most `timeout` seconds."""
        if self._closed:
            self._check_closed()
        assert self._parent_pid == os.getpid(), "can only join a child process"
        popen = self._popen
        assert popen is not None, "can only join a started process"
        if popen.wait(timeout) is not None:
            _current._children.discard(self)

    def ajoin(self) -> Coroutine[Any, Any, None]:
        """Wait, in an asyncio program, until the process has ended."""
        from . import aio

        return aio.join(self)

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        popen: Any = self._popen
        try:
            if popen is not None and popen.running():
                return True
        except AttributeError:  # a popen object of a program's own has poll() only
            if popen.poll() is None:
                return True
        self._check_closed()
        if self is current_process():
            return True
        assert self._parent_pid == os.getpid(), "can only test a child process"
        if popen is not None:
            forget_child(self)
        return False

    def close(self) -> None:
        """Give up the descriptor and all else that the object has. ValueError: it still runs."""
        popen = self._popen  # another thread may close it, too
        if popen is not None:
            if popen.poll() is None:
                raise ValueError(
                    "Cannot close a process while it is still running. "
                    "You should first call join() or terminate()."
                )
            popen.close()
            self._popen = None
            forget_child(self)
        self._closed = True

    @property
    def name(self) -> str:
        """The name of the process, for its readers; it need not be unique."""
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
        """The key with which the process authenticates its connections."""
        key: bytes = self._config["authkey"]
        return key

    @authkey.setter
    def authkey(self, authkey: bytes) -> None:
        self._config["authkey"] = AuthenticationString(authkey)

    @property
    def exitcode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended the process.

        None: the process runs, or was not started.
        """
        self._check_closed()
        popen = self._popen
        return popen.poll() if popen is not None else None

    @property
    def ident(self) -> int | None:
        """The process id, or None before the start."""
        self._check_closed()
        if self is _current._process:
            return os.getpid()
        return self._popen.pid or None if self._popen is not None else None  # 0: it is being forked

    pid = ident

    @property
    def sentinel(self) -> int:
        """A descriptor, for connection.wait(), that becomes readable when the process ends.

        ValueError: the process was not started.
        """
        self._check_closed()
        if self._popen is None:
            raise ValueError("process not started: call start() first")
        return self._popen.sentinel

    def __repr__(self) -> str:
        parts = [type(self).__name__, f"name={self._name!r}"]
        exitcode = None
        if self._closed:
            status = "closed"
        elif self is current_process():
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


class AuthenticationString(bytes):
    """An authentication key: bytes that can be pickled for a child only. TypeError: elsewhere."""

    def __reduce__(self) -> tuple[type[AuthenticationString], tuple[bytes]]:
        from .context import get_spawning_popen

        if get_spawning_popen() is None:
            raise TypeError(
                "Pickling an AuthenticationString object is disallowed for security reasons"
            )
        return AuthenticationString, (bytes(self),)


class _ParentProcess(BaseProcess):
    """The process that started this one. It is no child: all that can be done is wait for it."""

    def __init__(self, name: str, pid: int, child_pid: int) -> None:
        self._identity = ()
        self._config = {}
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._name = name
        self._pid = pid
        self._child_pid = child_pid
        self._sentinel: int | None = None

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
        from . import _mproc
        from ._descriptor import kept

        # If the parent of this process has the pid after the opening, the descriptor is the
        # parent's, and not that of a later process with the same pid. A process that was forked
        # from this one without mproc is no child of the parent.
        try:
            sentinel = kept(_mproc.pidfd_open(self._pid))
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
    """Return a descriptor that is readable, as that of a process that has ended."""
    from ._descriptor import kept

    reader, writer = os.pipe()
    os.close(writer)
    return kept(reader)


def _key_of_program() -> AuthenticationString:
    """Return a new key; or the standard library's, if the program uses that too.

    Such is a program that another one has started by means of its own, and sends objects of mproc.
    """
    standard = sys.modules.get("multiprocessing.process")
    current = getattr(standard, "current_process", None)
    return AuthenticationString(os.urandom(32) if current is None else current().authkey)


class _MainProcess(BaseProcess):
    """The process at the root of the family, which was not started by mproc."""

    def __init__(self) -> None:
        self._identity = ()
        self._name = "MainProcess"
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {"authkey": _key_of_program(), "semprefix": "/mp"}

    def close(self) -> None:
        pass


_current.start_as(_MainProcess())


def set_original_dir(path: str | None) -> None:
    """Say what the current directory was when the program started, in a child its parent's."""
    global ORIGINAL_DIR
    ORIGINAL_DIR = path


def _make_dangling() -> WeakSet[BaseProcess]:
    """Make the set of all process objects that are not freed, when there is the first one."""
    from ._cpython import WeakSet

    return globals().setdefault("_dangling", WeakSet())  # type: ignore[no-any-return]


class _ExitcodeNames(dict[int, str]):
    """The names of the exit codes that stand for a signal; made when the first one is needed."""

    def __missing__(self, exitcode: int) -> str:
        import signal

        for number in signal.Signals:
            self.setdefault(-number, f"-{number.name}")
        return self.setdefault(exitcode, str(exitcode))

    def get(self, exitcode: int, default: Any = None) -> Any:
        return self[exitcode] if exitcode < 0 else default


_exitcode_to_name = _ExitcodeNames()


if not TYPE_CHECKING:

    def __getattr__(name):
        """Return a variable that programs look at here, and that `_current` keeps."""
        if name == "_parent_process":
            return parent_process()
        if name == "_dangling":
            return _make_dangling()
        try:
            return _current.variables()[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__():
        return sorted({*globals(), "_dangling", "_parent_process", *_current.variables()})
