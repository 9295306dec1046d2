"""SemLock: in the standard library the base of Lock, RLock and the semaphores.

In mproc these are objects of the arena. SemLock itself is a named semaphore of the system, as
programs expect that derive from it or override `_make_name`. The name is that of a file in
/dev/shm. It is removed when the object that made it is collected, at the latest when the family has
ended.
"""

from __future__ import annotations

from abc import ABCMeta
from contextlib import suppress

from . import _mproc, process, reduction, synchronize, util
from .context import assert_spawning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .context import BaseContext

__all__ = ["ArenaSemLock", "SemLock"]

_NAME_TRIES = 100


def _file_of(name: str) -> str:
    """Return the file in /dev/shm of a named semaphore; see sem_overview(7)."""
    return _mproc.semaphore_file_prefix + name.lstrip("/")


class SemLock(metaclass=ABCMeta):  # noqa: B024 - for register()
    """A named semaphore: kind RECURSIVE_MUTEX or SEMAPHORE, a value, and its maximum.

    One made in the fork context has no name, and only forked children can use it. Any other is
    opened by its name in spawned children. When a process dies that holds it, no taker is told so,
    unlike with the locks of the arena. Lock, RLock, Semaphore and BoundedSemaphore count as derived
    from it.
    """

    _rand: Iterator[str] = synchronize._SemLockLike._rand

    def __init__(self, kind: int, value: int, maxvalue: int, *, ctx: BaseContext) -> None:
        self._is_fork_ctx = ctx.get_start_method() == "fork"
        self._semlock = self._make(kind, value, maxvalue)
        name = self._semlock.name
        if name is not None:
            util.Finalize(self, SemLock._cleanup, (name,), exitpriority=0)
            _mproc.Segment.claim(_file_of(name))
        util.register_after_fork(self, SemLock._after_fork)

    def _make(self, kind: int, value: int, maxvalue: int) -> _mproc.SemLock:
        for _ in range(_NAME_TRIES):
            name = self._make_name()
            with suppress(FileExistsError):
                return _mproc.SemLock(kind, value, maxvalue, name, self._is_fork_ctx)
        raise FileExistsError(f"cannot find a free name for a semaphore, the last was {name}")

    @staticmethod
    def _make_name() -> str:
        """Return a name that is probably free."""
        prefix = process.current_process()._config["semprefix"]
        return f"{prefix}-{next(SemLock._rand)}"

    @staticmethod
    def _cleanup(name: str) -> None:
        """Remove a semaphore's name, if it is there still."""
        with suppress(FileNotFoundError):
            _mproc.Segment.unlink(_file_of(name))

    def _after_fork(self) -> None:
        self._semlock._after_fork()

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        reduction.refuse_fork_context(self)
        semlock = self._semlock
        return semlock.handle, semlock.kind, semlock.maxvalue, semlock.name

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._is_fork_ctx = False
        self._semlock = _mproc.SemLock._rebuild(*state)
        util.register_after_fork(self, SemLock._after_fork)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, within `timeout` seconds; return whether there was one."""
        return self._semlock.acquire(block, timeout)

    def release(self) -> None:
        """Give a permit back.

        ValueError: there are as many as there can be. AssertionError: another thread holds it.
        """
        self._semlock.release()

    def locked(self) -> bool:
        """Return whether there is no permit at this moment."""
        return self._semlock._is_zero()

    def __enter__(self) -> bool:
        return self._semlock.acquire()

    def __exit__(self, *_: object) -> None:
        self._semlock.release()


for _kind in (
    synchronize.Lock,
    synchronize.RLock,
    synchronize.Semaphore,
    synchronize.BoundedSemaphore,
):
    SemLock.register(_kind)


class ArenaSemLock:
    """The attributes of an `_mproc.SemLock`, for a lock or semaphore of the arena.

    It has no name. A lock has `_count` and `_is_mine`. A semaphore has not, since it does not count
    what each thread has taken.
    """

    name = None

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the lock: acquire(), release(), perhaps more."""
        return getattr(self._lock, name)

    @property
    def kind(self) -> int:
        """RECURSIVE_MUTEX or SEMAPHORE."""
        recursive = isinstance(self._lock, synchronize.RLock)
        return synchronize.RECURSIVE_MUTEX if recursive else synchronize.SEMAPHORE

    @property
    def handle(self) -> int:
        """Its address in the arena."""
        address: int = self._lock.address
        return address

    @property
    def maxvalue(self) -> int:
        """The largest value that it can have."""
        if isinstance(self._lock, synchronize.Semaphore):
            return synchronize.SEM_VALUE_MAX
        maxvalue: int = getattr(self._lock, "maxvalue", 1)
        return maxvalue

    def _get_value(self) -> int:
        get_value = getattr(self._lock, "get_value", None)
        value: int = 1 - self._lock.locked() if get_value is None else get_value()
        return value

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def __enter__(self) -> bool:
        entered: bool = self._lock.__enter__()
        return entered

    def __exit__(self, *exc_info: object) -> None:
        self._lock.__exit__(*exc_info)
