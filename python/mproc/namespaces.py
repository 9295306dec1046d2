"""Attributes that all processes of a family share, without a server."""

from __future__ import annotations

from typing import Any

from ._recursion import shown_once
from .dicts import Dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import BaseContext

__all__ = ["Namespace"]


class Namespace:
    """An object whose public attributes all processes of the family share.

    Each of them is one step to get, set and delete. What is read is a copy. Attributes that begin
    with an underscore belong to the process.
    """

    _shared: Dict[str, Any]

    def __init__(self, /, **attributes: Any) -> None:
        """Begin with these attributes."""
        self._shared = Dict(attributes)

    def _belong_to(self, ctx: BaseContext) -> None:
        self._shared._belong_to(ctx)

    def __getattr__(self, name: str) -> Any:
        # Only for names that are not the process' own. What copies or unpickles asks for special
        # ones before there is a dict.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        try:
            return self._shared[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._shared[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            object.__delattr__(self, name)
            return
        try:
            del self._shared[name]
        except KeyError:
            raise AttributeError(name, name=name, obj=self) from None

    def __getstate__(self) -> dict[str, Any]:
        from .context import check_leaving

        check_leaving(self)
        return self.__dict__

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._shared})

    def __repr__(self) -> str:
        return shown_once(self._shared.address, self._text, f"{type(self).__name__}(...)")

    def _text(self) -> str:
        attributes = ", ".join(f"{name}={value!r}" for name, value in self._shared.items())
        return f"{type(self).__name__}({attributes})"
