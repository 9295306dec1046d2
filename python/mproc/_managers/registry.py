"""What a manager's class has registered: the types whose objects its server makes."""

from __future__ import annotations

import os

from .._cpython import RLock
from ..managers import _creator, _part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_copying = RLock()  # a class may register at another one when it is changed


def _after_fork_in_child() -> None:
    global _copying
    _copying = RLock()  # a thread of the parent may have had it


os.register_at_fork(after_in_child=_after_fork_in_child)


def register(
    cls: Any,
    typeid: Any,
    make: Any,
    proxytype: Any,
    exposed: Any,
    method_to_typeid: Any,
    create_method: bool,
) -> None:
    """Register a type: BaseManager.register(). TypeError."""
    _check(typeid, make, proxytype, exposed, method_to_typeid)
    if "_registry" not in cls.__dict__:
        inherited = cls._registry
        with _copying:
            if "_registry" not in cls.__dict__:  # no other thread was faster
                cls._registry = inherited.copy()
    if proxytype is None:
        proxytype = _part("proxies", "AutoProxy")
    cls._registry[typeid] = _registered(make, proxytype, exposed, method_to_typeid)
    if create_method:
        setattr(cls, typeid, _creator(typeid, proxytype))


def _check(typeid: Any, make: Any, proxytype: Any, exposed: Any, method_to_typeid: Any) -> None:
    if not isinstance(typeid, str):
        raise TypeError(f"the name of a type must be a str, not {typeid!r}")
    for what, value in (("callable", make), ("proxytype", proxytype)):
        if value is not None and not callable(value):
            raise TypeError(f"{what} of {typeid!r} must be a callable, not {value!r}")
    names = [*(exposed or ())]
    for pair in (method_to_typeid or {}).items():
        names += pair
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a name among the methods of {typeid!r} must be a str, not {name!r}")


def _registered(
    make: Any, proxytype: Any, exposed: Any = None, method_to_typeid: Any = None
) -> tuple[Any, ...]:
    """Return what a registry has of a type."""
    exposed = exposed or getattr(proxytype, "_exposed_", None) or None
    method_to_typeid = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None) or None
    return (
        make,
        None if exposed is None else tuple(exposed),
        None if method_to_typeid is None else dict(method_to_typeid),
        proxytype,
    )


# ---- the types of a SyncManager


class _Maker:
    """A callable that makes an object of the server's side: the module comes with the first."""

    __slots__ = ("_module", "_name")

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, /, *args: Any, **kwds: Any) -> Any:
        return _part(self._module, self._name)(*args, **kwds)

    def __reduce__(self) -> tuple[type[_Maker], tuple[str, str]]:
        return _Maker, (self._module, self._name)

    def __repr__(self) -> str:
        return f"<makes a {self._name}>"


# What makes an object, and its proxies' type, of those in _managers.
_OWN: dict[str, tuple[Any, str]] = {
    "Queue": (_Maker("referents", "Queue"), "AutoProxy"),
    "JoinableQueue": (_Maker("referents", "Queue"), "AutoProxy"),
    "Event": (_Maker("referents", "Event"), "EventProxy"),
    "Lock": (_Maker("referents", "Lock"), "AcquirerProxy"),
    "RLock": (_Maker("referents", "RLock"), "AcquirerProxy"),
    "Semaphore": (_Maker("referents", "Semaphore"), "AcquirerProxy"),
    "BoundedSemaphore": (_Maker("referents", "BoundedSemaphore"), "AcquirerProxy"),
    "Condition": (_Maker("referents", "Condition"), "ConditionProxy"),
    "Barrier": (_Maker("referents", "Barrier"), "BarrierProxy"),
    "Pool": (_Maker("referents", "make_pool"), "PoolProxy"),
    "list": (list, "ListProxy"),
    "dict": (dict, "DictProxy"),
    "set": (set, "SetProxy"),
    "Value": (_Maker("values", "Value"), "ValueProxy"),
    "Array": (_Maker("values", "Array"), "ArrayProxy"),
    "Namespace": (_Maker("values", "Namespace"), "NamespaceProxy"),
    # What methods return.
    "Iterator": (None, "IteratorProxy"),
    "AsyncResult": (None, "AutoProxy"),
}


def own() -> dict[str, Any]:
    """Return what SyncManager has registered, made when it is first asked for."""
    made: dict[str, Any] | None = globals().get("_made")
    if made is None:
        mine = {
            name: _registered(make, _part("proxies", kind)) for name, (make, kind) in _OWN.items()
        }
        made = globals().setdefault("_made", mine)  # of several threads the first one's counts
    return made
