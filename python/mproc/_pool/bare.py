"""Exceptions that cannot be made by calling their class: made without its __init__().

Used, and imported, when an exception of a task cannot be unpickled in the usual way.
"""

from __future__ import annotations

import io
import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["load"]

_START = b"\x80\x05"  # of every pickle in a message: protocol 5


def load(message: bytes) -> BaseException:
    """Return the exception of a message. Raises what unpickling raises, TypeError: it is none."""
    exc = _Unpickler(io.BytesIO(message[message.index(_START) :])).load()
    if not isinstance(exc, BaseException):
        raise TypeError(f"not an exception: {type(exc).__name__}")
    str(exc)  # it may need attributes that only its __init__() would have set
    return exc


class _Unpickler(pickle.Unpickler):
    """Its first look-up is for the class of the exception, unless that has its own __reduce__()."""

    _first = True

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        first, self._first = self._first, False
        if first and isinstance(found, type) and issubclass(found, BaseException):
            return _maker(found)
        return found


def _maker(kind: type[BaseException]) -> Callable[..., BaseException]:
    """Return what makes an exception: by its class, or else without that one's __init__()."""

    def make(*args: Any) -> BaseException:
        try:
            return kind(*args)
        except Exception:
            return _make_bare(kind, args)

    return make


def _make_bare(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    try:
        exc = kind.__new__(kind, *args)
    except Exception:
        exc = BaseException.__new__(kind)
    exc.args = args
    return exc
