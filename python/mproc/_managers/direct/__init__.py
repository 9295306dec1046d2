"""Objects of a manager that lie in the arena: each call is made by the process that makes it.

* base: what they have in common, and how proxies of them are pickled
* keys: which keys of a dict or set are equal
* dicts, sets, lists, arrays, values, namespaces, queues
* locks (also RLocks), semaphores, events, conditions, barriers
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Direct

_PLACES = {
    "dict": ("dicts", "DictDirect"),
    "list": ("lists", "ListDirect"),
    "set": ("sets", "SetDirect"),
    "Array": ("arrays", "ArrayDirect"),
    "Value": ("values", "ValueDirect"),
    "Namespace": ("namespaces", "NamespaceDirect"),
    "Lock": ("locks", "LockDirect"),
    "RLock": ("locks", "RLockDirect"),
    "Semaphore": ("semaphores", "SemaphoreDirect"),
    "BoundedSemaphore": ("semaphores", "BoundedSemaphoreDirect"),
    "Condition": ("conditions", "ConditionDirect"),
    "Barrier": ("barriers", "BarrierDirect"),
    "Event": ("events", "EventDirect"),
    "Queue": ("queues", "QueueDirect"),
    "JoinableQueue": ("queues", "QueueDirect"),
}


def type_of(typeid: str) -> type[Direct] | None:
    """Return the class of a manager's objects of that type; None: they do not lie in the arena."""
    place = _PLACES.get(typeid)
    if place is None:
        return None
    module = f"{__name__}.{place[0]}"
    __import__(module)
    return getattr(sys.modules[module], place[1])  # type: ignore[no-any-return]
