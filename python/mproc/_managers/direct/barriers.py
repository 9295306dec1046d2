"""Barriers of a manager that lie in the arena: those without an action, which the server runs."""

from __future__ import annotations

from ... import _mproc
from .base import Direct, as_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BarrierDirect(Direct):
    """A Barrier. Its state is the time that a party waits which says none."""

    __slots__ = ("barrier",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.barrier,) = self.parts

    @staticmethod
    def make(parties: int, action: None = None, timeout: float | None = None) -> tuple[Any, Any]:
        if action is not None or type(parties) is not int:
            raise TypeError
        return (_mproc.Barrier(parties),), timeout

    def _do_wait(self, timeout: float | None = None) -> int:
        seconds = as_seconds(self.state if timeout is None else timeout)
        return self.waiting(self.barrier._pass, seconds)  # type: ignore[no-any-return]

    def _do_abort(self) -> None:
        self.barrier.abort()

    def _do_reset(self) -> None:
        self.barrier.reset()

    def _do___getattribute__(self, name: str, /) -> Any:
        if name not in ("parties", "n_waiting", "broken"):
            raise AttributeError(f"'Barrier' object has no attribute {name!r}")
        return getattr(self.barrier, name)
