"""Start method forkserver: a template process that forks itself on request.

The template is a fresh interpreter, started with the first child. It imports what
set_forkserver_preload() names (by default the main module), and it never makes a thread. The
processes that it forks are children of this process: their pids, exit codes and parents are as with
the other methods.

mproc.h describes what the core does (mproc_template). This module prepares the template, and has
the one template of a process in `_forkserver`.
"""

from __future__ import annotations

import errno
import os
import sys

from . import _current, _mproc, process, spawn
from ._cpython import SIGINT, pickle, raw_environment, set_handler, spawn_of_others
from ._current import exit_code_of, flush_std_streams
from ._descriptor import kept, kept_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ._mproc import Child, Template

__all__ = [
    "connect_to_new_process",
    "ensure_running",
    "get_inherited_fds",
    "read_signed",
    "set_forkserver_preload",
    "write_signed",
]

MAXFDS_TO_SEND = 252  # one message of the system carries 253; the core needs one

_ON_ERROR = ("ignore", "warn", "fail")

_inherited_fds: list[int] | None = None
_interrupt_handler: Any = None  # in a template: how its children take SIGINT


# Of the preparation data, what the template gets: no secret, and nothing that a tool has added for
# the children, whose class may be one of the main module's.
_OF_TEMPLATE = (
    "name", "log_to_stderr", "log_level", "orig_dir", "dir", "sys_argv", "sys_path", "start_method",
    "init_main_from_name", "init_main_from_path", "main_code",
)  # fmt: skip


class ForkServer:
    """The template of this process. It is started when it is needed, and again if it has died."""

    # A template is reached by a pair of sockets: it has no address that others could connect to,
    # and asks for no key.
    _forkserver_address = None
    _forkserver_alive_fd = None
    _forkserver_authkey = None

    def __init__(self) -> None:
        self._lock = _new_lock()
        self._template: Template | None = None
        self._owner = os.getpid()
        # The environment as it was when the template was started, and as the system has it.
        self._environment: dict[str, str] | None = None
        self._raw_environment: dict[bytes, bytes] | None = None
        self._preload_modules = ["__main__"]
        self._on_error = "ignore"
        self._told: list[Child] = []  # made by connect_to_new_process(), and not seen to end
        self._wrapped_by: bytes | None = None  # the executable that has started one as its child
        os.register_at_fork(after_in_child=self._forget)

    @property
    def _forkserver_pid(self) -> int | None:
        return self._template.pid if self._template is not None else None

    def _forget(self) -> None:
        """Forget the template in a forked child: it is the parent's."""
        self._lock = _new_lock()
        self._template = None
        self._told = []

    def set_forkserver_preload(self, modules_names: list[str], *, on_error: str = "ignore") -> None:
        """Set the modules that the template imports before it forks.

        `'__main__'` among them stands for the main module. on_error says what happens when an
        import fails: 'ignore', 'warn' (ImportWarning), or 'fail' (the template ends, and processes
        cannot be started). A template that runs already is not changed. TypeError: no list of
        strings. ValueError: another on_error.
        """
        if not all(type(module) is str for module in modules_names):
            raise TypeError("module_names must be a list of strings")
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be 'ignore', 'warn', or 'fail', not {on_error!r}")
        self._preload_modules = modules_names
        self._on_error = on_error

    def ensure_running(self) -> None:
        """Start the template, unless it runs."""
        with self._lock:
            self._ensure()

    def _ensure(self) -> Template:
        template = self._template
        if template is not None and not _running(template.pid):
            self._template = None
            template.drop()
            template = None
        if template is None:
            template = self._template = self._start()
        return template

    def _start(self) -> Template:
        fd = _memory_with(self._message())
        self._environment = dict(os.environ)
        self._raw_environment = dict(raw_environment() or ()) or None
        try:
            argv = spawn.template_command()
            return _mproc.Template([*argv, str(fd)], [fd], by=spawn_of_others())
        finally:
            os.close(fd)

    def _message(self) -> bytes:
        prepared = spawn.get_preparation_data("ForkServer")
        data = {key: prepared[key] for key in _OF_TEMPLATE if key in prepared}
        parts = (data, list(self._preload_modules), self._on_error)
        beginning = spawn.beginning(data.pop("sys_path"))
        return beginning + pickle().dumps(parts)  # type: ignore[no-any-return]

    def environment_changes(self) -> dict[str, str | None]:
        """Return what has changed in the environment since the template has got it.

        None stands for a variable that is no more.
        """
        before, raw = self._environment, raw_environment()
        if before is None or (raw is not None and raw == self._raw_environment):
            return {}
        now = dict(os.environ)
        changes: dict[str, str | None] = {name: None for name in before if name not in now}
        changes.update({name: now[name] for name in now if before.get(name) != now[name]})
        return changes

    @property
    def is_wrapped(self) -> bool:
        """Whether templates are a wrapper's children: what they fork would be the wrapper's."""
        return self._wrapped_by is not None and self._wrapped_by == spawn.get_executable()

    def launch(
        self, child: Child, process_obj: process.BaseProcess, payload: bytes, fds: list[int]
    ) -> None:
        """Have the template fork a child, which gets the payload and the descriptors.

        ValueError: too many descriptors. ChildProcessError: a wrapper has started the template, so
        its forks would be the wrapper's children. EOFError, OSError: the template cannot do it.
        """
        if len(fds) > MAXFDS_TO_SEND:
            raise ValueError(f"too many fds: {len(fds)}, but only {MAXFDS_TO_SEND} can be passed")
        self._launch(child, process_obj._name, process_obj.daemon, payload, fds, process_obj)

    def _launch(
        self,
        child: Child,
        name: str,
        daemon: bool,
        payload: bytes,
        fds: list[int],
        process_obj: process.BaseProcess | None = None,
    ) -> None:
        def launch() -> None:
            options: Any = {"template": template, "process": process_obj}
            child.launch(_mproc.FORKSERVER, name, daemon, payload, fds, **options)

        with self._lock:
            ran = self._template
            template = self._ensure()
            try:
                launch()
            except ChildProcessError:
                self._wrapped_by = spawn.get_executable()
                self._template = None
                template.drop()
                raise
            except (EOFError, OSError) as error:
                # One that does not listen any more is of no use, though its process may still run.
                if not isinstance(error, BrokenPipeError) and _running(template.pid):
                    raise
                self._template = None
                template.drop()
                if template is not ran and self._on_error != "ignore":
                    # Another one would fail in the same way, and say so on stderr again.
                    error.add_note("The fork server ended, maybe in an import: see stderr.")
                    raise
                template = self._ensure()
                launch()

    def connect_to_new_process(self, fds: list[int]) -> tuple[int, int]:
        """Have the template fork a child that a program tells itself what to do.

        Returns two descriptors, which are the caller's. read_signed() of the first one gives the
        child's pid and, at its end, its exit code; EOFError: it was killed. Into the second one the
        program pickles the preparation data and the process object. The child gets copies of
        `fds`, which get_inherited_fds() has there. ValueError: too many descriptors.
        """
        if len(fds) + 2 > MAXFDS_TO_SEND:
            raise ValueError(
                f"too many fds: {len(fds)}, but only {MAXFDS_TO_SEND - 2} can be passed"
            )
        child = _mproc.Child()
        status, status_w = kept_pipe()
        data_r, data = kept_pipe()
        try:
            payload = spawn.dump_told(_Told(), self.environment_changes())
            self._launch(child, "Process", False, payload, [data_r, status_w, *fds])
        except BaseException:
            os.close(status)
            os.close(data)
            raise
        finally:
            os.close(status_w)
            os.close(data_r)
        with self._lock:
            self._told = [*(other for other in self._told if other.poll() is None), child]
        return status, data

    def _stop(self) -> None:
        """End the template."""
        with self._lock:
            template, self._template = self._template, None
            if template is not None:
                template.drop()


def _new_lock() -> Any:
    import _thread

    return _thread.allocate_lock()


def _running(pid: int) -> bool:
    """Return whether a child still runs, without collecting its exit status."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _memory_with(data: bytes) -> int:
    """Return a descriptor from which the data can be read."""
    try:
        fd = kept(_mproc.memfd_create("mproc-forkserver"))
    except OSError as error:
        text = f"forkserver needs memory by memfd_create(2): {error.strerror}"
        raise OSError(error.errno, text) from None
    try:
        with open(fd, "wb", 0, closefd=False) as file:
            if file.write(data) == len(data):
                os.lseek(fd, 0, os.SEEK_SET)
                return fd
    except OSError as error:
        if error.errno != errno.EFBIG:
            os.close(fd)
            raise
    # RLIMIT_FSIZE counts memory as a file. A pipe is none, but has less room.
    os.close(fd)
    return _pipe_with(data)


def _pipe_with(data: bytes) -> int:
    """Return a descriptor from which the data can be read, and then the end of the file."""
    import fcntl

    reading, writing = kept_pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(data))  # before a write could wait for ever
        os.write(writing, data)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return reading


def get_inherited_fds() -> list[int]:
    """Return the descriptors that the parent has passed to this child of a template."""
    global _inherited_fds
    if _inherited_fds is None:
        _inherited_fds = _mproc.child_fds()
    return _inherited_fds


# ---- children that a program tells itself what to do

_SIGNED = 8  # bytes of a number


def read_signed(fd: int) -> int:
    """Read a number that write_signed() has written. EOFError: there is none."""
    data = b""
    while len(data) < _SIGNED:
        part = os.read(fd, _SIGNED - len(data))
        if not part:
            raise EOFError("unexpected EOF")
        data += part
    return int.from_bytes(data, sys.byteorder, signed=True)


def write_signed(fd: int, number: int) -> None:
    """Write a number of 64 bits."""
    data = number.to_bytes(_SIGNED, sys.byteorder, signed=True)
    while data:
        data = data[os.write(fd, data) :]


class _Told:
    """What such a child is, until it has read what it is to be."""

    def _bootstrap(self, method: str) -> int:
        """Read the process object, run it, write its exit code; return that."""
        global _inherited_fds
        data, status, *_inherited_fds = get_inherited_fds()
        write_signed(status, os.getpid())
        code = 1
        try:
            code = _read_process(data)._bootstrap(method)
        finally:
            write_signed(status, code)
        return code


def _read_process(fd: int) -> process.BaseProcess:
    current = process.current_process()
    current._inheriting = True  # type: ignore[attr-defined]
    try:
        with open(fd, "rb") as file:
            spawn.prepare(pickle().load(file))
            return pickle().load(file)  # type: ignore[no-any-return]
    finally:
        del current._inheriting  # type: ignore[attr-defined]


# ---- the template's side


def main() -> NoReturn:
    """Be the template: prepare, then fork on request. A child does its work here, and exits."""
    with open(int(sys.argv[-1]), "rb") as file:
        message = file.read()
    spawn.attach()
    _prepare(message)
    if not _mproc.template_serve():
        os._exit(0)
    _child()


def _prepare(message: bytes) -> None:
    import gc
    import signal

    global _interrupt_handler

    _current.fetch()
    data, modules, on_error = pickle().loads(spawn.take_beginning(message))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the processes
    current = process.current_process()
    current._inheriting = True  # type: ignore[attr-defined]
    try:
        main_data = {key: data.pop(key) for key in list(data) if key.startswith("init_main")}
        spawn.prepare(data)
        for module in modules:
            _preload(module, main_data, on_error)
    finally:
        del current._inheriting  # type: ignore[attr-defined]
    chosen = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a preloaded module may have chosen one
    handler = handler if chosen == signal.SIG_IGN else chosen
    _interrupt_handler = handler if callable(handler) else int(handler or 0)  # no enumeration
    flush_std_streams()
    gc.collect()
    gc.freeze()  # a child's collections leave these objects alone, so their pages stay shared


def _preload(module: str, main_data: dict[str, Any], on_error: str) -> None:
    try:
        if module == "__main__":
            spawn.prepare(main_data)
        else:
            __import__(module)
    except (Exception, SystemExit) as error:
        # A child imports the main module itself, and reports what is wrong with it.
        if on_error == "fail":
            raise
        if on_error == "warn":
            import warnings

            what = f"module {module!r}"
            if module == "__main__":
                what = f"__main__ from {main_data.get('init_main_from_path')!r}"
            warnings.warn(f"Failed to preload {what}: {error}", ImportWarning, stacklevel=2)


def _child() -> NoReturn:
    code = 1
    try:
        _mproc.hold_interrupts(True)  # until it is known how the process takes them
        set_handler(SIGINT, _interrupt_handler)
        code = spawn._main("forkserver")
    except SystemExit as error:
        code = exit_code_of(error)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        flush_std_streams()
        os._exit(code & 0xFF)


_forkserver = ForkServer()
connect_to_new_process = _forkserver.connect_to_new_process
ensure_running = _forkserver.ensure_running
set_forkserver_preload = _forkserver.set_forkserver_preload
