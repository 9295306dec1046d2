"""Shared objects of the program that its tasks on an engine use: the program's side.

How it works. Queues, locks, values and the like lie in the memory of the program's machine, and
stay there. When a task is pickled for an engine (`context.Leaving`), each of them becomes the name
of an *entry* of the pool's server, a manager's server (_managers/server.py) that is threads of the
program's own process. What the task gets (remote.py) has the server call the object's methods,
over TCP, after both ends have proved that they know the program's key. The server makes nothing
and obeys no other call.

An entry keeps its object. The task has the entry (`Task.shared`) until it is done, since it may be
sent once more; and each process that uses the object has a reference at the server.

A thread of the server calls for one thread of a task's process, so that a lock belongs to that
thread, and an RLock to that alone. What waits looks several times a second whether its task's
process is still there.

If a process with tasks dies, or its machine is cut off for SILENCE seconds: what it waits for does
not happen; the locks and permits that it had are given back. Of a lock, the next task that takes it
gets OwnerDiedError, once, and the lock is free then; a process of the program's family that comes
first gets the lock and is not told. An item that a dead process has taken, and has not got, is in
the queue again, as the last one.
"""

from __future__ import annotations

import ctypes
import os
import threading
from weakref import WeakValueDictionary

from .. import _mproc, context, process
from .._cpython import ref as _reference
from .._managers import calls
from .._managers.server import Entry, Server
from ..context import Leaving, OwnerDiedError
from ..queues import JoinableQueue, Queue, SimpleQueue
from ..sharedctypes import SynchronizedBase
from . import remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from .._managers.server import Session
    from .cluster import Cluster

__all__ = ["Sharing", "find", "share"]

_mproc._add_containers()  # and wait_while()

_CData: Any = ctypes.c_int.__mro__[-2]  # the base of all types of ctypes


# ---- objects as the server serves them


class Shared:
    """An object of the program, with the methods that tasks may call."""

    methods: ClassVar[tuple[str, ...]] = ()

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def call(self, name: str, args: Any, kwds: Mapping[str, Any]) -> Any:
        """Call a method, which may wait as long as the client lives. ClientGone: it does not."""
        return _mproc.wait_while(_check_client, self._do, name, args, kwds)

    def _do(self, name: str, args: Any, kwds: Mapping[str, Any]) -> Any:
        own = getattr(self, f"do_{name}", None)
        return (own or getattr(self.obj, name))(*args, **kwds)

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        """Return what undoes a call whose result its client has not read; None: nothing does."""
        return None

    def owned_by(self, name: str, result: Any) -> int:
        """Return 1 if abandon() is to be called when the client has gone."""
        return 0

    def abandon(self, session: Session, number: int) -> None:
        """Give back what a client had that has gone: the thread that served it does."""

    def copy(self) -> Any:
        """Raise TypeError: there is nothing that could be sent as a whole."""
        raise TypeError(f"a {type(self.obj).__name__} cannot be copied")

    def text(self) -> str:
        """Return the object's repr()."""
        return repr(self.obj)


def _check_client() -> None:
    calls.check_client(calls.current())


class SharedLock(Shared):
    """A Lock or RLock.

    died: the client that died with it, until a client is told; till then the pool keeps this
    object, in `untold`.
    """

    methods: ClassVar[tuple[str, ...]] = ("acquire", "release", "locked")

    def __init__(self, obj: Any) -> None:
        super().__init__(obj)
        self.died: Any = None
        self.untold: dict[int, Shared] = {}

    @property
    def lock(self) -> Any:
        """What is held."""
        return self.obj

    def do_acquire(self, *args: Any, **kwds: Any) -> bool:
        """Acquire the lock. OwnerDiedError: a client died that had it, and it is free now."""
        got: bool = self.lock.acquire(*args, **kwds)
        if got and self.died is not None:
            died, self.died = self.died, None
            self.untold.pop(id(self.obj), None)
            if not getattr(self.lock, "_recover", False):
                self.lock.release()
                raise OwnerDiedError(died.pid, 0, died.name)
        return got

    def do_locked(self) -> bool:
        """Return whether anybody has the lock."""
        return bool(self.lock.locked())

    def owned_by(self, name: str, result: Any) -> int:
        """Return 1 for a client that has taken it."""
        return int(name == "acquire" and result is True)

    def abandon(self, session: Session, number: int) -> None:
        """Release the lock, if the client had it: another may have released and taken it."""
        while self.lock._is_mine():
            self.died = session.holder
            self.untold[id(self.obj)] = self
            self.lock.release()


class SharedCondition(SharedLock):
    """A Condition."""

    methods = (*SharedLock.methods, "wait", "notify", "notify_all")

    @property
    def lock(self) -> Any:
        """What is held."""
        return self.obj._lock

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        """A notification that nobody has got is for another waiter."""
        return self.obj.notify if name == "wait" and result else None


class SharedSemaphore(Shared):
    """A Semaphore: a signal, whose permits do not go back when a client dies that had some."""

    methods = ("acquire", "release", "locked", "get_value")

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        """A permit that a client has not got is given back."""
        return self.obj.release if name == "acquire" and result else None


class SharedBoundedSemaphore(SharedSemaphore):
    """A BoundedSemaphore, and how many permits each client has."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj)
        self._mutex = threading.Lock()
        self._permits: dict[Session | None, int] = {}

    def do_acquire(self, *args: Any, **kwds: Any) -> bool:
        """Take a permit."""
        got: bool = self.obj.acquire(*args, **kwds)
        if got:
            session = calls.current()
            with self._mutex:
                self._permits[session] = self._permits.get(session, 0) + 1
        return got

    def do_release(self, *args: Any, **kwds: Any) -> None:
        """Give back a permit of this client, or of another one. ValueError: there is none."""
        self.obj.release(*args, **kwds)
        session = calls.current()
        with self._mutex:
            whose = session if session in self._permits else next(iter(self._permits), None)
            if whose in self._permits:
                self._permits[whose] -= 1
                if self._permits[whose] == 0:
                    del self._permits[whose]

    def undo(self, name: str, result: Any) -> None:
        """Return None: abandon() gives it back."""

    def owned_by(self, name: str, result: Any) -> int:
        """Return 1 for a client that has a permit."""
        return int(name == "acquire" and result is True)

    def abandon(self, session: Session, number: int) -> None:
        """Give back the client's permits."""
        with self._mutex:
            mine = self._permits.pop(session, 0)
        for _ in range(mine):
            self.obj.release()


class SharedEvent(Shared):
    """An Event."""

    methods = ("is_set", "set", "clear", "wait")


class SharedBarrier(Shared):
    """A Barrier. Its action is called here, if the last to arrive is a task."""

    methods = ("wait", "abort", "reset", "__getattribute__")

    def do___getattribute__(self, name: str) -> Any:
        """Return a number that the barrier has."""
        if name not in ("parties", "n_waiting", "broken"):
            raise AttributeError(f"'Barrier' object has no attribute {name!r}")
        return getattr(self.obj, name)


class SharedQueue(Shared):
    """A Queue."""

    methods: ClassVar[tuple[str, ...]] = (
        "put", "get", "put_nowait", "get_nowait", "put_many", "get_many", "qsize", "empty", "full",
    )  # fmt: skip

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        """What nobody has got is put back, as the last item."""
        if name in ("get", "get_nowait"):
            return lambda: self._put_back([result])
        return (lambda: self._put_back(result)) if name == "get_many" else None

    def _put_back(self, items: list[Any]) -> None:
        for item in items:
            self.obj.put(item)


class SharedJoinableQueue(SharedQueue):
    """A JoinableQueue."""

    methods = (*SharedQueue.methods, "task_done", "join")

    def _put_back(self, items: list[Any]) -> None:
        for item in items:
            self.obj.put(item)
            self.obj.task_done()  # it was counted when it was put first


class SharedSimpleQueue(SharedQueue):
    """A SimpleQueue."""

    methods = ("put", "get", "put_many", "get_many", "empty")


class SharedValue(Shared):
    """An object of ctypes: a Value or an Array, with a lock or without."""

    methods = (
        "acquire", "release", "get", "set", "get_item", "set_item", "size", "items",
        "add", "exchange", "compare_exchange",
    )  # fmt: skip

    def do_get(self, name: str) -> Any:
        """Return an attribute. TypeError: it is memory itself."""
        return self._plain(getattr(self.obj, name))

    def do_set(self, name: str, value: Any) -> None:
        """Set an attribute. AttributeError: there is no such."""
        getattr(self.obj, name)
        setattr(self.obj, name, value)

    def do_get_item(self, key: Any) -> Any:
        """Return an item or a slice. TypeError: it is memory itself."""
        return self._plain(self.obj[key])

    def do_set_item(self, key: Any, value: Any) -> None:
        """Set an item or a slice."""
        self.obj[key] = value

    def do_size(self) -> int:
        """Return how many items there are."""
        return len(self.obj)

    def do_items(self) -> list[Any]:
        """Return all items."""
        return [self._plain(item) for item in self.obj]

    @staticmethod
    def _plain(value: Any) -> Any:
        part = value[0] if type(value) is list and value else value
        if isinstance(part, _CData):
            raise TypeError(
                f"a {type(part).__name__} is itself in the memory of the program's machine, and"
                " would be a copy here: use an Array or Value of plain numbers for what tasks share"
            )
        return value


_KINDS: tuple[tuple[Any, type[Shared], type[remote.Remote]], ...] = (
    (JoinableQueue, SharedJoinableQueue, remote.JoinableQueue),
    (Queue, SharedQueue, remote.Queue),
    (SimpleQueue, SharedSimpleQueue, remote.SimpleQueue),
    (_mproc.Lock, SharedLock, remote.Lock),
    (_mproc.RLock, SharedLock, remote.RLock),
    (_mproc.BoundedSemaphore, SharedBoundedSemaphore, remote.BoundedSemaphore),
    (_mproc.Semaphore, SharedSemaphore, remote.Semaphore),
    (_mproc.Condition, SharedCondition, remote.Condition),
    (_mproc.Event, SharedEvent, remote.Event),
    (_mproc.Barrier, SharedBarrier, remote.Barrier),
    (SynchronizedBase, SharedValue, remote.Value),
    (_CData, SharedValue, remote.Value),
)


# ---- sharing


def share(obj: Any) -> tuple[Any, ...] | None:
    """Return what an object is pickled as, if this thread pickles for an engine; None: it does not.

    TypeError: objects of that kind stay on this machine.
    """
    leaving = context.leaving()
    if leaving is None or leaving.sharing is None:
        return None
    for kind, shared, shown in _KINDS:
        if isinstance(obj, kind):
            server = leaving.sharing.server()
            entry = server.enter(obj, shared)
            leaving.shared.append(entry)
            return remote.arrive, (shown, entry.ident, server.address, _about(obj))
    return None


def _about(obj: Any) -> dict[str, Any]:
    """Return what else a task has to know of the object."""
    if isinstance(obj, SynchronizedBase):
        return {"lock": obj.get_lock(), "of": type(obj.get_obj()).__name__}
    if isinstance(obj, _CData):
        return {"of": type(obj).__name__}
    return {}


class _Known(Entry):
    """An entry that knows its ident: by that, an object that comes home is found."""

    __slots__ = ("ident", "original")

    def __init__(self, shared: Shared, ident: str) -> None:
        super().__init__(calls.Served(shared), frozenset(shared.methods), {})  # type: ignore[arg-type]
        self.original = shared.obj
        self.ident = ident


_entries: WeakValueDictionary[str, _Known] = WeakValueDictionary()


def find(ident: str) -> Any:
    """Return the object that this process has shared by that ident; None: it has not."""
    entry = _entries.get(ident)
    return None if entry is None else entry.original


class _Server(Server):
    """The server of a pool: it has what is shared, and makes nothing."""

    public = ("accept_connection", "dummy", "incref", "decref", "hold", "give")

    def __init__(self, cluster: Cluster, sharing: Sharing) -> None:
        key = bytes(process.current_process().authkey)
        super().__init__({}, (cluster.home(), 0), key, "pickle")
        self._sharing = _reference(sharing)
        self._by_object: WeakValueDictionary[int, _Known] = WeakValueDictionary()
        self._objects: WeakValueDictionary[int, Shared] = WeakValueDictionary()
        self._untold: dict[int, Shared] = {}

    def enter(self, obj: Any, kind: type[Shared]) -> _Known:
        """Return the object's entry. It keeps the object, so that no other has its id()."""
        with self._mutex:
            entry = self._by_object.get(id(obj))
            if entry is None:
                ident = f"{self.nonce}-{next(self._numbers):x}"
                made = self._objects.get(id(obj)) or kind(obj)  # an old one may still be held
                self._objects[id(obj)] = made
                if isinstance(made, SharedLock):
                    made.untold = self._untold
                entry = self._by_object[id(obj)] = _entries[ident] = _Known(made, ident)
                self._entries.put(ident, entry)
            return entry

    def _send(self, session: Session, connection: Any, reply: Any) -> None:
        with Leaving(self._sharing()):
            super()._send(session, connection, reply)


class Sharing:
    """What a pool has for what its tasks share: a server, once something is shared."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._starting = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def server(self) -> _Server:
        """Return the server, which is started now if it was not. OSError: it cannot be."""
        with self._starting:
            if self._server is None:
                if self._closed:
                    raise RuntimeError("the pool has ended")
                self._server = _Server(self._cluster, self)
                self._thread = threading.Thread(
                    target=self._server.serve, name="mproc-shared", daemon=True
                )
                self._thread.start()
            return self._server

    def close(self) -> None:
        """End the server, if there is one."""
        with self._starting:
            self._closed = True
            server, thread = self._server, self._thread
        if server is not None and thread is not None:
            server.stop()
            thread.join()


def _after_fork_in_child() -> None:
    _entries.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
