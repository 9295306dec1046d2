"""Events of a manager that lie in the arena."""

from __future__ import annotations

from ... import _mproc
from .base import Direct, check_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class EventDirect(Direct):
    """An Event."""

    __slots__ = ("event",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.event,) = self.parts

    @staticmethod
    def make() -> tuple[Any, Any]:
        return (_mproc.Event(),), None

    def _do_is_set(self) -> bool:
        return self.event.is_set()  # type: ignore[no-any-return]

    def _do_set(self) -> None:
        self.event.set()

    def _do_clear(self) -> None:
        self.event.clear()

    def _do_wait(self, timeout: float | None = None) -> bool:
        if not self.event.is_set():
            check_time(timeout)
        return self.event.is_set() or self.waiting(self.event.wait, timeout)  # type: ignore[no-any-return]
