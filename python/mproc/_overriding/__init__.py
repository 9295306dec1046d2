"""What a subclass relies on that overrides a method: the others of its class call it.

The methods of the C types do their work without a look for another method of that name. Where a
subclass has one, a class of this package is put between the subclass and the type. Its methods call
each other by name, as those of the standard library do. A class without such a method pays nothing.
"""

from __future__ import annotations

from .. import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["init_connection_subclass", "overrides", "put_between"]


def overrides(cls: type, base: type, *names: str) -> bool:
    """Return whether a class has another method than its base of one of the names."""
    return any(getattr(cls, name) is not getattr(base, name) for name in names)


def put_between(cls: type, base: type, between: type) -> None:
    """Have `between`, which derives from base alone, be the last that a class asks before base."""
    if between not in cls.__mro__:
        cls.__bases__ = (*(other for other in cls.__bases__ if other is not base), between)


def init_connection_subclass(cls: type, **kwargs: Any) -> None:
    """Do the work of Connection.__init_subclass__()."""
    super(_mproc.Connection, cls).__init_subclass__(**kwargs)  # type: ignore[misc]
    if cls.__module__.partition(".")[0] != __package__.partition(".")[0]:
        from .connections import complete_connection

        complete_connection(cls)
