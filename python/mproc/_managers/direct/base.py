"""What all objects of a manager that lie in the arena have in common.

A Direct stands for such an object in a process: a proxy of it calls `call()`, where any other proxy
sends a request to a server. It does what the server's object of that type does, with the same
results and errors. Values are copies, pickled by who sets them and unpickled by who gets them.

What waits looks several times a second whether the manager has been shut down.
"""

from __future__ import annotations

import sys

from ... import _mproc
from ..._mproc import Buffer
from ...context import get_spawning_popen, is_leaving
from .. import life as _life
from ..life import Life
from ..proxies import AutoProxy, RebuildProxy, direct_proxy, key_for_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

PREFIX = "_do_"  # begins the name of what does a method
MISSING: Any = object()
NO_KEY: Mapping[str, Any] = {}
_CALLS = "mproc._managers.calls"


class Direct:
    """An object of a manager, as a process has it."""

    __slots__ = (
        "__weakref__", "described", "ident", "life", "parts", "state", "token", "typeid",
    )  # fmt: skip

    exposed: ClassVar[frozenset[str]] = frozenset()
    like: ClassVar[Any] = None  # the built-in type whose methods it has, if there is one
    shown: ClassVar[tuple[str, ...]] = ()  # the methods of its proxies, if they have no type

    def __init__(
        self, life: Life, typeid: str, ident: str, token: Buffer, parts: Any, state: Any
    ) -> None:
        self.life = life
        self.typeid = typeid
        self.ident = ident
        self.token = token
        self.parts = parts  # handles of the objects of the arena that it is made of
        self.state = state  # what else each process has to know of it
        self.described = False  # whether this process has told the manager's server what it is
        _life.know(self)

    def __init_subclass__(cls) -> None:
        expose(cls)

    @classmethod
    def made(cls, life: Life, typeid: str, *args: Any, **kwds: Any) -> Direct:
        """Return a new object. Errors are those of making one of the arguments."""
        parts, state = cls.make(*args, **kwds)
        ident, token = _life.keep(life, parts)
        direct = cls(life, typeid, ident, token, parts, state)
        direct.fill(*args, **kwds)
        return direct

    @staticmethod
    def make(*args: Any, **kwds: Any) -> tuple[Any, Any]:
        """Return the parts and the state of a new object."""
        raise NotImplementedError

    def fill(self, *args: Any, **kwds: Any) -> None:
        """Give a new object its contents."""

    def call(self, name: str, args: Any, kwds: Mapping[str, Any]) -> Any:
        """Call a method. RemoteError: there is no such; ConnectionError: the manager has ended."""
        self.life.check()
        if name in self.exposed:
            try:
                return getattr(self, PREFIX + name)(*args, **kwds)
            except TypeError:
                self.refuse(name, args, kwds)
                raise
        if name in ("__repr__", "__str__"):
            return self.text()
        if name == "#GETVALUE":
            return self.copy()
        from ..wire import RemoteError

        known = sorted(self.exposed)
        raise RemoteError(
            f"AttributeError: method {name!r} of {self.typeid!r} object is not in exposed={known}\n"
        )

    def refuse(self, name: str, args: Any, kwds: Mapping[str, Any]) -> None:
        """Raise what an object of the built-in type raises for such arguments, if it does.

        It is an empty one, so the call changes nothing.
        """
        if self.like is not None:
            try:
                getattr(self.like(), name)(*args, **kwds)
            except TypeError as error:
                raise error from None
            except Exception:
                return  # the arguments are right

    def text(self) -> str:
        """Return the object's repr()."""
        return f"<{self.typeid} {self.ident} of a manager>"

    def copy(self) -> Any:
        """Return a copy of the object. RemoteError: objects of the type have none."""
        from ..wire import RemoteError

        raise RemoteError(f"Unserializable message: a {self.typeid} cannot be copied\n")

    def waiting(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return call(*args), which may wait, as long as the manager lives."""
        return _mproc.wait_while(self.check, call, *args)

    def check(self) -> None:
        """Raise ConnectionRefusedError if the manager has been shut down.

        ClientGone: the client of another family has died for which the server waits.
        """
        self.life.check()
        calls = sys.modules.get(_CALLS)  # servers alone have it
        if calls is not None:
            calls.check_client(calls.current())

    # ---- for clients of other families, which the server calls for

    def undo(self, name: str, result: Any) -> Callable[[], object] | None:
        """Return what undoes a call whose result its client has not read; None: nothing does."""
        return None

    def owned_by(self, name: str, result: Any) -> int:
        """Return how many permits the call has given its client that go back when it dies."""
        return 0

    def abandon(self, session: Any, number: int) -> None:
        """Release it so often for a client that has gone, in the thread that served it."""
        for _ in range(number):
            self.call("release", (), {})

    # ---- on the way

    def reduce(self, proxy: Any, kind: Any) -> tuple[Any, ...]:
        """Return what a proxy is pickled as; kind: its type, or the methods that it exposes."""
        life = self.life
        popen = get_spawning_popen()
        about = kind, type(self), self.typeid, self.ident, self.state, life.nonce, life.keeper
        where = life.buffer.address, life.record.address
        parts = tuple((type(part), part.address) for part in self.parts)
        if popen is not None:
            from ...reduction import give_to_child

            return _given, (
                *about,
                tuple(give_to_child(address) for address in where),
                give_to_child(self.token.address),
                tuple((cls, give_to_child(address)) for cls, address in parts),
            )
        serial = _life.count_pickle(self)
        address = None
        if serial:  # another family may load it, and asks the server
            _life.describe(self)
            address = life.address
            if is_leaving() or not _mproc.stays_in_family(proxy):
                from ..late import need_server

                need_server(life)
        if is_leaving():  # for an engine's nodes, which ask the server
            key = key_for_nodes(proxy)
            return _of_server, (kind, self.typeid, self.ident, serial, life.address, key)
        token = self.token, self.token.address
        return _sent, (*about, life.buffer, where, *token, parts, serial, address)


def _given(
    kind: Any, cls: Any, typeid: str, ident: str, state: Any, nonce: bytes,
    keeper: tuple[int, int], where: tuple[int, int], token: int, parts: Any,
) -> Any:  # fmt: skip
    """Return the proxy that a child which was started has been given."""
    life = _life.adopt_life(nonce, where, keeper)
    mine = Buffer.adopt(token)
    handles = tuple(kind.adopt(address) for kind, address in parts)
    direct = _life.known(ident)
    if direct is None:
        direct = cls(life, typeid, ident, mine, handles, state)
    return direct_proxy(kind, direct)


def _sent(
    kind: Any, cls: Any, typeid: str, ident: str, state: Any, nonce: bytes,
    keeper: tuple[int, int], buffer: Buffer, where: tuple[int, int], token: Buffer, token_at: int,
    parts: Any, serial: int, address: Any,
) -> Any:  # fmt: skip
    """Return the proxy that was pickled: of the object, or in another family of the server's."""
    try:
        life = _life.life_of(nonce, buffer, where, keeper)
    except ConnectionRefusedError:
        if address is None or _mproc.is_member(keeper[0]):
            raise
        return _of_server(kind, typeid, ident, serial, address)

    def make(mine: Buffer, handles: Any) -> Direct:
        return cls(life, typeid, ident, mine, handles, state)  # type: ignore[no-any-return]

    return direct_proxy(kind, _life.arrive(life, ident, token, token_at, parts, serial, make))


def _of_server(
    kind: Any, typeid: str, ident: str, serial: int, address: Any, key: Mapping[str, Any] = NO_KEY
) -> Any:
    """Return the proxy of an object in another family's arena, which its manager's server serves.

    key: what key_for_nodes() has returned.
    What connecting raises, if there is no such server any more, or nobody has needed one yet.
    """
    from ..wire import Token

    token, kwds = Token(typeid, address, ident), {**key, "_sent": (0, serial)}
    if isinstance(kind, tuple):
        return RebuildProxy(AutoProxy, token, "pickle", {**kwds, "exposed": kind})
    return RebuildProxy(kind, token, "pickle", kwds)


def expose(cls: type[Direct]) -> None:
    """Let proxies call the methods that a class has."""
    for name, method in vars(cls).items():
        if name.startswith(PREFIX):  # by this name, the interpreter tells of wrong arguments
            kind = cls.__name__.removesuffix("Direct")
            method.__qualname__ = f"{kind}.{name.removeprefix(PREFIX)}"
    names = (name for base in cls.__mro__ for name in vars(base))
    cls.exposed = frozenset(n.removeprefix(PREFIX) for n in names if n.startswith(PREFIX))


def check_time(timeout: Any) -> bool:
    """Return whether to wait at all. TypeError: it is no number, as threading's waits say it."""
    return timeout is None or timeout > 0


def as_seconds(timeout: Any) -> Any:
    """Return a time to wait. TypeError: it is no number, as threading's deadlines say it."""
    return timeout if timeout is None else 0.0 + timeout


def pickled(obj: object) -> Any:
    """Return the pickle of an object, as messages have it."""
    from ...reduction import ForkingPickler

    return ForkingPickler.dumps(obj)


class OnTable(Direct):
    """What is kept in one container of the arena."""

    __slots__ = ("table",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.table,) = self.parts


class OnLock(Direct):
    """What one lock or semaphore of the arena is."""

    __slots__ = ("lock",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        (self.lock,) = self.parts

    def call(self, name: str, args: Any, kwds: Mapping[str, Any]) -> Any:
        """As Direct.call(). A lock is released also when the manager has ended: some may wait."""
        if name == "release" and self.life.flags[0] == _life.DEAD:
            try:  # noqa: SIM105 # contextlib would cost an import
                self.lock.release()
            except (ValueError, AssertionError):
                pass
        return super().call(name, args, kwds)

    def owned_by(self, name: str, result: Any) -> int:
        """Return what the call has changed; a semaphore overrides this."""
        if name == "acquire":
            return int(result is True)
        return -1 if name == "release" else 0
