"""The text of a container that may contain itself."""

from __future__ import annotations

from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shown_once"]

_shown: set[tuple[int, int]] = set()


def shown_once(address: int, show: Callable[[], str], again: str) -> str:
    """Return what show() returns; `again` if this thread is in it for that object already.

    Each look into a container makes new handles of what is in it, so the object is known by its
    address.
    """
    here = get_ident(), address
    if here in _shown:
        return again
    _shown.add(here)
    try:
        return show()
    finally:
        _shown.discard(here)
