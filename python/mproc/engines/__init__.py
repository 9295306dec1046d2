"""Engines: pools and executors whose worker processes are on the machines of Dask, Ray or MPI.

`set_engine("dask", address="tcp://host:8786")` has every Pool and ProcessPoolExecutor that is made
from then on run its tasks there; `Pool(engine=...)`, `ProcessPoolExecutor(engine=...)` choose for
one. An engine is named "local", "dask", "ray" or "mpi", or is a Choice. Processes, pipes and locks
stay on this machine.

Each engine is a module here, which imports the engine's package when it is first chosen.
"""

from __future__ import annotations

import atexit
import os
import sys
from importlib import import_module

from .. import _current
from .._cpython import RLock
from .errors import EngineError, WorkerLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..process import BaseProcess
    from .cluster import Cluster

__all__ = ["NAMES", "Choice", "EngineError", "WorkerLostError", "chosen", "set_engine"]

NAMES = ("local", "dask", "ray", "mpi")


class Choice:
    """An engine, and where it is.

    address: of a scheduler or cluster that runs; None: what the engine's own environment variable
    says, or else one is started on this machine, with `workers` workers. timeout: seconds for which
    there may be no worker at all. ValueError: there is no engine of that name.
    """

    def __init__(
        self,
        name: str,
        address: str | None = None,
        workers: int | None = None,
        timeout: float | None = None,
    ) -> None:
        if name not in NAMES:
            raise ValueError(f"no engine is named {name!r}: there are {', '.join(NAMES)}")
        if workers is not None and workers < 1:
            raise ValueError("workers must be at least 1")
        self.name = name
        self.address = address
        self.workers = workers
        self.timeout = timeout

    def open(self) -> Cluster | None:
        """Return the engine, which is opened once for each choice; None: it is this machine.

        ImportError: the engine's package is not installed. EngineError: nobody answers.
        """
        if self.name == "local":
            return None
        key = (self.name, self.address, self.workers)
        cluster = _open.get(key)
        if cluster is None:
            cluster = self._open_once(key)
        if self.timeout is not None:
            cluster.patience = self.timeout
        return cluster

    def _open_once(self, key: tuple[str, str | None, int | None]) -> Cluster:
        with _opening.setdefault(key, RLock()):
            cluster = _open.get(key)
            if cluster is None:  # no other thread was faster
                cluster = _open[key] = self._connect()
                atexit.register(cluster.close)
        return cluster

    def _connect(self) -> Cluster:
        module = import_module(f"{__name__}.{self.name}")
        cluster: Cluster = module.connect(self.address, self.workers)
        return cluster

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]
        return f"Choice({', '.join(given)})"


_open: dict[tuple[str, str | None, int | None], Cluster] = {}
_opening: dict[object, Any] = {}  # of each: other threads wait while one connects


def _after_fork_in_child() -> None:
    global _opening
    _opening = {}  # a thread of the parent may have had one


os.register_at_fork(after_in_child=_after_fork_in_child)


def set_engine(
    name: str | Choice,
    address: str | None = None,
    workers: int | None = None,
    timeout: float | None = None,
) -> None:
    """Choose the engine of the pools and executors that are made from now on; see Choice."""
    made = name if isinstance(name, Choice) else Choice(name, address, workers, timeout)
    _current.choose_engine(made)


def chosen(engine: str | Choice | None) -> Cluster | None:
    """Return the engine that a pool is to use: its own, or that of set_engine(); None: none."""
    if engine is None:
        engine = _current.engine
    if engine is None:
        return None
    return (Choice(engine) if isinstance(engine, str) else engine).open()


def address_for_nodes() -> tuple[str, int] | None:
    """Return an address for a server that the chosen engine's nodes can reach, with any port."""
    cluster = chosen(None)
    return None if cluster is None else (cluster.home(), 0)


_unsaid = [True]  # is taken out by whoever says it


def say_what_stays(process: BaseProcess) -> None:
    """Say once that a process which the program starts runs on this machine, not on the engine."""
    name = getattr(_current.engine, "name", "local")
    target = getattr(process, "_target", None)
    ours = str(getattr(target, "__module__", "")).startswith("mproc.")
    if ours or name == "local":
        return
    try:
        _unsaid.pop()
    except IndexError:
        return
    print(
        f"mproc: processes such as {process.name}, and pipes, queues and locks between them, stay"
        f" on this machine; pools and executors of the standard library run on {name}",
        file=sys.stderr,
    )


def enter(command: list[str]) -> None:
    """Begin a program that was started by a command with the chosen engine.

    ImportError: the engine's package is not installed. With MPI the program may begin again, under
    mpirun; and those of its processes that are to be workers do not return.
    """
    choice = _current.engine
    if choice.name != "local":
        module = import_module(f"{__name__}.{choice.name}")
        if hasattr(module, "enter"):
            module.enter(command, choice.workers)


def missing(name: str, package: str, why: ImportError) -> ImportError:
    """Return the error for an engine whose package is not installed, or cannot be imported."""
    if not (isinstance(why, ModuleNotFoundError) and why.name == package):
        text = f'the engine "{name}" needs the package {package}, which cannot be imported: {why}'
        return ImportError(text, name=package)
    text = f'the engine "{name}" needs the package {package}: pip install "mproc[{name}]"'
    return ImportError(text, name=package)
