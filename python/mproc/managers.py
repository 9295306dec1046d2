"""Managers: objects in a server process, which other processes use through proxies.

A manager's class registers types, each with a callable that makes an object. `manager.Name()` has
the server make an object, and returns a proxy of it. Servers may be on other machines. The parts
lie in _managers; programs find all of them under the name of this module.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock as _allocate_lock

from . import _current, process
from ._cpython import ref as _ref
from ._current import Finalize as _Finalize
from ._current import manager_keys as _keys
from .context import ProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, ClassVar, Self

    from ._managers import peers as _peers
    from ._managers.life import Life
    from ._managers.proxies import AcquirerProxy as AcquirerProxy
    from ._managers.proxies import ArrayProxy as ArrayProxy
    from ._managers.proxies import AutoProxy as AutoProxy
    from ._managers.proxies import BarrierProxy as BarrierProxy
    from ._managers.proxies import BaseListProxy as BaseListProxy
    from ._managers.proxies import BasePoolProxy as BasePoolProxy
    from ._managers.proxies import BaseProxy as BaseProxy
    from ._managers.proxies import ConditionProxy as ConditionProxy
    from ._managers.proxies import DictProxy as DictProxy
    from ._managers.proxies import EventProxy as EventProxy
    from ._managers.proxies import IteratorProxy as IteratorProxy
    from ._managers.proxies import ListProxy as ListProxy
    from ._managers.proxies import MakeProxyType as MakeProxyType
    from ._managers.proxies import NamespaceProxy as NamespaceProxy
    from ._managers.proxies import PoolProxy as PoolProxy
    from ._managers.proxies import RebuildProxy as RebuildProxy
    from ._managers.proxies import SetProxy as SetProxy
    from ._managers.proxies import ValueProxy as ValueProxy
    from ._managers.proxies import _BaseDictProxy as _BaseDictProxy
    from ._managers.proxies import _BaseSetProxy as _BaseSetProxy
    from ._managers.server import Server as Server
    from ._managers.server import all_methods as all_methods
    from ._managers.server import public_methods as public_methods
    from ._managers.shared import SharedMemoryManager as SharedMemoryManager
    from ._managers.shared import SharedMemoryServer as SharedMemoryServer
    from ._managers.shared import _SharedMemoryTracker as _SharedMemoryTracker
    from ._managers.values import Array as Array
    from ._managers.values import Namespace as Namespace
    from ._managers.values import Value as Value
    from ._managers.wire import RemoteError as RemoteError
    from ._managers.wire import Token as Token
    from ._managers.wire import convert_to_error as convert_to_error
    from ._managers.wire import dispatch as dispatch
    from ._mproc import Connection
    from .context import BaseContext
    from .process import BaseProcess

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]

_current.use_begins()


# ---- the keys of servers


def hashable(address: Any) -> Any:
    """Return the address as a key of a dict: XML-RPC makes lists of tuples."""
    return tuple(address) if isinstance(address, list) else address


def know_key(address: Any, authkey: bytes) -> None:
    """Remember the key of a server, for proxies that come without one, and for children."""
    _keys[hashable(address)] = bytes(authkey)


def forget_key(address: Any) -> None:
    """Undo know_key()."""
    _keys.pop(hashable(address), None)


# ---- managers


class State:
    """Whether a manager's server is to be started, runs, or has been shut down."""

    __slots__ = ("value",)
    INITIAL = 0
    STARTED = 1
    SHUTDOWN = 2

    def __init__(self) -> None:
        self.value = State.INITIAL


class _ServerOfModule:
    """The class attribute `_Server`: the server's class, imported when it is first needed."""

    def __get__(self, obj: object, cls: type) -> Any:
        from ._managers.server import Server

        return Server


class BaseManager:
    """A server process with objects of registered types, or a connection to one that runs.

    address: where the server listens; None: a free address. authkey: the key (bytes) that its
    clients must know; None: that of the current process. serializer: 'pickle' or 'xmlrpclib'.
    shutdown_timeout: the seconds that the server has to end before it is terminated, and as many
    again before it is killed. TypeError: a key that is not bytes. KeyError: another serializer.
    """

    _registry: ClassVar[dict[str, Any]] = {}
    _Server: Any = _ServerOfModule()

    shutdown: Callable[[], None]
    _process: process.BaseProcess | None  # once started, until joined
    _late: Late | None = None  # if the server is started when it is first needed

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: BaseContext | None = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        if authkey is None:
            authkey = process.current_process().authkey
        if not isinstance(authkey, bytes):
            raise TypeError(f"authkey should be a byte string, not {authkey!r}")
        if serializer != "pickle":
            from ._managers.wire import wire_of

            wire_of(serializer)  # is there such a one?
        self._address = address
        self._authkey = process.AuthenticationString(authkey)
        self._state = State()
        self._serializer = serializer
        self._shutdown_timeout = shutdown_timeout
        self._the_peer: _peers.Peer | None = None
        if ctx is None:
            from .context import _default_context

            ctx = _default_context.get_context()
        self._ctx = ctx

    @property
    def address(self) -> Any:
        """The server's address."""
        self._need_server()
        return self._address

    def __getattr__(self, name: str) -> Any:
        if name == "_process" and self._late is not None:
            self._need_server()
            return self.__dict__.setdefault("_process", None)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _Client(self) -> Callable[..., Any]:
        return _part("starting", "listener_client")(self._serializer)[1]  # type: ignore[no-any-return]

    @property
    def _Listener(self) -> Callable[..., Any]:
        return _part("starting", "listener_client")(self._serializer)[0]  # type: ignore[no-any-return]

    # -- the server

    def get_server(self) -> Server:
        """Return a server, to be run by this process: get_server().serve_forever()."""
        self._check_initial()
        server: Server = self._Server(
            self._registry, self._address, self._authkey, self._serializer
        )
        return server

    def connect(self) -> None:
        """Connect to the server that runs at the address.

        AuthenticationError: it has another key. OSError: there is none.
        """
        self._peer().ask("dummy")
        know_key(self._address, self._authkey)
        self._state.value = State.STARTED

    def start(
        self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        """Start the server process; it calls initializer(*initargs) first.

        ProcessError: it has been started. What prevents the server from serving, or the initializer
        raises, is raised here.
        """
        self._check_initial()
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if initializer is None and self._can_be_late():
            Late.start(self)
            return
        _part("starting", "start")(self, initializer, tuple(initargs))

    def _can_be_late(self) -> bool:
        """Return whether nobody can tell a server that is started later: see Late."""
        return False

    def _may_have_life(self) -> bool:
        """Return whether a server may be started later, and clients do without it."""
        return (
            self._serializer == "pickle"
            and not process.current_process().daemon  # which may not have a child: start() says so
            and self._server_joins()
        )

    def _server_joins(self) -> bool:
        """Return whether the server's process is of the family: a program's own may not be."""
        make = getattr(self._ctx.Process, "_Popen", None)
        return getattr(make, "__module__", "").startswith(__package__)

    def _need_server(self) -> None:
        """Start the server, if that has been put off until now."""
        if self._late is not None:
            self._late.need_server(self)

    def _know_key(self) -> None:
        know_key(self._address, self._authkey)
        _Finalize(self, forget_key, args=(self._address,), exitpriority=None)

    def _new_process(self) -> process.BaseProcess:
        """Return the server's process, which has a name and a number, and is not started."""
        new: process.BaseProcess = self._ctx.Process(target=type(self)._run_server)
        number = ":".join(map(str, new._identity))
        new.name = f"{type(self).__name__}-{number}"
        return new

    @classmethod
    def _run_server(
        cls,
        registry: dict[str, Any],
        address: Any,
        authkey: bytes,
        serializer: str,
        starter: Connection,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        life: Life | None = None,
    ) -> None:
        """Be the server, until the starter says that it is enough, or has gone.

        life: that of the manager, if it has objects in the family's shared memory.
        """
        _part("starting", "run")(
            cls, registry, address, authkey, serializer, starter, initializer, initargs, life
        )

    @staticmethod
    def _finalize_manager(
        server: process.BaseProcess, state: State, starter: Connection, timeout: float
    ) -> None:
        """End the server process: by asking, SIGTERM, SIGKILL."""
        _part("starting", "end")(server, state, starter, timeout)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server process has ended, or for at most `timeout` seconds."""
        self._need_server()
        if "_process" not in self.__dict__ and self._late is None:
            raise ProcessError("this manager has started no server")
        if self._process is not None:
            self._process.join(timeout)
            if not self._process.is_alive():
                self._process = None

    def _check_initial(self) -> None:
        if self._state.value == State.STARTED:
            raise ProcessError("Already started server")
        if self._state.value == State.SHUTDOWN:
            raise ProcessError("Manager has shut down")

    def __enter__(self) -> Self:
        if self._state.value == State.INITIAL:
            self.start()
        if self._state.value != State.STARTED:
            raise ProcessError("Unable to start server: the manager has shut down")
        return self

    def __exit__(self, *exc_info: object) -> None:
        shutdown = getattr(self, "shutdown", None)
        if shutdown is not None:
            shutdown()

    # -- its objects

    def _peer(self) -> _peers.Peer:
        self._need_server()
        peer = self._the_peer
        if peer is None:
            from ._managers import peers

            peer = self._the_peer = peers.peer_of(self._address, self._serializer, self._authkey)
        return peer

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Token, Any]:
        """Have the server make an object; return its token, and the methods that it exposes."""
        from ._managers.wire import Token

        assert self._state.value == State.STARTED, "server not yet started"
        ident, exposed = self._peer().create(typeid, args, kwds)
        return Token(typeid, self._address, ident), exposed

    def _debug_info(self) -> str:
        """Return a text about the server's objects and how many references each has."""
        return _part("late", "debug_info")(self)  # type: ignore[no-any-return]

    def _number_of_objects(self) -> int:
        """Return the number of the manager's objects that anybody refers to."""
        return _part("late", "number_of_objects")(self)  # type: ignore[no-any-return]

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Iterable[str] | None = None,
        method_to_typeid: Mapping[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Register a type under a name.

        callable: makes an object; not needed by who only connects. proxytype: a type of proxies
        (default: one with the exposed methods). exposed: the names of the methods that proxies may
        call (default: those of the proxytype, or all public ones). method_to_typeid: methods whose
        results stay at the server, and what types these are. create_method: whether managers get a
        method of that name.

        TypeError: a name that is no string, a callable that is none, names that are not strings.
        """
        _part("registry", "register")(
            cls, typeid, callable, proxytype, exposed, method_to_typeid, create_method
        )


def _creator(typeid: str, proxytype: Any) -> Callable[..., Any]:
    """Return a manager's method that makes an object and returns its proxy.

    proxytype: None for one of SyncManager's own types.
    """

    def create(self: BaseManager, /, *args: Any, **kwds: Any) -> Any:
        if self._late is not None:
            proxy = (_make_late or _late_make())(self._late, self, typeid, args, kwds)
            if proxy is not None:
                return proxy
        make = _part("registry", "own")()[typeid][-1] if proxytype is None else proxytype
        token, exposed = self._create(typeid, *args, **kwds)
        try:
            return make(
                token, self._serializer, manager=self, authkey=self._authkey, exposed=exposed
            )
        finally:
            self._peer().drop_received(token.id)

    create.__name__ = typeid
    create.__qualname__ = f"BaseManager.{typeid}"
    create.__doc__ = f"Have the server make a {typeid}; return its proxy."
    return create


# ---- those without a server


class Late:
    """What a manager has whose server is started when it is first needed: _managers/late.py.

    Here is what every such manager needs: to start, to be forked, and to end without an object.
    """

    def __init__(self, manager: BaseManager) -> None:
        self._pid = os.getpid()
        self._starting = _allocate_lock()
        _lates.append(_ref(self, _lates.remove))
        self._server: tuple[BaseProcess, Connection] | None = None
        self._waiting: BaseProcess | None = manager._new_process()
        self._state = manager._state
        self._life: Life | None = None
        self._address: Any = manager._address
        self._known_address = manager._address
        if self._address is None:
            self._address = _some_address()
            self._known_address = self._address.encode()  # as the server will call it
            manager._address = self._known_address
            manager._know_key()
        manager._state.value = State.STARTED
        manager.shutdown = _Finalize(
            manager, self._shut_down, args=(manager._shutdown_timeout,), exitpriority=0
        )
        known = _ref(manager)

        def start() -> None:
            found = known()
            if found is not None and os.getpid() == self._pid:
                self.need_server(found)

        self.start_server = start
        _current.before_listing.append(start)

    @classmethod
    def start(cls, manager: BaseManager) -> None:
        """Start a manager; one with an address has a server at once. OSError: there is none."""
        wanted = manager._address
        late = manager._late = cls(manager)
        if wanted is not None:
            _part("late", "serve_at")(late, manager, wanted)

    @property
    def life(self) -> Life:
        """The manager's Life, which begins now if it has not. ConnectionRefusedError: too late."""
        if self._life is None:
            _part("late", "begin")(self)
        assert self._life is not None
        return self._life

    def has_server(self) -> bool:
        """Return whether the server has been started, as far as this process knows."""
        return self._server is not None or (
            self._life is not None and self._life.record.get("server") is not None
        )

    def need_server(self, manager: BaseManager) -> None:
        """Start the server, unless it has been started or the manager has been shut down."""
        if self._server is None and self._state.value == State.STARTED:
            _part("late", "start_server")(self, manager)

    def _shut_down(self, timeout: float) -> None:
        self._state.value = State.SHUTDOWN
        if self._life is not None:
            _part("late", "end_objects")(self._life)
        self._waiting = None
        _current.before_listing.remove(self.start_server)
        if self._server is not None:
            server, starter = self._server
            BaseManager._finalize_manager(server, self._state, starter, timeout)


_lates: list[_ref[Late]] = []  # those that are not freed


def known_lates() -> list[Late]:
    """Return what this process knows of managers without a server."""
    return [late for known in [*_lates] if (late := known()) is not None]


def _before_fork() -> None:
    for late in known_lates():
        if late._state.value == State.STARTED:
            try:
                _ = late.life
            except ConnectionRefusedError:
                continue  # another thread has shut it down


def _after_fork_in_child() -> None:
    for late in known_lates():
        late._starting = _allocate_lock()  # another thread of the parent may have had it


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


def _some_address() -> str:
    """Return a free address: an abstract one, of which nothing is left when the server dies."""
    return f"\0mproc-{os.urandom(8).hex()}"


_make_late: Any = None


def _late_make() -> Any:
    """Return what makes objects of managers without a server: late.make()."""
    global _make_late
    _make_late = _part("late", "make")
    return _make_late


# ---- the types that all managers know


def _part(module: str, name: str) -> Any:
    """Return what has a name in a module of _managers, which is imported."""
    full_name = f"{__package__}._managers.{module}"
    __import__(full_name)
    return getattr(sys.modules[full_name], name)


class _RegistryOfModule:
    """The attribute `_registry` of SyncManager until somebody needs it: proxies are imported."""

    def __get__(self, obj: object, cls: type) -> dict[str, Any]:
        # Of several threads the first one's counts: types may have been added to it already.
        found: dict[str, Any] = self.__dict__.setdefault("made", _part("registry", "own")().copy())
        SyncManager._registry = found
        return found


class SyncManager(BaseManager):
    """A manager with the types that threading, queue and the language itself have.

    list, dict, set, Namespace, Value, Array, Queue, JoinableQueue, Event, Lock, RLock, Semaphore,
    BoundedSemaphore, Condition, Barrier, Pool.

    Where a program cannot tell the difference, most of these lie in the shared memory of the
    process' family, and the server is started when it is first needed.
    """

    _registry: ClassVar[Any] = _RegistryOfModule()

    if TYPE_CHECKING:  # what is set below

        def Queue(self, maxsize: int = 0) -> queue.Queue[Any]: ...
        def JoinableQueue(self, maxsize: int = 0) -> queue.Queue[Any]: ...
        def Event(self) -> EventProxy: ...
        def Lock(self) -> AcquirerProxy: ...
        def RLock(self) -> AcquirerProxy: ...
        def Semaphore(self, value: int = 1) -> AcquirerProxy: ...
        def BoundedSemaphore(self, value: int = 1) -> AcquirerProxy: ...
        def Condition(self, lock: Any = None) -> ConditionProxy: ...
        def Barrier(
            self, parties: int, action: Callable[[], object] | None = None, timeout: Any = None
        ) -> BarrierProxy: ...
        def Pool(self, *args: Any, **kwds: Any) -> PoolProxy: ...
        def list(self, iterable: Iterable[Any] = ..., /) -> ListProxy: ...
        def dict(self, *args: Any, **kwds: Any) -> DictProxy: ...
        def set(self, iterable: Iterable[Any] = ..., /) -> SetProxy: ...
        def Value(self, typecode: Any, value: Any, lock: bool = True) -> ValueProxy: ...
        def Array(self, typecode: str, sequence: Iterable[Any], lock: bool = True) -> Any: ...
        def Namespace(self, /, **kwds: Any) -> NamespaceProxy: ...

    def _can_be_late(self) -> bool:
        return (
            type(self) is SyncManager
            and self._may_have_life()
            and (_is_untouched() or self._registry == _part("registry", "own")())
        )


for _name in (
    "Queue", "JoinableQueue", "Event", "Lock", "RLock", "Semaphore", "BoundedSemaphore",
    "Condition", "Barrier", "Pool", "list", "dict", "set", "Value", "Array", "Namespace",
):  # fmt: skip
    setattr(SyncManager, _name, _creator(_name, None))
del _name


def _is_untouched() -> bool:
    """Return whether nobody has looked at SyncManager's registry yet, or replaced it."""
    return isinstance(SyncManager.__dict__.get("_registry"), _RegistryOfModule)


if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "listener_client":
            return globals().setdefault(name, _part("starting", "make_listener_client")())
        from ._managers import PLACES

        place = PLACES.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = _part(place, name)
        found.__module__ = __name__
        return globals().setdefault(name, found)

    def __dir__():
        from ._managers import PLACES

        return sorted({*globals(), "listener_client", *PLACES})
