"""The options of single tasks: what `options()` of an executor or a pool takes.

What options() returns is the same pool or executor in other clothes: an object whose class is
derived from the other one's, and whose __dict__ is the other one's own. So whatever is changed
through one of them is changed in the other. Only what it submits is different.
"""

from __future__ import annotations

import math
from operator import index

from .. import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from ..futures import ProcessPoolExecutor
    from ..pool import Pool

    _APool = TypeVar("_APool", bound=Pool)
    _AnExecutor = TypeVar("_AnExecutor", bound=ProcessPoolExecutor)

__all__ = ["TaskOptions", "executor_with_options", "with_options"]

_MOST_SECONDS = 9e9  # that are not too many as nanoseconds of 64 bits
_MOST_BYTES = 1 << 63
_MOST = 1 << 31


class TaskOptions:
    """What tasks are given along. None: as without.

    timeout: seconds; memory: bytes; retries: a number; priority: a number. TypeError, ValueError.
    """

    def __init__(
        self,
        timeout: float | None = None,
        retries: int | None = None,
        memory: int | None = None,
        priority: int | None = None,
    ) -> None:
        self.timeout = None if timeout is None else _check_seconds(timeout)
        self.retries = None if retries is None else _check_number("retries", retries, 0, _MOST)
        self.memory = None if memory is None else _check_number("memory", memory, 1, _MOST_BYTES)
        self.priority = (
            None if priority is None else _check_number("priority", priority, -_MOST, _MOST)
        )

    def over(self, other: TaskOptions) -> TaskOptions:
        """Return these options, and those of another one where these say nothing."""
        made = TaskOptions()
        for name in ("timeout", "retries", "memory", "priority"):
            own = getattr(self, name)
            setattr(made, name, getattr(other, name) if own is None else own)
        return made

    def for_backlog(self) -> tuple[int, tuple[int, int, int]]:
        """Return them as a Backlog takes them."""
        nanoseconds = max(int((self.timeout or 0) * 1e9), self.timeout is not None)
        return self.priority or 0, (nanoseconds, self.memory or 0, self.retries or 0)

    def for_tasks(self) -> tuple[int, ...]:
        """Return them as the tasks of a pool take them."""
        priority, others = self.for_backlog()
        return (*others, priority)

    def given(self) -> dict[str, Any]:
        """Return those that say something, by name: as the tasks of an engine take them."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.given().items()]
        return ", ".join(given)


class _Clothes:
    """What is different in a pool or an executor as options() returns it."""

    __slots__ = ("_options", "_original")

    _options: TaskOptions
    _original: Any

    def _with_options(self, options: TaskOptions) -> Any:
        return self._original._with_options(options.over(self._options))

    def __del__(self) -> None: ...

    def __repr__(self) -> str:
        return f"<{self._original!r} with {self._options!r}>"


class _PoolClothes(_Clothes):
    __slots__ = ("_chosen",)

    def _start_helper(self) -> None:
        self._original._start_helper()  # which lives as long as the pool does


class _ExecutorClothes(_Clothes):
    __slots__ = ("_for_backlog",)


def _dress(original: Any, clothes: type, options: TaskOptions) -> Any:
    """Return an object of a class that is derived from another's; that is made once, and kept."""
    kind: Any = type(original)
    if "_dressed" not in kind.__dict__:
        names = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        kind._dressed = type(kind.__name__, (clothes, kind), names)
    made: Any = object.__new__(kind._dressed)
    made.__dict__ = original.__dict__
    made._original, made._options = original, options
    return made


def with_options(pool: _APool, options: TaskOptions) -> _APool:
    """Return the pool with options for what is submitted. NotImplementedError."""
    if pool._cluster is not None:
        chosen: Any = options.given()
    elif isinstance(pool._tasks, _mproc.Pool):
        chosen = options.for_tasks()
    else:
        raise NotImplementedError(f"the tasks of a {type(pool).__name__} have no options")
    if options.priority is not None and pool._cluster is None:
        pool._tasks.rank(pool._processes)
    made = _dress(pool, _PoolClothes, options)
    made._chosen = chosen
    return made  # type: ignore[no-any-return]


def executor_with_options(executor: _AnExecutor, options: TaskOptions) -> _AnExecutor:
    """Return the executor with options for what is submitted."""
    made = _dress(executor, _ExecutorClothes, options)
    made._for_backlog = executor._engine._options_for(options)
    return made  # type: ignore[no-any-return]


def _check_seconds(timeout: Any) -> float:
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    seconds = float(timeout)
    if math.isnan(seconds) or seconds <= 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
    if seconds > _MOST_SECONDS:
        raise ValueError(f"timeout of {timeout!r} seconds is too long")
    return seconds


def _check_number(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    number = index(value)
    if not least <= number < most:
        wanted = f"{least} or more" if number < least else f"less than {most}"
        raise ValueError(f"{name} must be {wanted}, not {number}")
    return number
