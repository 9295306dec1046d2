"""Proxies: objects that stand for an object of a manager's server.

A proxy's methods send requests (`_callmethod`) to the peer that stands for the server (peers.py).
In the server's own process they call the server itself, and there the proxy keeps the object: it
needs no count.

A proxy is pickled as its token. Where it is unpickled, it takes a reference of its own; until then
the server keeps the object. A child that is being started is given a reference with it, and so is a
task on an engine the server's key, if that is not the program's.
"""

from __future__ import annotations

import os
import sys
from time import monotonic as _monotonic

from .. import process
from .._cpython import MutableMapping, MutableSequence, MutableSet
from ..context import get_spawning_popen, is_leaving
from ..managers import hashable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import GenericAlias
    from typing import Any, ClassVar, Self

    from .direct.base import Direct
    from .wire import Token
else:
    GenericAlias = type(list[int])

_PLAIN_KEYS = frozenset((str, int, bytes))
PLAIN_VALUES = frozenset((int, str, float, bytes, bool, type(None)))

_PUBLIC_MODULE = "mproc.managers"  # the module by which programs and pickles find all this


class BaseProxy:
    """The base of all proxies.

    str() returns that of the object, repr() the proxy's own; deepcopy() copies the object.
    """

    _exposed_: ClassVar[Any] = ()
    _method_to_typeid_: ClassVar[dict[str, str]] = {}
    _isauto = False
    _address_to_local: ClassVar[dict[Any, Any]] = {}  # for programs that forget a server by it
    _direct: Direct | None = None  # the object, if it lies in the arena
    _table: Any = None  # what a list, dict, Value or Namespace there is made of
    _lock: Any = None  # what a lock there is made of
    _flags: Any = None  # the state of its manager (life.py)
    _reference: object = None  # what keeps the object at a server

    def __init__(
        self,
        token: Token,
        serializer: str,
        manager: Any = None,
        authkey: bytes | None = None,
        exposed: Iterable[str] | None = None,
        incref: bool = True,
        manager_owned: bool = False,
    ) -> None:
        from . import peers

        if authkey is None:
            authkey = manager._authkey if manager is not None else None
        key = process.AuthenticationString(
            process.current_process().authkey if authkey is None else authkey
        )
        self._token = token
        self._id = token.id
        self._serializer = serializer
        self._manager = manager
        self._authkey = key
        self._owned_by_manager = manager_owned
        server = peers.server_of(token.id)
        self._server_pid = os.getpid() if server is not None else None
        self._peer: Any = server or peers.peer_of(token.address, serializer, key)
        if incref:
            self._incref()

    def __getattr__(self, name: str) -> Any:
        if self._direct is not None:
            if name == "_token":
                from .late import need_server
                from .life import describe
                from .wire import Token

                describe(self._direct)  # a program may give the token to anybody
                need_server(self._direct.life)
                return Token(self._direct.typeid, self._direct.life.address, self._id)
            if name == "_authkey":
                from .._current import manager_keys

                key = manager_keys.get(hashable(self._direct.life.address))
                return process.current_process().authkey if key is None else key
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _close(self) -> Giving:
        """What gives the reference back when it is called, before the proxy goes."""
        return Giving(self)

    def _incref(self) -> None:
        """Keep the object as long as the proxy lives."""
        if self._direct is None and self._reference is None:
            self._reference = self._peer.take(self._id)

    def _callmethod(
        self,
        methodname: str,
        args: Any = (),
        kwds: Mapping[str, Any] = {},
    ) -> Any:
        """Call a method of the object; return its result, or a proxy of that if it stays there.

        An exception of the method is raised here. RemoteError: another error at the server.
        EOFError or OSError (mostly a ConnectionError): the server has ended.
        """
        if self._direct is not None:
            return self._direct.call(methodname, args, kwds)
        kind, result = self._reach().request(self._id, methodname, args, kwds)
        if kind == "#RETURN":
            return result
        if kind == "#PROXY":
            return self._proxy_of_result(*result)
        from .wire import convert_to_error

        try:
            raise convert_to_error(kind, result)
        finally:
            del result  # or it would be in a cycle with its traceback

    def _reach(self) -> Any:
        """Return what answers requests: the server in its own process, a peer in any other."""
        if self._server_pid is not None and self._server_pid != os.getpid():
            from . import peers

            self._peer = peers.peer_of(self._token.address, self._serializer, self._authkey)
            self._server_pid = self._reference = None  # last: other threads look at it
        return self._peer

    def _proxy_of_result(self, exposed: Any, token: Token) -> Any:
        if self._manager is not None:
            registry = self._manager._registry
        else:
            from ..managers import SyncManager

            registry = SyncManager._registry
        make = registry[token.typeid][-1] if token.typeid in registry else AutoProxy
        token.address = self._token.address  # the one by which this process reaches the server
        self._peer.received(token.id)
        try:
            return make(
                token,
                self._serializer,
                manager=self._manager,
                authkey=self._authkey,
                exposed=exposed,
            )
        finally:
            self._peer.drop_received(token.id)

    def _getvalue(self) -> Any:
        """Return a copy of the object."""
        return self._callmethod("#GETVALUE")

    def __reduce__(self) -> tuple[Any, ...]:
        if self._direct is not None:
            return self._direct.reduce(self, self._exposed_ if self._isauto else type(self))
        from . import peers

        kwds: dict[str, Any] = {}
        popen = get_spawning_popen()
        anchor = None
        if popen is not None:
            kwds["authkey"] = self._authkey
            if self._server_pid is None:
                anchor = self._peer.give_to_child(self._id, popen)
        else:
            kwds.update(key_for_nodes(self))
            peers.pickled(self._id, self._reference)
        if anchor is not None:
            kwds["_anchor"] = anchor
        elif self._reference is not None:
            sent = self._reach().sent(self._id)
            if sent is not None and not _stays():
                kwds["_sent"] = sent  # otherwise the server keeps it: no load is the last
        if self._isauto:
            kwds["exposed"] = self._exposed_
            return RebuildProxy, (AutoProxy, self._token, self._serializer, kwds)
        return RebuildProxy, (type(self), self._token, self._serializer, kwds)

    def __deepcopy__(self, memo: object) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        try:
            return self._callmethod("__repr__")  # type: ignore[no-any-return]
        except Exception:
            return repr(self)[:-1] + "; '__str__()' failed>"


_kept: list[object] = []  # references that proxies are not to give back


class Giving:
    """Gives a proxy's reference back: programs know it as `proxy._close`, a util.Finalize.

    An object that lies in the arena is given back with its last proxy.
    """

    def __init__(self, proxy: BaseProxy) -> None:
        self._proxy = proxy

    def __call__(self, *_: object) -> None:
        """Give the reference back, if the proxy has it still."""
        self._proxy._reference = None

    def still_active(self) -> bool:
        """Return whether the proxy has a reference that it will give back."""
        reference = self._proxy._reference
        return self._proxy._direct is not None or (reference is not None and reference not in _kept)

    def cancel(self) -> None:
        """Have the object stay at the server when the proxy goes, until this process ends."""
        if self._proxy._reference is not None and self.still_active():
            _kept.append(self._proxy._reference)


def _stays() -> bool:
    life = sys.modules.get("mproc._managers.life")
    return life is not None and life.stays()


def key_for_nodes(proxy: BaseProxy) -> dict[str, Any]:
    """Return, as keyword arguments, the key that an engine's nodes lack: a manager's own."""
    if not is_leaving() or proxy._authkey == process.current_process().authkey:
        return {}
    return {"authkey": bytes(proxy._authkey)}


def direct_proxy(kind: Any, direct: Direct, manager: Any = None) -> Any:
    """Return a proxy of an object of the arena; kind: its type, or the methods that it exposes."""
    isauto = isinstance(kind, tuple)
    cls: Any = MakeProxyType(f"AutoProxy[{direct.typeid}]", kind) if isauto else kind
    proxy = cls.__new__(cls)
    made = proxy.__dict__
    made["_direct"] = direct
    made["_flags"] = direct.life.flags
    made["_table"] = getattr(direct, "table", None)
    made["_lock"] = getattr(direct, "lock", None)
    made["_isauto"] = isauto
    made["_id"] = direct.ident
    made["_serializer"] = "pickle"
    made["_manager"] = manager
    made["_owned_by_manager"] = False
    return proxy


def RebuildProxy(
    func: Callable[..., Any], token: Token, serializer: str, kwds: dict[str, Any]
) -> Any:
    """Return the proxy that was pickled."""
    from . import peers

    anchor = kwds.pop("_anchor", None)
    if anchor is not None:
        peer = peers.peer_of(token.address, serializer, kwds["authkey"])
        peer.inherit(token.id, *anchor)
    else:
        peers.complete(token, kwds)
    sent = kwds.pop("_sent", None)
    if sent is None:
        return func(token, serializer, **kwds)
    with peers.arrival(token.id, *sent):
        return func(token, serializer, **kwds)


def _forwarding(name: str) -> Callable[..., Any]:
    """Return a method that calls the object's method of that name."""

    def method(self: BaseProxy, /, *args: Any, **kwds: Any) -> Any:
        return self._callmethod(name, args, kwds)

    method.__name__ = method.__qualname__ = name
    method.__module__ = _PUBLIC_MODULE
    return method


_made: dict[tuple[str, tuple[str, ...]], type[BaseProxy]] = {}


def MakeProxyType(
    name: str,
    exposed: Iterable[str],
    _cache: dict[tuple[str, tuple[str, ...]], type[BaseProxy]] = _made,
) -> type[BaseProxy]:
    """Return a type of proxies, of that name, with these methods."""
    exposed = tuple(exposed)
    known = _cache.get((name, exposed))
    if known is None:
        body: dict[str, Any] = {method: _forwarding(method) for method in exposed}
        body.update(_exposed_=exposed, __module__=_PUBLIC_MODULE)
        known = _cache.setdefault((name, exposed), type(name, (BaseProxy,), body))
    return known


def AutoProxy(
    token: Token,
    serializer: str,
    manager: Any = None,
    authkey: bytes | None = None,
    exposed: Iterable[str] | None = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> BaseProxy:
    """Return a proxy with the methods that the object exposes: the server knows which."""
    if exposed is None:
        asker = BaseProxy(token, serializer, manager, authkey, incref=False)
        exposed = asker._peer.ask("get_methods", token)
    kind = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)
    proxy = kind(
        token, serializer, manager=manager, authkey=authkey, incref=incref,
        manager_owned=manager_owned,
    )  # fmt: skip
    proxy._isauto = True
    proxy._exposed_ = tuple(exposed)  # type: ignore[misc]
    return proxy


# ---- the types that all managers know


class IteratorProxy(BaseProxy):
    """An iterator or a generator."""

    _exposed_ = ("__next__", "send", "throw", "close")

    def __iter__(self) -> Self:
        return self

    def __next__(self, *args: Any) -> Any:
        return self._callmethod("__next__", args)

    def send(self, *args: Any) -> Any:
        """Send a value to a generator; return what it yields."""
        return self._callmethod("send", args)

    def throw(self, *args: Any) -> Any:
        """Raise an exception in a generator; return what it yields."""
        return self._callmethod("throw", args)

    def close(self, *args: Any) -> Any:
        """End a generator."""
        return self._callmethod("close", args)


class AcquirerProxy(BaseProxy):
    """A lock or a semaphore."""

    _exposed_: ClassVar[Any] = ("acquire", "release", "locked")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire it; return whether that succeeded in time."""
        lock = self._lock
        plain = blocking is True and timeout is None
        if plain and lock is not None and self._flags[0] and lock.acquire(False):
            return True
        args = (blocking,) if timeout is None else (blocking, timeout)
        return self._callmethod("acquire", args)  # type: ignore[no-any-return]

    def release(self) -> None:
        """Release it."""
        lock = self._lock
        if lock is not None and self._flags[0]:
            try:
                lock.release()
                return
            except (ValueError, AssertionError):
                pass  # below, it fails with another error
        self._callmethod("release")

    def locked(self) -> bool:
        """Return whether acquire() would have to wait."""
        return self._callmethod("locked")  # type: ignore[no-any-return]

    def __enter__(self) -> bool:
        return AcquirerProxy.acquire(self)

    def __exit__(self, *exc_info: object) -> None:
        AcquirerProxy.release(self)


class ConditionProxy(AcquirerProxy):
    """A condition variable."""

    _exposed_ = ("acquire", "release", "locked", "wait", "notify", "notify_all")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a notification; return whether there was one in time."""
        return self._callmethod("wait", (timeout,))  # type: ignore[no-any-return]

    def notify(self, n: int = 1) -> None:
        """Wake up to n waiters."""
        self._callmethod("notify", (n,))

    def notify_all(self) -> None:
        """Wake all waiters."""
        self._callmethod("notify_all")

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until the predicate, called here, is true; return its last result."""
        deadline = None if timeout is None else _monotonic() + timeout
        result = predicate()
        while not result:
            left = None
            if deadline is not None:
                left = deadline - _monotonic()
                if left <= 0:
                    break
            self.wait(left)
            result = predicate()
        return result


class EventProxy(BaseProxy):
    """A flag."""

    _exposed_ = ("is_set", "set", "clear", "wait")

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._callmethod("is_set")  # type: ignore[no-any-return]

    def set(self) -> None:
        """Set the flag."""
        self._callmethod("set")

    def clear(self) -> None:
        """Clear the flag."""
        self._callmethod("clear")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set; return whether it is."""
        return self._callmethod("wait", (timeout,))  # type: ignore[no-any-return]


class BarrierProxy(BaseProxy):
    """Parties that wait for each other."""

    _exposed_ = ("__getattribute__", "wait", "abort", "reset")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others; return a number, different for each."""
        return self._callmethod("wait", (timeout,))  # type: ignore[no-any-return]

    def abort(self) -> None:
        """Break the barrier."""
        self._callmethod("abort")

    def reset(self) -> None:
        """Make the barrier as new; its waiters get BrokenBarrierError."""
        self._callmethod("reset")

    @property
    def parties(self) -> int:
        """The number of parties."""
        return self._callmethod("__getattribute__", ("parties",))  # type: ignore[no-any-return]

    @property
    def n_waiting(self) -> int:
        """The number of parties that wait."""
        return self._callmethod("__getattribute__", ("n_waiting",))  # type: ignore[no-any-return]

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self._callmethod("__getattribute__", ("broken",))  # type: ignore[no-any-return]


class NamespaceProxy(BaseProxy):
    """An object to set attributes on; names that begin with an underscore are the proxy's own."""

    _exposed_ = ("__getattribute__", "__setattr__", "__delattr__")

    def __getattr__(self, key: str) -> Any:
        if key[:1] == "_":
            return BaseProxy.__getattr__(self, key)
        if self._table is not None and self._flags[0]:
            try:
                return self._table[key]
            except KeyError:
                pass
        return self._callmethod("__getattribute__", (key,))

    def __setattr__(self, key: str, value: Any) -> None:
        if key[:1] == "_":
            object.__setattr__(self, key, value)
        elif self._table is not None and self._flags[0] and type(value) in PLAIN_VALUES:
            self._table[key] = value
        else:
            self._callmethod("__setattr__", (key, value))

    def __delattr__(self, key: str) -> None:
        if key[:1] == "_":
            object.__delattr__(self, key)
        else:
            self._callmethod("__delattr__", (key,))


class ValueProxy(BaseProxy):
    """An object with a value."""

    _exposed_ = ("get", "set")

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]

    def get(self) -> Any:
        """Return the value."""
        if self._table is not None and self._flags[0]:
            return self._table[""]
        return self._callmethod("get")

    def set(self, value: Any) -> None:
        """Set the value."""
        if self._table is not None and self._flags[0] and type(value) in PLAIN_VALUES:
            self._table[""] = value
        else:
            self._callmethod("set", (value,))

    value = property(get, set)


def _plain(value: Any) -> Any:
    """Return an operand for the server: a copy of the object, if it is a proxy."""
    return value._getvalue() if isinstance(value, BaseProxy) else value


def _with_plain(name: str) -> Callable[..., Any]:
    """Return an operator's method."""

    def method(self: BaseProxy, value: Any, /) -> Any:
        return self._callmethod(name, (_plain(value),))

    method.__name__ = method.__qualname__ = name
    return method


def _in_place(name: str) -> Callable[..., Any]:
    """Return an operator's method that changes the object."""

    def method(self: BaseProxy, value: Any, /) -> Any:
        self._callmethod(name, (_plain(value),))
        return self

    method.__name__ = method.__qualname__ = name
    return method


BaseListProxy = MakeProxyType(
    "BaseListProxy",
    (
        "__add__", "__contains__", "__delitem__", "__getitem__", "__imul__", "__len__", "__mul__",
        "__reversed__", "__rmul__", "__setitem__", "append", "clear", "copy", "count", "extend",
        "index", "insert", "pop", "remove", "reverse", "sort",
    ),
)  # fmt: skip


class ListProxy(BaseListProxy):  # type: ignore[valid-type, misc]
    """A list."""

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]

    __add__ = _with_plain("__add__")

    # All that is done where the list lies in the arena.

    def __getitem__(self, key: Any, /) -> Any:
        if self._table is not None and self._flags[0]:
            return self._table[key]
        return self._callmethod("__getitem__", (key,))

    def __setitem__(self, key: Any, value: Any, /) -> None:
        if (
            self._table is not None
            and self._flags[0]
            and type(key) is int
            and type(value) in PLAIN_VALUES
        ):
            self._table[key] = value
        else:
            self._callmethod("__setitem__", (key, value))

    def append(self, value: Any, /) -> None:
        """Add a value behind the last one."""
        if self._table is not None and self._flags[0] and type(value) in PLAIN_VALUES:
            self._table.append(value)
        else:
            self._callmethod("append", (value,))

    def __iadd__(self, value: Iterable[Any]) -> Self:  # type: ignore[misc]
        self._callmethod("extend", (value,))
        return self

    def __imul__(self, value: int) -> Self:
        self._callmethod("__imul__", (value,))
        return self


_BaseDictProxy = MakeProxyType(
    "_BaseDictProxy",
    (
        "__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__",
        "__reversed__", "__ror__", "__setitem__", "clear", "copy", "fromkeys", "get", "items",
        "keys", "pop", "popitem", "setdefault", "update", "values",
    ),
)  # fmt: skip
_BaseDictProxy._method_to_typeid_ = {"__iter__": "Iterator"}


class Keyed:
    """A value of a dict in the arena, and the key, where the table has an equal one instead."""

    __slots__ = ("key", "value")

    def __init__(self, key: Any, value: Any) -> None:
        self.key, self.value = key, value

    def __reduce__(self) -> tuple[Any, ...]:
        return Keyed, (self.key, self.value)


class DictProxy(_BaseDictProxy):  # type: ignore[valid-type, misc]
    """A dict. keys(), values() and items() return lists of what is there at that time."""

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]

    __or__ = _with_plain("__or__")
    __ror__ = _with_plain("__ror__")
    __ior__ = _in_place("__ior__")

    # All that is done where the dict lies in the arena, and keys and values need no thought.

    def __getitem__(self, key: Any, /) -> Any:
        if self._table is not None and self._flags[0] == 1 and type(key) in _PLAIN_KEYS:
            try:
                value = self._table[key]
                return value if type(value) is not Keyed else value.value
            except ValueError:  # too long a key for a table
                pass
        return self._callmethod("__getitem__", (key,))

    def __setitem__(self, key: Any, value: Any, /) -> None:
        if (
            self._table is not None
            and self._flags[0] == 1
            and type(key) in _PLAIN_KEYS
            and type(value) in PLAIN_VALUES
        ):
            try:
                self._table[key] = value
                return
            except ValueError:
                pass
        self._callmethod("__setitem__", (key, value))

    def __contains__(self, key: Any, /) -> Any:
        if self._table is not None and self._flags[0] == 1 and type(key) in _PLAIN_KEYS:
            try:
                return key in self._table
            except ValueError:
                pass
        return self._callmethod("__contains__", (key,))


_SET_OPERATORS = (
    "__and__", "__ge__", "__gt__", "__le__", "__lt__", "__or__", "__rand__", "__ror__", "__rsub__",
    "__rxor__", "__sub__", "__xor__",
)  # fmt: skip
_SET_CHANGES = ("__iand__", "__ior__", "__isub__", "__ixor__")

_BaseSetProxy = MakeProxyType(
    "_BaseSetProxy",
    (
        *_SET_OPERATORS, *_SET_CHANGES, "__contains__", "__iter__", "__len__", "add", "clear",
        "copy", "difference", "difference_update", "discard", "intersection",
        "intersection_update", "isdisjoint", "issubset", "issuperset", "pop", "remove",
        "symmetric_difference", "symmetric_difference_update", "union", "update",
    ),
)  # fmt: skip
_BaseSetProxy._method_to_typeid_ = {"__iter__": "Iterator"}


class SetProxy(_BaseSetProxy):  # type: ignore[valid-type, misc]
    """A set."""

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]


for _name in _SET_OPERATORS:
    setattr(SetProxy, _name, _with_plain(_name))
for _name in _SET_CHANGES:
    setattr(SetProxy, _name, _in_place(_name))

ArrayProxy = MakeProxyType("ArrayProxy", ("__len__", "__getitem__", "__setitem__"))

BasePoolProxy = MakeProxyType(
    "BasePoolProxy",
    (
        "apply", "apply_async", "close", "imap", "imap_unordered", "join", "map", "map_async",
        "starmap", "starmap_async", "terminate",
    ),
)  # fmt: skip
BasePoolProxy._method_to_typeid_ = {
    "apply_async": "AsyncResult",
    "map_async": "AsyncResult",
    "starmap_async": "AsyncResult",
    "imap": "Iterator",
    "imap_unordered": "Iterator",
}


class PoolProxy(BasePoolProxy):  # type: ignore[valid-type, misc]
    """A pool of processes, which are children of the server."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()


MutableSequence.register(BaseListProxy)
MutableMapping.register(_BaseDictProxy)
MutableSet.register(_BaseSetProxy)

# Pickles and reprs know all of this by the name of the module that programs import.
for _thing in (
    AcquirerProxy, ArrayProxy, AutoProxy, BarrierProxy, BaseListProxy, BasePoolProxy, BaseProxy,
    ConditionProxy, DictProxy, EventProxy, IteratorProxy, ListProxy, MakeProxyType, NamespaceProxy,
    PoolProxy, RebuildProxy, SetProxy, ValueProxy, _BaseDictProxy, _BaseSetProxy,
):  # fmt: skip
    _thing.__module__ = _PUBLIC_MODULE
del _thing, _name
