"""Names in the system that are to be removed when every process that could do it is dead.

What mproc makes itself needs none of this: the family knows its segments, and its watcher removes
what is left of them when the last of its processes has ended, SIGKILL included. register() lets
programs put other names under the same care: a segment made by shm_open(), a named semaphore.

It is not the standard library's tracker: no process is started for it, and attaching a SharedMemory
registers nothing. So the well-known unregister() after attaching is not needed, and does no harm.

ResourceTracker is the standard library's: a process that reads from a pipe which names to remove,
until no other process has the pipe open. Programs derive trackers for their own kinds of resources
from it. For the tracker of this module such a process is started only when getfd() asks for the
descriptor of the pipe, which is for processes that are no members of the family.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from . import _current
from ._cpython import RLock
from ._mproc import Segment, semaphore_file_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["ensure_running", "register", "unregister"]

_current.use_begins()

_PLACE = "/dev/shm"
_NAME_MAX = 512  # bytes of a name, so that the pipe takes a message whole
_CODED_NAME_MAX = 255  # the same for names in base64; no file has a longer one

# Where in /dev/shm a resource of each type has its file.
_FILE_OF: dict[str, Callable[[str], str]] = {
    "shared_memory": lambda name: name,
    "semaphore": lambda name: f"{semaphore_file_prefix}{name.lstrip('/')}",
}


def _file_of(name: str, rtype: str) -> str:
    if rtype not in _FILE_OF:
        raise ValueError(f"unknown resource type {rtype!r}; there are {', '.join(_FILE_OF)}")
    return _FILE_OF[rtype](name)


def _remove(name: str, rtype: str) -> None:
    os.unlink(os.path.join(_PLACE, _file_of(name, rtype).lstrip("/")))


# How the process of a ResourceTracker removes a name of each type.
_CLEANUP_FUNCS: dict[str, Callable[[str], object]] = {
    "noop": lambda name: None,
    "semaphore": lambda name: _remove(name, "semaphore"),
    "shared_memory": lambda name: _remove(name, "shared_memory"),
}


class ReentrantCallError(RuntimeError):
    """A tracker was used by a finalizer or signal handler while it was starting its process."""


class ResourceTracker:
    """Names that a process of its own removes when all who might use them have ended.

    The process runs main(). It is started by the first call that needs it, and again, with a
    warning, when it has died; it ends when all processes that have its pipe open have ended or
    closed it. A forked child has, and may use its parent's tracker; to any other process the
    descriptor (getfd()) must be passed.

    A message is a line, `command:name:type` or an object of JSON. The process understands both.

    Classes of other packages are derived from it. What they replace is called by these names:
    ensure_running(), _launch(), _teardown_dead_process(), _ensure_running_and_write(), _write().
    """

    # Which of them is sent; derived classes may choose. JSON is the default from Python 3.15 on.
    # From 3.14 on it also takes names that the other form cannot.
    _use_simple_format: bool = sys.version_info < (3, 15)

    def __init__(self) -> None:
        self._lock = RLock()
        self._starting = False
        self._fd: int | None = None
        self._pid: int | None = None
        self._parent: int | None = None  # the process that has started it
        self._exitcode: int | None = None

    def getfd(self) -> int | None:
        """Return the descriptor of the pipe, after starting the process unless it runs."""
        self.ensure_running()
        return self._fd

    def ensure_running(self) -> None:
        """Start the process, unless it runs.

        ReentrantCallError: the calling thread is starting it, and was interrupted by this call.
        """
        self._ensure_running_and_write()

    def _ensure_running_and_write(self, msg: bytes | None = None) -> None:
        with self._lock:
            self._need_process()
            if msg is not None:
                self._write(msg)

    def _need_process(self) -> None:
        """Start the process, unless it runs. The caller has the lock."""
        if self._starting:
            raise ReentrantCallError("the resource tracker is being started by this thread")
        if self._fd is not None:
            if self._check_alive():
                return
            self._teardown_dead_process()
        self._starting = True
        try:
            self._launch()
        finally:
            self._starting = False

    def _teardown_dead_process(self) -> None:
        self._stop()
        import warnings

        warnings.warn(
            "resource_tracker: process died unexpectedly, relaunching.  Some resources might leak.",
            stacklevel=2,
        )

    def _launch(self) -> None:
        from ._descriptor import kept_pipe
        from .util import register_after_fork

        register_after_fork(self, ResourceTracker._after_fork)
        reader, writer = kept_pipe()
        try:
            self._pid = _start_process(reader)
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._fd, self._parent, self._exitcode = writer, os.getpid(), None

    def _after_fork(self) -> None:
        """Another thread of the parent may have been using it: there is none in the child."""
        self._lock = RLock()
        self._starting = False

    def register(self, name: str, rtype: str) -> None:
        """Have a name removed in the end.

        ValueError: the name is too long; or it has a newline, and Python is older than 3.14.
        """
        self._send("REGISTER", name, rtype)

    def unregister(self, name: str, rtype: str) -> None:
        """Take register() back."""
        self._send("UNREGISTER", name, rtype)

    def _send(self, cmd: str, name: str, rtype: str) -> None:
        data = os.fsencode(name)
        has_newline = b"\n" in data
        if has_newline and sys.version_info < (3, 14):
            raise ValueError(f"cannot track {name!r}: a name has no newline")
        coded = has_newline or not self._use_simple_format
        longest = _CODED_NAME_MAX if coded else _NAME_MAX
        if len(data) > longest:
            raise ValueError(f"cannot track {name!r}: a name has at most {longest} bytes")
        self.ensure_running()
        if coded:
            self._write(_as_json(cmd, data, rtype))
        else:
            self._write(b"%s:%s:%s\n" % (cmd.encode(), data, rtype.encode()))

    def _write(self, msg: bytes) -> None:
        fd = self._fd
        assert fd is not None
        os.write(fd, msg)

    def _make_probe_message(self) -> bytes:
        if self._use_simple_format:
            return b"PROBE:0:noop\n"
        return _as_json("PROBE", b"0", "noop")

    def _check_alive(self) -> bool:
        if self._fd is None:
            return False
        try:
            os.write(self._fd, self._make_probe_message())
        except OSError:
            return False
        return True

    def _stop(self, use_blocking_lock: bool = True) -> None:
        """Close the pipe; wait for the process to end, if this process has started it.

        use_blocking_lock: False waits for nothing, neither for the process.
        """
        if not self._lock.acquire(blocking=use_blocking_lock):
            return
        try:
            fd, pid = self._fd, self._pid
            self._fd = self._pid = None
            if fd is not None:
                os.close(fd)
            if pid is not None and self._parent == os.getpid():
                self._collect(pid, 0 if use_blocking_lock else os.WNOHANG)
        finally:
            self._lock.release()

    def _collect(self, pid: int, options: int) -> None:
        with suppress(ChildProcessError):
            collected, status = os.waitpid(pid, options)
            if collected == pid:
                self._exitcode = os.waitstatus_to_exitcode(status)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_finalizing():
            return  # the end of this process closes the pipe
        if getattr(self, "_fd", None) is not None:
            with suppress(OSError):
                self._stop(use_blocking_lock=False)


def _as_json(cmd: str, name: bytes, rtype: str) -> bytes:
    from base64 import urlsafe_b64encode
    from json import dumps

    said = {"cmd": cmd, "rtype": rtype, "base64_name": urlsafe_b64encode(name).decode()}
    return dumps(said, separators=(",", ":")).encode() + b"\n"


class _FamilyTracker(ResourceTracker):
    """The tracker of this module: its names are the family's, whose watcher removes them."""

    # The standard library's tracker, if install() came after that was in use. Its semaphores,
    # which know their tracker by the name of this module, are unregistered here in the end.
    standard: ResourceTracker | None = None

    _wanted = False  # somebody called ensure_running(), and may read _fd or _pid
    _pipe: int | None = None  # what _fd and _pid are, without starting the process
    _process: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self._registered: set[tuple[str, str]] = set()

    if not TYPE_CHECKING:

        @property
        def _fd(self):
            """The pipe of the process, which is started here if ensure_running() was called."""
            if self._wanted:
                self._wanted = False
                super().ensure_running()
            return self._pipe

        @_fd.setter
        def _fd(self, fd):
            self._pipe = fd

        @property
        def _pid(self):
            return None if self._fd is None else self._process

        @_pid.setter
        def _pid(self, pid):
            self._process = pid

    def _stop(self, use_blocking_lock: bool = True) -> None:
        """End the process, if there is one."""
        self._wanted = False
        super()._stop(use_blocking_lock)

    def __del__(self, *unused: object) -> None:
        """Leave the process, if there is one, to the end of this one."""

    def register(self, name: str, rtype: str) -> None:
        """Have a name removed when this process and its family have ended, unless it is gone then.

        rtype: "shared_memory" or "semaphore". The name has to be there, and stays as long as any
        member of the family lives. ValueError: another rtype. FileNotFoundError: there is no such
        name.
        """
        file = _file_of(name, rtype)
        Segment.claim(file)
        self._registered.add((file, rtype))

    def unregister(self, name: str, rtype: str) -> None:
        """Take a register() back that this process has made, or one that it was forked from.

        Nothing changes for a name that was not registered, such as that of a segment that mproc
        made. ValueError: another rtype.
        """
        entry = (_file_of(name, rtype), rtype)
        if entry in self._registered:
            self._registered.discard(entry)
            with suppress(FileNotFoundError):
                Segment.keep(entry[0])
        elif rtype == "semaphore" and self.standard is not None:
            self.standard.unregister(name, rtype)

    def ensure_running(self) -> None:
        """Note that somebody may look for the process, which is started when they do.

        The names of the family need none: its watcher is started by what it watches.
        """
        self._wanted = self._pipe is None

    def getfd(self) -> int | None:
        """Return the descriptor of a pipe by which processes outside the family register names."""
        super().ensure_running()
        return self._fd


_resource_tracker = _FamilyTracker()
ensure_running = _resource_tracker.ensure_running
register = _resource_tracker.register
unregister = _resource_tracker.unregister
getfd = _resource_tracker.getfd


def _start_process(reader: int) -> int:
    """Start the process that reads from a descriptor; return its pid."""
    import signal

    from . import spawn, util

    argv = [*spawn.command("mproc.resource_tracker", "_run"), str(reader)]
    # Blocked until the process ignores them: Ctrl-C is for the others.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return util.spawnv_passfds(argv[0], argv, [reader, *_descriptor_of(sys.stderr)])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _descriptor_of(stream: Any) -> list[int]:
    """Return the descriptor of a stream, if it has one that is open."""
    try:
        fd: int = stream.fileno()
        os.fstat(fd)
    except (AttributeError, OSError, ValueError):
        return []
    return [fd]


# ---- the process


def _run() -> None:
    """Be the process of a tracker: its command line ends with the descriptor to read from."""
    sys.exit(main(int(sys.argv[-1])))


def main(fd: int) -> int:
    """Read from a pipe which names to remove, until it ends; remove them; return the exit code.

    0: all went well. 1: names were left. 2: a name could not be removed. 3: a message was bad.
    """
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    for stream in (sys.stdin, sys.stdout):  # other processes may wait for their end
        with suppress(AttributeError, OSError):
            stream.close()
    names: dict[str, set[str]] = {}
    code = 0
    with open(fd, "rb") as pipe:
        for line in pipe:
            try:
                _obey(line, names)
            except Exception:
                code = 3
                sys.excepthook(*sys.exc_info())
    return max([code, *(_clean_up(rtype, left) for rtype, left in names.items() if left)])


def _obey(line: bytes, names: dict[str, set[str]]) -> None:
    cmd, name, rtype = _read(line)
    if rtype not in _CLEANUP_FUNCS:
        raise ValueError(
            f"cannot remove {name!r} in the end: unknown resource type {rtype!r};"
            f" there are {', '.join(_CLEANUP_FUNCS)}"
        )
    if cmd == b"REGISTER":
        names.setdefault(rtype, set()).add(name)
    elif cmd == b"UNREGISTER":
        names[rtype].remove(name)
    elif cmd != b"PROBE":
        raise RuntimeError(f"unrecognized command {os.fsdecode(cmd)!r}")


def _read(line: bytes) -> tuple[bytes, str, str]:
    """Return command, name and type of a message in either form."""
    if line.startswith(b"{"):
        from base64 import urlsafe_b64decode
        from json import loads

        said = loads(line)
        name = urlsafe_b64decode(said.get("base64_name", ""))
        return said["cmd"].encode(), os.fsdecode(name), said["rtype"]
    cmd, rest = line.rstrip(b"\n").split(b":", 1)
    text, _, rtype = os.fsdecode(rest).rpartition(":")
    return cmd, text, rtype


def _clean_up(rtype: str, names: set[str]) -> int:
    import warnings

    warnings.warn(
        f"resource_tracker: There appear to be {len(names)} leaked {rtype} objects to clean up at"
        f" shutdown: {names}",
        stacklevel=1,
    )
    code = 1
    for name in sorted(names):
        try:
            _CLEANUP_FUNCS[rtype](name)
        except Exception as error:
            code = 2
            warnings.warn(f"resource_tracker: {name!r}: {error}", stacklevel=1)
    return code
