"""Programs of their own as members of the family: Program; and child_args() in such a program.

A Program is a process that runs an executable, in C as a rule, and has the interface of Process.
What it is given, objects of the family among it, lies in the arena, in the format that
docs/value_format.md describes. C finds it by mproc_child_values(), and Python by child_args(), in a
program that C has started by mproc_process_start_program().
"""

from __future__ import annotations

import os

from . import _mproc, popen_fork, process
from ._cpython import spawn_of_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

__all__ = ["Program", "child_args"]


class Program(process.BaseProcess):
    """A process that runs a program of its own, and what that is given.

    argv: the program and the arguments of its command line; or the program alone. A name without a
    slash is looked for on PATH. args: plain values, numpy arrays, and objects of the family (Queue,
    Lock, Array, Value, Event and the others of `mproc`), each by itself. The program joins the
    family by mproc_init(), and finds them by mproc_child_values(). env: its environment.

    start() raises TypeError for an argument of another kind, and what the system says about the
    program: FileNotFoundError, PermissionError. A program that ends without having joined has read
    no argument; a RuntimeWarning says so.
    """

    def __init__(
        self,
        argv: str | bytes | os.PathLike[Any] | Sequence[str | bytes | os.PathLike[Any]],
        args: Iterable[Any] = (),
        name: str | None = None,
        *,
        daemon: bool | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name=name, args=args, daemon=daemon)
        one = isinstance(argv, (str, bytes, os.PathLike))
        self._argv: list[Any] = [argv] if one else list(argv)  # type: ignore[arg-type]
        if not self._argv:
            raise ValueError("a program needs a name: argv is empty")
        self._env = None if env is None else [f"{name}={value}" for name, value in env.items()]

    @staticmethod
    def _Popen(process_obj: Any) -> popen_fork.Popen:
        return _Popen(process_obj)

    def run(self) -> None:
        """Raise TypeError: what a Program does is done by its program, in another process."""
        raise TypeError("a Program runs in a process of its own: call start()")

    @property
    def joined(self) -> bool:
        """Whether the program has become a member of the family, as mproc_init() does."""
        popen = self._popen
        return popen is not None and popen.joined


class _Popen(popen_fork.Popen):
    """A started program."""

    method = "program"
    _told = False

    def _launch(self, process_obj: Any) -> None:
        self._program = process_obj._argv[0]
        self._has_arguments = bool(process_obj._args)
        args = process_obj._args
        places = tuple(self._give(i, arg) for i, arg in enumerate(args))
        try:
            self.launch(
                _mproc.SPAWN,
                process_obj._name,
                process_obj.daemon,
                _mproc.dump_arguments(args, places),
                argv=[_found(self._program), *process_obj._argv[1:]],
                envp=process_obj._env,
                by=spawn_of_others(),
                program=True,
                process=process_obj,
            )
        except OSError as error:
            if error.filename is None:
                error.filename = os.fsdecode(self._program)
            raise

    def _give(self, i: int, arg: Any) -> tuple[int, int] | None:
        """Take the holds for an argument; return its addresses, None if it is no object."""
        place = _place_of(i, arg)
        for address in place or ():
            if address:
                self.hold_for(address)
        return place

    def poll(self, flag: int = os.WNOHANG, /) -> int | None:
        """Return the exit code, None while the program runs."""
        return self._look(super().poll(flag))

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the program's end; return as poll() does."""
        return self._look(super().wait(timeout))

    def _look(self, code: int | None) -> int | None:
        if code is not None and not self._told:
            self._told = True
            if code >= 0 and self._has_arguments and not self.joined:
                import warnings

                warnings.warn(
                    f"program {os.fsdecode(self._program)!r} has ended with exit code {code} and"
                    " never joined the family, so it has not read its arguments: it has to call"
                    f" mproc_init() of libmproc {_mproc.version} first",
                    RuntimeWarning,
                    stacklevel=3,
                )
        return code


def _found(program: Any) -> Any:
    """Return the path of a program, which may be a name on PATH. FileNotFoundError."""
    name = os.fsdecode(program)
    if os.sep in name:
        return program
    import errno
    import shutil

    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(errno.ENOENT, "no such program on PATH", name)
    return path


# ---- objects


_HANDLES = (
    _mproc.Queue,
    _mproc.SimpleQueue,
    _mproc.Lock,
    _mproc.RLock,
    _mproc.Semaphore,
    _mproc.BoundedSemaphore,
    _mproc.Event,
    _mproc.Buffer,
)


def _container_of(arg: Any) -> Any:
    """Return the handle of a Dict, a List, or of the dict that a Set is; None: it is none."""
    # The extension has these types once one of their modules has been imported, or they were asked
    # for: which this does not do.
    types = [vars(_mproc).get(name) for name in ("Dict", "List")]
    handle = getattr(arg, "_keys", arg)
    return handle if any(kind is not None and isinstance(handle, kind) for kind in types) else None


def _place_of(i: int, arg: Any) -> tuple[int, int] | None:
    """Return the addresses of an object of the family and of its lock, or 0; None: it is none."""
    if isinstance(arg, _HANDLES):
        return _address(i, arg), 0
    container = _container_of(arg)
    if container is not None:
        return _address(i, container), 0
    if isinstance(arg, _mproc.Condition):
        return arg.address, arg._lock.address
    if isinstance(arg, _mproc.Barrier):
        if getattr(arg, "_action", None) is not None:
            raise TypeError(f"args[{i}]: the action of this Barrier is Python's: C cannot call it")
        return arg.address, 0
    if isinstance(arg, _mproc.Synchronized):
        if not isinstance(arg._lock, _mproc.RLock):
            raise TypeError(f"args[{i}]: a program knows no lock but RLock, not {arg._lock!r}")
        return _memory(i, arg._obj), arg._lock.address
    if isinstance(getattr(arg, "_wrapper", None), _mproc.Memory):
        return _memory(i, arg), 0
    return None


def _address(i: int, handle: Any) -> int:
    if getattr(handle, "_closed", False):
        raise ValueError(f"args[{i}]: {handle!r} is closed")
    if getattr(handle, "_in_arena", True) is False:
        raise TypeError(f"args[{i}]: {handle!r} is over a pipe: a program cannot use it")
    address: int = handle.address
    return address


def _memory(i: int, obj: Any) -> int:
    memory = getattr(obj, "_wrapper", None)
    if not isinstance(memory, _mproc.Memory):
        raise TypeError(f"args[{i}]: {obj!r} is not in shared memory")
    return memory.address


# ---- in a program that was started


def child_args() -> tuple[Any, ...]:
    """Return what the starter of this program has given it: in a program that C has started.

    Objects of the family come as those of `mproc`; an array as an Array, or, without a lock, as a
    RawArray. RuntimeError: mproc has not started this program. ValueError: what its starter has
    given it are no arguments.
    """
    global _arguments
    if _arguments is None:
        _mproc.attach()
        os.environ.pop("MPROC_FAMILY", None)
        _arguments = _mproc.load_arguments(_adopt)
    if _arguments is None:
        raise RuntimeError("no process of mproc has started this program, or it was given nothing")
    return _arguments


_arguments: tuple[Any, ...] | None = None


def _adopt(kind: str, address: int, kind_of_lock: str | None, lock: int) -> Any:
    """Return the object for a hold that this process has; its lock is another such object."""
    guard = None if kind_of_lock is None else _ADOPTERS[kind_of_lock](lock, None)
    return _ADOPTERS[kind](address, guard)


def _adopter(name: str, *state: Any) -> Callable[[int, Any], Any]:
    def adopt(address: int, _: Any) -> Any:
        from . import synchronize

        made = getattr(synchronize, name).adopt(address)
        if state:
            made.__setstate__(*state)
        return made

    return adopt


def _adopt_queue(address: int, _: Any) -> Any:
    from .queues import Queue

    queue: Any = Queue.adopt(address)
    queue.__setstate__((0,))  # the queue knows its bound itself
    return queue


def _adopt_condition(address: int, lock: Any) -> Any:
    from .synchronize import Condition

    condition: Any = Condition.adopt(address)
    condition.__setstate__(lock)
    return condition


def _adopt_numbers(address: int, lock: Any) -> Any:
    import ctypes

    from . import sharedctypes

    memory = _mproc.Memory.adopt(address)
    kind = sharedctypes._type_of(memory.code)
    array = sharedctypes.rebuild_ctype(kind, memory, len(memoryview(memory)) // ctypes.sizeof(kind))
    return array if lock is None else sharedctypes.synchronized(array, lock)


def _adopt_buffer(address: int, _: Any) -> Any:
    return _mproc.Buffer.adopt(address)


def _adopt_dict(address: int, _: Any) -> Any:
    from .dicts import Dict

    return Dict.adopt(address)


def _adopt_list(address: int, _: Any) -> Any:
    from .lists import List

    return List.adopt(address)


_ADOPTERS: dict[str, Callable[[int, Any], Any]] = {
    "queue": _adopt_queue,
    "lock": _adopter("Lock", False),
    "rlock": _adopter("RLock", False),
    "semaphore": _adopter("Semaphore"),
    "bsemaphore": _adopter("BoundedSemaphore"),
    "event": _adopter("Event"),
    "barrier": _adopter("Barrier", (None, None)),
    "condition": _adopt_condition,
    "numbers": _adopt_numbers,
    "buffer": _adopt_buffer,
    "dict": _adopt_dict,
    "list": _adopt_list,
}
