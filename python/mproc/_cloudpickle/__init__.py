"""The pickler "cloudpickle": functions and classes travel by value where they have no other way.

It is chosen by `pickler="cloudpickle"` of get_context(), Pool() or ProcessPoolExecutor(), and this
module is imported then. What is no plain value is *sealed*: cloudpickle makes bytes of it, and
these travel as a pickle that has them unpickled. So who receives it need not know of it. Tasks and
arguments are sealed by the owner, results by the worker, and a process object as a whole.

The types that were registered for ForkingPickler are pickled as they always are.
"""

from __future__ import annotations

import copy
import io
from collections import ChainMap

from .. import _mproc, context, reduction
from .._cpython import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

try:
    from cloudpickle import CloudPickler as _CloudPickler  # type: ignore[import-untyped]
except ImportError:
    raise ImportError(
        'pickler="cloudpickle" needs the package cloudpickle: pip install "mproc[cloudpickle]"',
        name="cloudpickle",
    ) from None

__all__ = [
    "SealedPool",
    "contents",
    "context_with",
    "dumps",
    "dumps_function",
    "message_of",
    "serves",
]

_mproc._add_pool()

_loads = pickle().loads


class _Pickler(_CloudPickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 5)
        reduction.know_sockets()
        self.dispatch_table = ChainMap(_mproc.reducers, _CloudPickler.dispatch_table)


def dumps(obj: object) -> memoryview:
    """Return the pickle of an object, made by cloudpickle."""
    file = io.BytesIO()
    _Pickler(file).dump(obj)
    return file.getbuffer()


# ---- sealing


class _Sealed:
    """Stands for an object while that is sent."""

    __slots__ = ("_obj",)

    def __init__(self, obj: object) -> None:
        self._obj = obj

    def __reduce__(self) -> tuple[Any, ...]:
        return _loads, (bytes(dumps(self._obj)),)

    def __repr__(self) -> str:
        return repr(self._obj)


def contents(obj: object) -> object:
    """Return what a sealed object stands for, any other as it is."""
    if isinstance(obj, list):
        return [contents(item) for item in obj]
    return obj._obj if isinstance(obj, _Sealed) else obj


def _seal(obj: object) -> object:
    return obj if _mproc.is_plain(obj) else _Sealed(obj)


def message_of(obj: object) -> bytes:
    """Return the message for an object."""
    return _mproc.dumps(_seal(obj))


class _Returning:
    """A function whose results are sealed. A process that gets one serves its sender by value."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self.func,)

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        return _seal(self.func(*args, **kwargs))


_server: int | None = None  # the process that works for a pool by value; a fork of it may not


def _received(func: Callable[..., Any]) -> _Returning:
    global _server
    _server = _mproc.getpid()
    return _Returning(func)


def serves() -> bool:
    """Return whether this process works for a pool whose functions travel by value."""
    return _server == _mproc.getpid()


def dumps_function(function: Callable[..., Any]) -> bytes:
    """Return the message that tells workers of a function."""
    return message_of(_Returning(function))


class SealedPool(_mproc.Pool):
    """The pool of the core for functions and arguments that travel by value."""

    def submit(
        self,
        job: _mproc.Job,
        function: bytes,
        named: bool,
        arguments: tuple[Any, Any],
        *options: Any,
    ) -> None:
        """Queue one call; see _mproc.Pool.submit()."""
        super().submit(job, function, named, _seal(arguments), *options)  # type: ignore[arg-type]

    def submit_map(
        self, job: _mproc.Job, function: bytes, named: bool, star: bool, items: list[Any], *how: Any
    ) -> None:
        """Queue a call per item; see _mproc.Pool.submit_map()."""
        super().submit_map(job, function, named, star, [_seal(item) for item in items], *how)


# ---- contexts


class SpawnProcess(context.SpawnProcess):
    """A process that starts as a fresh interpreter, and is sent by value."""

    _dumps = staticmethod(dumps)


class ForkServerProcess(context.ForkServerProcess):
    """A process that starts as a copy of a template process, and is sent by value."""

    _dumps = staticmethod(dumps)


_processes = {"spawn": SpawnProcess, "forkserver": ForkServerProcess}


def context_with(base: context.BaseContext) -> context.BaseContext:
    """Return a context like another one, whose pools and processes are sent by value."""
    made = copy.copy(base)
    made._pickler = "cloudpickle"
    made.Process = _processes.get(base._name, base.Process)
    return made
