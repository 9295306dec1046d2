"""ctypes objects in the family's shared memory, with a lock or without.

The memory is freed when the last object that uses it is collected, in whatever process. What a
process used when it died is given back.
"""

from __future__ import annotations

import ctypes

from . import _current, _mproc, context
from ._mproc import Memory, reducers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Generic

    from typing_extensions import TypeVar

    from . import reduction as reduction
    from .context import BaseContext

    _T = TypeVar("_T", default=Any)

    class _Synchronized(_mproc.Synchronized[_T], Generic[_T]): ...

    class _SynchronizedArray(_mproc.SynchronizedArray[_T], Generic[_T]): ...

else:
    _T = ...
    _Synchronized = {_T: _mproc.Synchronized}
    _SynchronizedArray = {_T: _mproc.SynchronizedArray}

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

_current.use_begins()

typecode_to_type: dict[str, Any] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}

_SimpleType: Any = ctypes.c_int.__base__
_CODES = frozenset("bBhHiIlLqQfd?")


def __getattr__(name: str) -> Any:
    """Import reduction when it is first wanted: most shared objects are never pickled."""
    if name == "reduction":
        from . import reduction

        return reduction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _code_of(type_: Any) -> str:
    """Return the typecode of a type of plain numbers, "" for any other type."""
    plain = type_.__base__ is _SimpleType and getattr(type_, "__ctype_le__", type_) is type_
    return type_._type_ if plain and type_._type_ in _CODES else ""


def _type_of(typecode_or_type: Any) -> Any:
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if not isinstance(type_, type):
        raise TypeError(f"bad typecode {typecode_or_type!r}: no typecode and no ctypes type")
    return type_


def _new(type_: Any, code: str, n: int) -> Any:
    """Return an object over zeroed memory: n numbers of the typecode, or bytes."""
    return _over(type_, Memory(code, n) if code else Memory("B", ctypes.sizeof(type_)))


def _over(type_: Any, memory: Memory) -> Any:
    obj = type_.from_buffer(memory)
    obj._wrapper = memory
    if type_ not in reducers:
        reducers[type_] = reduce_ctype
    return obj


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Return a shared ctypes object without a lock; args initialise it. TypeError: no type."""
    type_ = _type_of(typecode_or_type)
    obj = _new(type_, _code_of(type_), 1)
    if args:
        obj.__init__(*args)
    return obj


def RawArray(typecode_or_type: Any, size_or_initializer: int | Sequence[Any]) -> Any:
    """Return a shared ctypes array without a lock, zeroed or with the items of a sequence.

    TypeError: no type.
    """
    type_ = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        n, items = size_or_initializer, None
    else:
        items = size_or_initializer
        n = len(items)
    obj = _new(type_ * n, _code_of(type_), n)
    if items is not None:
        obj.__init__(*items)
    return obj


def Value(
    typecode_or_type: Any, *args: Any, lock: Any = True, ctx: BaseContext | None = None
) -> Any:
    """Return a shared ctypes object with a lock.

    lock: True or None makes an RLock; an object with acquire() and release() is the lock; False
    returns the object without one. AttributeError: `lock` is none of these. TypeError: no type.
    """
    return _wrap(RawValue(typecode_or_type, *args), lock, ctx)


def Array(
    typecode_or_type: Any,
    size_or_initializer: int | Sequence[Any],
    *,
    lock: Any = True,
    ctx: BaseContext | None = None,
) -> Any:
    """Return a shared ctypes array with a lock, as Value does."""
    return _wrap(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def _wrap(obj: Any, lock: Any, ctx: BaseContext | None) -> Any:
    if lock is False:
        return obj
    if lock is True or lock is None:
        lock = (ctx or context._default_context.get_context()).RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock, ctx=ctx)


def copy(obj: Any) -> Any:
    """Return a shared copy of a ctypes object."""
    new = _new(type(obj), "", 0)
    ctypes.pointer(new)[0] = obj
    return new


# ---- objects for other processes


def reduce_ctype(obj: Any) -> tuple[Any, ...]:
    """Return what a shared ctypes object is pickled as, for a child that is being started.

    RuntimeError: no child is being started. ValueError: the object is not in shared memory.
    """
    if (shared := context.share(obj)) is not None:
        return shared
    context.assert_spawning(obj)
    memory = getattr(obj, "_wrapper", None)
    if not isinstance(memory, Memory):
        raise ValueError(f"{obj!r} is not in shared memory")
    from .reduction import give_to_child

    address = give_to_child(memory.address)
    if isinstance(obj, ctypes.Array):
        return rebuild_ctype, (_describe(obj._type_), address, obj._length_)
    return rebuild_ctype, (type(obj), address, None)


def _describe(type_: Any) -> Any:
    """Return the parts of a type: array types have no name by which a child could find them."""
    if issubclass(type_, ctypes.Array):
        return _describe(type_._type_), type_._length_
    return type_


def rebuild_ctype(type_: Any, wrapper: Memory | int, length: int | None) -> Any:
    """Return an object over a Memory, or over the address of one that this process holds."""
    lengths = [] if length is None else [length]
    while isinstance(type_, tuple):
        type_, inner = type_
        lengths.append(inner)
    for n in reversed(lengths):
        type_ = type_ * n
    memory = Memory.adopt(wrapper) if isinstance(wrapper, int) else wrapper
    return _over(type_, memory)


# ---- objects with locks

class_cache: dict[Any, type[SynchronizedBase]] = {}


def synchronized(obj: Any, lock: Any = None, ctx: BaseContext | None = None) -> SynchronizedBase:
    """Return an object that uses a ctypes object under a lock. TypeError: it is one already."""
    if isinstance(obj, SynchronizedBase):
        raise TypeError("object already synchronized")
    if isinstance(obj, _SimpleType):
        return Synchronized(obj, lock, ctx)
    if isinstance(obj, ctypes.Array):
        if obj._type_ is ctypes.c_char:
            return SynchronizedString(obj, lock, ctx)
        return SynchronizedArray(obj, lock, ctx)
    cls = class_cache.get(type(obj))
    if cls is None:
        cls = class_cache[type(obj)] = _make_class(type(obj))
    return cls(obj, lock, ctx)


def _make_class(type_: Any) -> type[SynchronizedBase]:
    """Make the class for a structure or union: a property for each field.

    To set another attribute is an AttributeError: it would be the wrapper's and nobody else's.
    """
    properties: dict[str, Any] = {name: make_property(name) for name in _names_in(type_)}
    properties["__setattr__"] = _set_known
    return type(f"Synchronized{type_.__name__}", (SynchronizedBase,), properties)


def _names_in(type_: Any) -> Iterator[str]:
    """Yield the fields of a structure or union, also those of its anonymous members."""
    for base in reversed(type_.__mro__):
        anonymous = vars(base).get("_anonymous_", ())
        for name, kind, *_ in vars(base).get("_fields_", ()):
            if name in anonymous:
                yield from _names_in(kind)
            yield name


def _set_known(self: SynchronizedBase, name: str, value: object) -> None:
    if not hasattr(type(self), name) and not name.startswith("_"):
        kind = type(self._obj).__name__
        raise AttributeError(f"{kind!r} has no field {name!r}", name=name, obj=self)
    object.__setattr__(self, name, value)


def make_property(name: str) -> property:
    """Return a property that gets and sets an attribute of the object under the lock."""

    def get(self: SynchronizedBase) -> Any:
        with self:
            return getattr(self._obj, name)

    def set(self: SynchronizedBase, value: Any) -> None:
        with self:
            setattr(self._obj, name, value)

    return property(get, set, doc=f"`{name}` of the object itself, under the lock.")


class SynchronizedBase(_Synchronized[_T]):
    """A ctypes object and the lock under which it is used.

    The lock is recursive unless another one was given. A program holds it around uses that belong
    together: `with v.get_lock(): v.value += 1`.
    """

    def __init__(self, obj: Any, lock: Any = None, ctx: BaseContext | None = None) -> None:
        if lock is None:
            lock = (ctx or context._default_context.get_context()).RLock()
        self._wrap(obj, lock, self._code_of(obj))

    def _code_of(self, obj: Any) -> str:
        return ""

    def __reduce__(self) -> tuple[Any, ...]:
        if (shared := context.share(self)) is not None:
            return shared
        context.assert_spawning(self)
        return synchronized, (self._obj, self._lock)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} wrapper for {self._obj}>"


if TYPE_CHECKING:

    class _Base(SynchronizedBase[_T], Generic[_T]): ...

else:
    _Base = {_T: SynchronizedBase}


class Synchronized(_Base[_T]):
    """A value under a lock."""

    if TYPE_CHECKING:
        value: _T
    else:
        value = SynchronizedBase._value

    def _code_of(self, obj: Any) -> str:
        return _code_of(type(obj))


class SynchronizedArray(_SynchronizedArray[_T], _Base[_T]):
    """An array under a lock."""

    def _code_of(self, obj: Any) -> str:
        return _code_of(obj._type_)


class SynchronizedString(SynchronizedArray):
    """An array of characters under a lock."""

    value = make_property("value")
    raw = make_property("raw")
