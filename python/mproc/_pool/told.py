"""Callbacks of mproc's own, which are called whatever becomes of what was asked."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Told"]


class Told:
    """A callback that is also called for a map of nothing, and when its pool is terminated.

    A program's callbacks are not: the standard library does not call them then.
    """

    __slots__ = ("_function",)

    hears_all = True  # _mproc.Job looks for the name

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def __call__(self, value: Any) -> None:
        self._function(value)
