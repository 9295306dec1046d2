"""Functions of shared libraries that Python calls, and pools take: c_function().

What such a function looks like stands in mproc.h, at `mproc_call`. It gets its arguments as plain
values, in the format of docs/value_format.md, or as the bytes that they are.
"""

from __future__ import annotations

import os

from . import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CFunction", "CFunctionError", "c_function"]


class CFunctionError(Exception):
    """A function of a shared library has returned another number than 0.

    Attributes: function, its name; library; code, what it returned; text, what it wrote.
    """

    def __init__(self, function: str, library: str, code: int, text: str) -> None:
        super().__init__(function, library, code, text)
        self.function = function
        self.library = library
        self.code = code
        self.text = text

    def __str__(self) -> str:
        words = f": {self.text}" if self.text else ""
        return f"{self.function}() of {self.library} returned {self.code}{words}"


class CFunction:
    """A function of a shared library; it is the same in all processes that can load the library.

    Called with plain values, it returns one. A raw one is called with one bytes-like object, and
    returns bytes. CFunctionError: it returned another number than 0. TypeError: an argument that is
    not plain.
    """

    def __init__(self, library: str, name: str, raw: bool) -> None:
        self._library = library
        self._raw = raw
        self._address = _address_of(library, name)
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        if self._raw:
            (data,) = args
        else:
            data = _mproc.dump_arguments(args, (None,) * len(args))
        code, result = _mproc.call_c(self._address, data)
        if code != 0:
            text = result.decode(errors="replace")
            raise CFunctionError(self.__name__, self._library, code, text)
        if self._raw:
            return result
        return _mproc.loads(result) if result else None

    def __reduce__(self) -> Any:
        return c_function, (self._library, self.__name__, self._raw)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__name__} of {self._library}>"


_functions: dict[tuple[str, str, bool], CFunction] = {}


def c_function(library: str | os.PathLike[str], name: str, raw: bool = False) -> CFunction:
    """Return a function of a shared library, which is loaded once in each process that uses it.

    library: a path, or a name that the system's loader finds ("libfoo.so"). raw: it takes and
    returns bytes. OSError: there is no such library, or it cannot be loaded. AttributeError: it
    has no such function.
    """
    path = os.fsdecode(library)
    if os.sep in path:
        path = os.path.abspath(path)
    key = (path, name, raw)
    function = _functions.get(key)
    if function is None:
        function = _functions.setdefault(key, CFunction(*key))  # or another thread's
    return function


def _address_of(library: str, name: str) -> int:
    import ctypes

    try:
        function = getattr(_load(library), name)
    except AttributeError:
        raise AttributeError(f"{library} has no function {name!r}") from None
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _load(library: str) -> Any:
    import ctypes

    try:
        return ctypes.CDLL(library)
    except OSError as error:
        raise OSError(f"cannot load the library {library!r}: {error}") from None
