"""Managers: objects in a server process, which other processes use through proxies.

A manager's class registers types, each with a callable that makes an object. `manager.Name()` has
the server make an object, and returns a proxy of it. Servers may be on other machines. The parts
lie in _managers; programs find all of them under the name of this module.
"""

from __future__ import annotations

import os
import sys

from . import process
from ._managers import forget_key, know_key
from .context import ProcessError
from .util import abstract_sockets_supported

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, ClassVar, Self

    from ._managers import peers as _peers
    from ._managers.late import Late
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

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]


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
        return _listener_client(self._serializer)[1]

    @property
    def _Listener(self) -> Callable[..., Any]:
        return _listener_client(self._serializer)[0]

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
        from .util import Finalize

        if initializer is None and self._can_be_late():
            from ._managers.late import Late

            Late.start(self)
            return
        server, ours = self._start_server(self._new_process(), initializer, tuple(initargs))
        self._state.value = State.STARTED
        self._know_key()
        self.shutdown = Finalize(
            self,
            type(self)._finalize_manager,
            args=(server, self._state, ours, self._shutdown_timeout),
            exitpriority=0,
        )

    def _can_be_late(self) -> bool:
        """Return whether nobody can tell a server that is started later: see _managers/late.py."""
        return False

    def _may_have_life(self) -> bool:
        """Return whether a server may be started later, and clients do without it."""
        return (
            self._serializer == "pickle"
            and not process.current_process().daemon  # which may not have a child: start() says so
            and abstract_sockets_supported
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

    def _start_server(
        self,
        new: process.BaseProcess,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> tuple[process.BaseProcess, Connection]:
        """Start the server in a new process; return this, and what it is told its end by."""
        from .connection import Pipe

        ours, theirs = Pipe()
        try:
            self._start_process(new, theirs, initializer, initargs)
            theirs.close()
            self._address = _address_from(ours, new)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        self._process = new
        self._the_peer = None
        return new, ours

    def _know_key(self) -> None:
        from .util import Finalize

        know_key(self._address, self._authkey)
        Finalize(self, forget_key, args=(self._address,), exitpriority=None)

    def _new_process(self) -> process.BaseProcess:
        """Return the server's process, which has a name and a number, and is not started."""
        new: process.BaseProcess = self._ctx.Process(target=type(self)._run_server)
        number = ":".join(map(str, new._identity))
        new.name = f"{type(self).__name__}-{number}"
        return new

    def _start_process(
        self,
        new: process.BaseProcess,
        theirs: Connection,
        initializer: Callable[..., object] | None,
        initargs: Any,
    ) -> None:
        if self._ctx._name == "fork":
            _ = self._Server  # imported here, once, instead of by every child
        new._args = (
            self._registry,
            _some_address() if self._address is None else self._address,
            bytes(self._authkey),
            self._serializer,
            theirs,
            initializer,
            initargs,
            None if self._late is None else self._late.life,
        )
        new.start()

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
        import signal

        from .util import debug

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if initializer is not None:
                initializer(*initargs)
            process.current_process().authkey = authkey
            server = cls._Server(registry, address, authkey, serializer)
            server.life = life
            if life is not None:
                from ._managers.life import give_back_inherited

                give_back_inherited(life)
        except Exception as error:
            _send_error(starter, error)
            raise SystemExit(1) from None
        debug("manager serving at %r", server.address)
        process.current_process()._manager_server = server  # type: ignore[attr-defined]
        starter.send(("serving", server.address))
        parent = process.parent_process()
        server.serve(starter, *(() if parent is None else (parent.sentinel,)))

    @staticmethod
    def _finalize_manager(
        server: process.BaseProcess, state: State, starter: Connection, timeout: float
    ) -> None:
        """End the server process: by asking, SIGTERM, SIGKILL."""
        state.value = State.SHUTDOWN
        _ask_to_stop(starter)
        if server.is_alive():
            server.join(timeout)
            for end in (server.terminate, server.kill):
                if server.is_alive():
                    from .util import info

                    info("manager still alive after %s s", timeout)
                    end()
                    server.join(timeout if end == server.terminate else None)

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
        if self._the_peer is None:
            from ._managers import peers

            self._the_peer = peers.peer_of(self._address, self._serializer, self._authkey)
        return self._the_peer

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Token, Any]:
        """Have the server make an object; return its token, and the methods that it exposes."""
        from ._managers.wire import Token

        assert self._state.value == State.STARTED, "server not yet started"
        ident, exposed = self._peer().create(typeid, args, kwds)
        return Token(typeid, self._address, ident), exposed

    def _debug_info(self) -> str:
        """Return a text about the server's objects and how many references each has."""
        late = self._late
        text = late.debug_info() if late is not None else ""
        if late is not None and not late.has_server():
            return text
        self._peer().settle()
        return text + self._peer().ask("debug_info")  # type: ignore[no-any-return]

    def _number_of_objects(self) -> int:
        """Return the number of the manager's objects that anybody refers to."""
        late = self._late
        number = late.number_of_objects() if late is not None else 0
        if late is not None and not late.has_server():
            return number
        self._peer().settle()
        return number + self._peer().ask("number_of_objects")  # type: ignore[no-any-return]

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
        _check_registration(typeid, callable, proxytype, exposed, method_to_typeid)
        if "_registry" not in cls.__dict__:
            cls._registry = cls._registry.copy()
        if proxytype is None:
            proxytype = _part("proxies", "AutoProxy")
        cls._registry[typeid] = _registered(callable, proxytype, exposed, method_to_typeid)
        if create_method:
            setattr(cls, typeid, _creator(typeid, proxytype))


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


def _creator(typeid: str, proxytype: Any) -> Callable[..., Any]:
    """Return a manager's method that makes an object and returns its proxy.

    proxytype: None for one of SyncManager's own types.
    """

    def create(self: BaseManager, /, *args: Any, **kwds: Any) -> Any:
        if self._late is not None:
            proxy = self._late.make(self, typeid, args, kwds)
            if proxy is not None:
                return proxy
        make = _own_registry()[typeid][-1] if proxytype is None else proxytype
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


def _check_registration(
    typeid: Any, make: Any, proxytype: Any, exposed: Any, method_to_typeid: Any
) -> None:
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


def _ask_to_stop(starter: Connection) -> None:
    """Tell the server that it is enough. Closing alone would not: children may have copies."""
    try:
        starter.send("stop")
    except OSError:
        return  # it has ended
    finally:
        starter.close()


def _some_address() -> str | None:
    """Return a free address: an abstract one, of which nothing is left when the server dies."""
    return f"\0mproc-{os.urandom(8).hex()}" if abstract_sockets_supported else None


def _send_error(starter: Connection, error: Exception) -> None:
    """Tell the starter why there is no server; as text, if it cannot be sent otherwise."""
    import traceback

    from .reduction import ForkingPickler

    text = "".join(traceback.format_exception(error))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
        starter.send(("error", error, text))
    except Exception:
        starter.send(("text", None, text))


def _address_from(ours: Connection, server: process.BaseProcess) -> Any:
    """Wait until the server tells its address; raise what prevented that."""
    from .connection import wait

    # The server's end may also be open in other children, so there need not be an end of file.
    if ours not in wait([ours, server.sentinel]) and not ours.poll():
        server.join()
        raise EOFError(f"{server.name} ended before it served, with exit code {server.exitcode}")
    try:
        kind, what, *text = ours.recv()
    except EOFError:
        server.join()
        raise EOFError(
            f"{server.name} ended before it served, with exit code {server.exitcode}"
        ) from None
    if kind == "serving":
        return what
    server.join()
    if kind == "text":
        from ._managers.wire import RemoteError

        raise RemoteError(*text)
    what.add_note(f"in {server.name}:\n{text[0]}")
    raise what


def _make_listener_client() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Return what makes connections, by serializer; programs may add to it."""
    from . import connection

    return {
        "pickle": (connection.Listener, connection.Client),
        "xmlrpclib": (connection.XmlListener, connection.XmlClient),
    }


def _listener_client(serializer: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    table = globals().get("listener_client") or _make_listener_client()
    found: tuple[Callable[..., Any], Callable[..., Any]] = table[serializer]
    return found


class _Late:
    """A callable that makes an object of the server's side: the module comes with the first."""

    __slots__ = ("_module", "_name")

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, /, *args: Any, **kwds: Any) -> Any:
        return _part(self._module, self._name)(*args, **kwds)

    def __reduce__(self) -> tuple[type[_Late], tuple[str, str]]:
        return _Late, (self._module, self._name)

    def __repr__(self) -> str:
        return f"<makes a {self._name}>"


def _part(module: str, name: str) -> Any:
    """Return what has a name in a module of _managers, which is imported."""
    full_name = f"{__package__}._managers.{module}"
    __import__(full_name)
    return getattr(sys.modules[full_name], name)


class _RegistryOfModule:
    """The attribute `_registry` of SyncManager until somebody needs it: proxies are imported."""

    def __get__(self, obj: object, cls: type) -> dict[str, Any]:
        SyncManager._registry = found = _own_registry().copy()
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
            and (_is_untouched() or self._registry == _own_registry())
        )


# The types of a SyncManager: what makes an object, and its proxies' type, of those in _managers.
_OWN: dict[str, tuple[Any, str]] = {
    "Queue": (_Late("referents", "Queue"), "AutoProxy"),
    "JoinableQueue": (_Late("referents", "Queue"), "AutoProxy"),
    "Event": (_Late("referents", "Event"), "EventProxy"),
    "Lock": (_Late("referents", "Lock"), "AcquirerProxy"),
    "RLock": (_Late("referents", "RLock"), "AcquirerProxy"),
    "Semaphore": (_Late("referents", "Semaphore"), "AcquirerProxy"),
    "BoundedSemaphore": (_Late("referents", "BoundedSemaphore"), "AcquirerProxy"),
    "Condition": (_Late("referents", "Condition"), "ConditionProxy"),
    "Barrier": (_Late("referents", "Barrier"), "BarrierProxy"),
    "Pool": (_Late("referents", "make_pool"), "PoolProxy"),
    "list": (list, "ListProxy"),
    "dict": (dict, "DictProxy"),
    "set": (set, "SetProxy"),
    "Value": (_Late("values", "Value"), "ValueProxy"),
    "Array": (_Late("values", "Array"), "ArrayProxy"),
    "Namespace": (_Late("values", "Namespace"), "NamespaceProxy"),
}

for _name in _OWN:
    setattr(SyncManager, _name, _creator(_name, None))
del _name

# What methods return.
_OWN["Iterator"] = None, "IteratorProxy"
_OWN["AsyncResult"] = None, "AutoProxy"

_made_registry: dict[str, Any] = {}


def _own_registry() -> dict[str, Any]:
    """Return what SyncManager has registered, made when it is first asked for."""
    if not _made_registry:
        _made_registry.update(
            {name: _registered(make, _part("proxies", kind)) for name, (make, kind) in _OWN.items()}
        )
    return _made_registry


def _is_untouched() -> bool:
    """Return whether nobody has looked at SyncManager's registry yet, or replaced it."""
    return isinstance(SyncManager.__dict__.get("_registry"), _RegistryOfModule)


# Names that most programs do without.
_ELSEWHERE = {
    **dict.fromkeys(
        (
            "AcquirerProxy", "ArrayProxy", "AutoProxy", "BarrierProxy", "BaseListProxy",
            "BasePoolProxy", "BaseProxy", "ConditionProxy", "DictProxy", "EventProxy",
            "IteratorProxy", "ListProxy", "MakeProxyType", "NamespaceProxy", "PoolProxy",
            "RebuildProxy", "SetProxy", "ValueProxy", "_BaseDictProxy", "_BaseSetProxy",
        ),
        "proxies",
    ),
    "Array": "values",
    "Namespace": "values",
    "RemoteError": "wire",
    "Server": "server",
    "all_methods": "server",
    "public_methods": "server",
    "SharedMemoryManager": "shared",
    "SharedMemoryServer": "shared",
    "Token": "wire",
    "Value": "values",
    "_SharedMemoryTracker": "shared",
    "convert_to_error": "wire",
    "dispatch": "wire",
}  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "listener_client":
            return globals().setdefault(name, _make_listener_client())
        place = _ELSEWHERE.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = _part(place, name)
        found.__module__ = __name__
        return globals().setdefault(name, found)
