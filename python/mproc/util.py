"""What the other modules share: logging, finalizers, at-fork callbacks, descriptors.

When the finalizers run is told by `_current.exit_function`, which this module offers under its
known name. Importing this module is cheap on purpose: threading, weakref, logging and tempfile are
imported when they are first used.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock as _allocate_lock
from itertools import count as _count

from . import _cpython, _current
from ._cpython import free_lock as _free_lock
from ._current import is_exiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    import threading
    from _thread import LockType
    from collections.abc import Callable, Iterable
    from typing import Any
    from weakref import WeakValueDictionary

    class ForkAwareLocal(threading.local):
        """A threading.local that is empty in a forked child."""

    _afterfork_registry: WeakValueDictionary[tuple[int, int, Callable[[Any], object]], Any]
    MAXFD: int

__all__ = [
    "SUBDEBUG",
    "SUBWARNING",
    "Finalize",
    "ForkAwareLocal",
    "ForkAwareThreadLock",
    "close_all_fds_except",
    "debug",
    "get_logger",
    "get_temp_dir",
    "info",
    "is_exiting",
    "log_to_stderr",
    "register_after_fork",
    "sub_debug",
    "sub_warning",
    "warn",
]

_current.use_begins()

# What programs know by these names.
_exit_function = _current.exit_function
_finalizer_registry = _current.finalizers
_flush_std_streams = _current.flush_std_streams
_run_finalizers = _current.run_finalizers

# ---- logging

NOTSET = 0
SUBDEBUG = 5
DEBUG = 10
INFO = 20
SUBWARNING = 25
WARNING = 30

LOGGER_NAME = "multiprocessing"
DEFAULT_LOGGING_FORMAT = "[%(levelname)s/%(processName)s] %(message)s"

_logger: logging.Logger | None = None
_log_to_stderr = False


def sub_debug(msg: object, *args: object) -> None:
    """Log at level SUBDEBUG, if get_logger() was ever called."""
    if _logger is not None:
        _logger.log(SUBDEBUG, msg, *args, stacklevel=2)


def debug(msg: object, *args: object) -> None:
    """Log at level DEBUG, if get_logger() was ever called."""
    if _logger is not None:
        _logger.log(DEBUG, msg, *args, stacklevel=2)


def info(msg: object, *args: object) -> None:
    """Log at level INFO, if get_logger() was ever called."""
    if _logger is not None:
        _logger.log(INFO, msg, *args, stacklevel=2)


def sub_warning(msg: object, *args: object) -> None:
    """Log at level SUBWARNING, if get_logger() was ever called."""
    if _logger is not None:
        _logger.log(SUBWARNING, msg, *args, stacklevel=2)


def warn(msg: object, *args: object) -> None:
    """Log at level WARNING, if get_logger() was ever called."""
    if _logger is not None:
        _logger.log(WARNING, msg, *args, stacklevel=2)


def _name_process(record: logging.LogRecord) -> bool:
    record.processName = _current.current_process().name
    return True


def get_logger() -> logging.Logger:
    """Return the package's logger. It propagates nothing, and has no handler at first."""
    global _logger
    if _logger is None:
        import logging

        logger = logging.getLogger(LOGGER_NAME)
        logger.propagate = False
        logger.addFilter(_name_process)
        _current.log_to(logger)
        _logger = logger
    return _logger


def log_to_stderr(level: int | str | None = None) -> logging.Logger:
    """Add a handler that prints to stderr, set the level if one is given; return the logger."""
    global _log_to_stderr
    import logging

    logger = get_logger()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(DEFAULT_LOGGING_FORMAT))
    logger.addHandler(handler)
    if level:
        logger.setLevel(level)
    _log_to_stderr = True
    return logger


def use_logger(to_stderr: bool) -> None:
    """Log from now on; to_stderr: the logger has a handler that prints to stderr already."""
    global _log_to_stderr
    get_logger()
    _log_to_stderr = to_stderr


# ---- addresses and places


def _platform_supports_abstract_sockets() -> bool:
    return sys.platform == "linux"


def is_abstract_socket_namespace(address: str | bytes | None) -> bool:
    """Return whether the address of a Unix socket is abstract: it begins with a NUL. TypeError."""
    if not address:
        return False
    if isinstance(address, bytes):
        return address[0] == 0
    if isinstance(address, str):
        return address[0] == "\0"
    raise TypeError(f"address type of {address!r} unrecognized")


abstract_sockets_supported = _platform_supports_abstract_sockets()


def _remove_temp_dir(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    _current.current_process()._config.pop("tempdir", None)


_SUN_PATH_MAX = 108  # bytes of the address of a Unix socket, with the NUL at its end
_LONGEST_ADDRESS = "pymp-xxxxxxxx/sock-xxxxxxxxxxxx"  # below the directory for temporary files


def _base_of_temp_dir() -> str | None:
    """Return where to make the directory; None for the system's place for temporary files."""
    import tempfile

    place = tempfile.gettempdir()
    if len(os.fsencode(os.path.join(place, _LONGEST_ADDRESS))) < _SUN_PATH_MAX:
        return None
    for other in ("/tmp", "/var/tmp", "/usr/tmp"):
        if os.path.isdir(other) and os.access(other, os.W_OK | os.X_OK):
            warn("%s is too long for addresses of sockets: %s is used instead", place, other)
            return other
    return None


def get_temp_dir() -> str:
    """Return a directory of this process and its children; it goes when its maker exits.

    It lies in the system's place for temporary files (tempfile.gettempdir()), unless the addresses
    of Unix sockets in it would be too long: then in /tmp.
    """
    config = _current.current_process()._config
    path: str | None = config.get("tempdir")
    if path is None:
        import tempfile

        path = tempfile.mkdtemp(prefix="pymp-", dir=_base_of_temp_dir())
        info("created temp directory %s", path)
        Finalize(None, _remove_temp_dir, args=(path,), exitpriority=-100)
        config["tempdir"] = path
    return path


# ---- after a fork

_afterfork_counter = _count()


def register_after_fork(obj: object, func: Callable[[Any], object]) -> None:
    """Have func(obj) called in every child that is forked while obj lives."""
    registry = _get_afterfork_registry()
    registry[next(_afterfork_counter), id(obj), func] = obj


def _get_afterfork_registry() -> WeakValueDictionary[Any, Any]:
    registry: WeakValueDictionary[Any, Any] | None = globals().get("_afterfork_registry")
    if registry is None:
        import weakref

        registry = globals()["_afterfork_registry"] = weakref.WeakValueDictionary()
        _current.after_forkers.append(_run_after_forkers)
    return registry


def _run_after_forkers() -> None:
    for (_, _, func), obj in sorted(_get_afterfork_registry().items()):
        try:
            func(obj)
        except Exception as error:
            info("after forker raised exception %s", error)


# ---- finalizers

_finalizer_counter = _current.finalizer_numbers
Finalize = _current.Finalize


# ---- aware of forks


class ForkAwareThreadLock:
    """A threading lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._use(_allocate_lock())
        register_after_fork(self, ForkAwareThreadLock._at_fork)

    def _use(self, lock: LockType) -> None:
        self._lock = lock
        self.acquire = lock.acquire
        self.release = lock.release

    def _at_fork(self) -> None:
        lock = _free_lock(self._lock)
        if lock is not self._lock:
            self._use(lock)

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *args: object) -> None:
        self._lock.release()


def _make_fork_aware_local() -> type:
    import threading

    def __init__(self: Any) -> None:
        register_after_fork(self, lambda obj: obj.__dict__.clear())

    def __reduce__(self: Any) -> tuple[type, tuple[()]]:
        return type(self), ()

    return type(
        "ForkAwareLocal",
        (threading.local,),
        {
            "__init__": __init__,
            "__reduce__": __reduce__,
            "__module__": __name__,
            "__doc__": "A threading.local that is empty in a forked child.",
        },
    )


def _max_fd() -> int:
    try:
        return os.sysconf("SC_OPEN_MAX")
    except (OSError, ValueError):
        return 256


_MADE_LATE = {
    "ForkAwareLocal": _make_fork_aware_local,
    "_afterfork_registry": _get_afterfork_registry,
    "MAXFD": _max_fd,
}

if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "_exiting":
            return is_exiting()
        make = _MADE_LATE.get(name)
        if make is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, make())

    def __dir__():
        return sorted({*globals(), *_MADE_LATE})


# ---- descriptors


def close_all_fds_except(fds: Iterable[int]) -> None:
    """Close all descriptors of the process except these."""
    low = -1
    for fd in [*sorted(fds), _max_fd()]:
        if low + 1 < fd:  # closerange() closes others, too, if the range is empty
            os.closerange(low + 1, fd)
        low = fd


def close_fds(*fds: int) -> None:
    """Close these descriptors. OSError: one is not open."""
    for fd in fds:
        os.close(fd)


def _close_stdin() -> None:
    """Close stdin; in its place comes what started children have: a stream at its end."""
    if sys.stdin is not None:
        try:
            sys.stdin.close()
        except (OSError, ValueError):
            info("stdin could not be closed")
        sys.stdin = _current.make_no_input()


# ---- other programs

_FLAGS = {
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_user_site": "s",
    "no_site": "S",
    "ignore_environment": "E",
    "verbose": "v",
    "bytes_warning": "b",
    "quiet": "q",
    "optimize": "O",
}


def _args_from_interpreter_flags() -> list[str]:
    """Return the command line options that give another interpreter the flags of this one."""
    flags = sys.flags
    args = []
    if flags.isolated:
        args.append("-I")
    elif flags.safe_path:
        args.append("-P")
    implied = {"ignore_environment", "no_user_site"} if flags.isolated else set()
    for name, letter in _FLAGS.items():
        value = getattr(flags, name)
        if value > 0 and name not in implied:
            args.append("-" + letter * value)
    args += [f"-W{option}" for option in _warning_options()]
    options = _cpython.interpreter_options()
    by_environment = not flags.ignore_environment and os.environ.get("PYTHONUTF8") == "1"
    by_default = sys.version_info >= (3, 15)
    if flags.utf8_mode and not by_environment and not by_default:
        options.setdefault("utf8", "1")  # the locale that has set it may have changed since
    for name, option in options.items():
        args += ["-X", name if option is True else f"{name}={option}"]
    return args


def _warning_options() -> list[str]:
    """Return the -W options that no other flag implies."""
    options = list(sys.warnoptions)
    if sys.flags.bytes_warning > 1 and "error::BytesWarning" in options:
        options.remove("error::BytesWarning")
    elif sys.flags.bytes_warning and "default::BytesWarning" in options:
        options.remove("default::BytesWarning")
    if sys.flags.dev_mode and "default" in options:
        options.remove("default")
    return options


def spawnv_passfds(path: str | bytes, args: list[Any], passfds: Iterable[int]) -> int:
    """Start a program that inherits the descriptors passfds; return its pid. OSError."""
    keep = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in sorted(set(map(int, passfds)))]
    return os.posix_spawn(path, list(map(os.fsencode, args)), os.environ, file_actions=keep)


def _cleanup_tests() -> None:
    """End the template of method forkserver; collect the children that have ended."""
    import gc

    gc.collect()
    _current.running_children()
    forkserver = sys.modules.get("mproc.forkserver")
    if forkserver is not None:
        forkserver._forkserver._stop()
