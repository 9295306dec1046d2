"""What a family knows of a manager whose objects lie in the arena: its life, and who keeps what.

How it works. A Life stands for such a manager in each process that has a proxy of it. It has two
objects of the arena: a Buffer, whose first byte says whether the manager has been shut down, and a
Dict, the record of proxies that are on their way.

Each object of the manager has a *token*, a Buffer, beside the objects of the arena that it is made
of. The process that made the object keeps all of them, in `_kept`, as long as anybody has the token
or is about to get it. A queue, a dict or a task of the family takes a Buffer along, and so its
messages have the token. A pickle in bytes (a Connection, pickle.dumps) cannot. So each pickling is
counted in the record, and the object is kept until the last pickle is loaded.

A process that loads a pickle finds addresses in it, of objects that may have gone. It takes a hold
first, and looks then: the Buffers say which ones they are, and the others are there as long as the
keeper is.

Shared state. The Buffer of a Life, bytes: 0 the state, 8..16 the nonce. Any process changes PLAIN
to ODD, in one step; the manager's process alone sets DEAD, before it gives up anything. The Buffer
of a token: its ident, constant, and in its last byte whether a dict or set is odd (direct/keys.py).
The record: "s" + ident is the number of the last pickle, "l" + ident that of the last one loaded,
"o" + ident what the object is made of, for the manager's server, which serves it to other families;
"n" + name a segment of shared memory to be unlinked (late.py); "address" is the server's, and
"server" says whether there is one. The key ident is locked by the keeper while it looks and gives
up, and by whoever loads. Finalizers look, and who loads may be stopped: the keeper does not wait
for the lock, and keeps what somebody is loading.

If a process dies at any point, its holds are given back, and what it alone kept is gone. A lock of
the record is taken over. A pickle that it had counted and not sent keeps the object until the
manager is shut down.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock as _allocate_lock
from _thread import get_ident as _get_ident
from itertools import count as _count
from itertools import islice

from .. import _mproc
from .._mproc import Buffer
from .known import Known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .direct.base import Direct

_mproc._add_containers()
Dict = _mproc.Dict  # mproc.dicts costs more to import than all of this

DEAD, PLAIN, ODD = 0, 1, 2  # ODD: a dict may have keys that are not what they are stored as
_SIZE = 64
ODD_AT = _SIZE - 1  # in a token, whose ident is shorter: not 0, if that dict is the one
_SWEPT = 2  # kept objects that are looked at whenever one is made


class Life:
    """A manager, as a process of its family sees it."""

    __slots__ = ("__weakref__", "_address", "buffer", "flags", "keeper", "nonce", "record")

    def __init__(self, buffer: Buffer, record: Dict, keeper: tuple[int, int]) -> None:
        self.buffer = buffer
        self.flags = memoryview(buffer)
        self.record = record
        self.keeper = keeper
        self.nonce = bytes(self.flags[8:16])
        self._address: Any = None

    @property
    def address(self) -> Any:
        """Where the manager's server is, or will be once it is needed."""
        if self._address is None:
            self._address = self.record.get("address")
        return self._address

    def __reduce__(self) -> tuple[Any, ...]:
        """Give the Life to the server's process, which is being started."""
        from ..reduction import give_to_child

        where = give_to_child(self.buffer.address), give_to_child(self.record.address)
        return adopt_life, (self.nonce, where, self.keeper)

    def check(self) -> None:
        """Raise ConnectionRefusedError if the manager has been shut down."""
        if self.flags[0] == DEAD:
            raise_dead()

    def end(self) -> None:
        """Shut the manager down, in its own process."""
        self.flags[0] = DEAD
        for ident, kept in list(_kept.items()):
            if kept[0] is self:
                _kept.pop(ident, None)


def raise_dead() -> None:
    """Raise what calls of a manager raise that has been shut down."""
    raise ConnectionRefusedError(
        errno.ECONNREFUSED, "the manager of this object has been shut down, or its process died"
    )


def begin(address: Any) -> Life:
    """Return a new manager's Life, in the manager's process; the address is its server's."""
    buffer = Buffer(_SIZE)
    memoryview(buffer)[8:16] = os.urandom(8)
    memoryview(buffer)[0] = PLAIN
    life = Life(buffer, Dict(), me())
    life.record["address"] = address
    return _lives.first(life.nonce, life)


_lives: Known[bytes, Life] = Known()  # those of which this process has anything


# ---- processes


def _started(pid: int) -> int:
    """Return when a process was started; 0: there is none, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def me() -> tuple[int, int]:
    """Return what this process is told from others by, also from later ones of the same pid."""
    global _me
    if _me[0] != os.getpid():
        _me = os.getpid(), _started(os.getpid())
    return _me


_me = (0, 0)


def _lives_on(keeper: tuple[int, int]) -> bool:
    return keeper == _me or _started(keeper[0]) == keeper[1]


# ---- keeping

_numbers = _count(1)
_kept: dict[str, tuple[Life, Buffer, tuple[Any, ...]]] = {}
_inherited: list[Direct] = []  # what a forked server has given back
_sweeping = _allocate_lock()


def keep(life: Life, parts: tuple[Any, ...]) -> tuple[str, Buffer]:
    """Keep what a new object is made of; return its ident and its token."""
    _sweep(_SWEPT)
    pid, started = me()
    ident = f"{life.nonce.hex()}-{pid:x}-{started:x}-{next(_numbers):x}"
    token = Buffer(_SIZE)
    memoryview(token)[: len(ident)] = ident.encode()
    _put(ident, (life, token, parts))
    return ident, token


def _put(ident: str, kept: tuple[Life, Buffer, tuple[Any, ...]]) -> None:
    _kept[ident] = kept
    if kept[0].flags[0] == DEAD:  # another thread has just ended it, and perhaps looked before
        _kept.pop(ident, None)


def _keeper_of(ident: str) -> tuple[int, int]:
    _, pid, started, _ = ident.split("-")
    return int(pid, 16), int(started, 16)


def _sweep(n: int) -> None:
    """Give up those of the n objects that have been kept longest that nobody needs."""
    if not _sweeping.acquire(False):
        return
    try:
        for ident in _oldest(n):
            _keep_or_let_go(ident)
    finally:
        _sweeping.release()


def _oldest(n: int) -> list[str]:
    """Return the idents of the n objects that have been kept longest."""
    try:
        return [*islice(_kept, n)]
    except RuntimeError:  # another thread keeps one more, without the interpreter's lock
        return [*_kept][:n]


def _keep_or_let_go(ident: str) -> None:
    """Give an object up if nobody has it, or will get it; else look at all others before it."""
    kept = _kept.get(ident)
    if kept is None:  # its manager has been shut down meanwhile
        return
    life, token, _ = kept
    record = life.record
    if not _is_used(ident, token):
        with _locked(record, ident, 0) as mine:  # a finalizer waits for nobody
            sent, loaded = record.get("s" + ident, 0), record.get("l" + ident, 0)
            if mine and sent == loaded and not _is_used(ident, token):
                record.pop("o" + ident, None)
                record.pop("s" + ident, None)
                record.pop("l" + ident, None)
                _kept.pop(ident, None)
                del kept, token, _  # while it is locked: nobody may load it meanwhile
                return
    if _kept.pop(ident, None) is not None:
        _put(ident, kept)


def _is_used(ident: str, token: Buffer) -> bool:
    return _known.get(ident) is not None or _mproc.held_elsewhere(token.address)


def objects_of(life: Life) -> list[str]:
    """Return the idents of those objects that this process has proxies of, or keeps for others."""
    _sweep(len(_kept))
    idents = {i for i, kept in list(_kept.items()) if kept[0] is life}
    return sorted(idents | {i for i, direct in _known.items() if direct.life is life})


def give_back_inherited(life: Life) -> None:
    """In a manager's server: give back what it has of proxies that it was forked with.

    Nobody uses these proxies there. They stay, so that what they have is not given back again.
    """
    for ident, direct in _known.items():
        if direct.life is life:
            _known.pop(ident)
            _inherited.append(direct)
            for part in (direct.token, *direct.parts):
                _mproc.drop(part.address)


def _look_who_needs(ident: str) -> None:
    if ident in _kept and _sweeping.acquire(False):
        try:
            _keep_or_let_go(ident)
        finally:
            _sweeping.release()


_known: Known[str, Direct] = Known(_look_who_needs)  # what this process has proxies of


def know(direct: Direct) -> None:
    """Note that this process has the object; when it has it no more, look who needs it."""
    _known.put(direct.ident, direct)


def known(ident: str) -> Direct | None:
    """Return the object of that ident, if this process has it."""
    return _known.get(ident)


def _after_fork_in_child() -> None:
    global _sweeping, _me
    _sweeping = _allocate_lock()
    _me = 0, 0  # the parent is another process, which may end
    _riding.clear()
    _kept.clear()  # the parent keeps them


os.register_at_fork(after_in_child=_after_fork_in_child)


# ---- on the way

_riding: dict[int, bool] = {}  # threads whose pickles take Buffers along; whether to stay


class riding:
    """With it, the thread pickles for a container of the arena: the token goes along.

    stays: what is pickled may be loaded more than once.
    """

    def __init__(self, stays: bool) -> None:
        self._stays = stays

    def __enter__(self) -> None:
        self._outer = _riding.get(_get_ident())
        _riding[_get_ident()] = self._stays

    def __exit__(self, *error: object) -> None:
        if self._outer is None:
            _riding.pop(_get_ident(), None)  # none: it is a child forked within, which has none
        else:
            _riding[_get_ident()] = self._outer


def stays() -> bool:
    """Return whether what the thread pickles goes into a container that keeps it."""
    return _riding.get(_get_ident(), False)


def count_pickle(direct: Direct) -> int:
    """Note that a proxy is being pickled; return the number of the pickle, 0 for none."""
    if _get_ident() in _riding:
        return 0
    return direct.life.record._add("s" + direct.ident, 1)  # type: ignore[no-any-return]


def describe(direct: Direct) -> None:
    """Note in the record what a server makes the object of, which has nothing but its ident."""
    if not direct.described:
        parts = tuple((type(part), part.address) for part in direct.parts)
        about = type(direct), direct.typeid, direct.state, direct.token.address, parts
        direct.life.record["o" + direct.ident] = about
        direct.described = True


def find(life: Life, ident: str) -> Direct | None:
    """Return the object of that ident; None: it has gone, or was never described."""
    about = life.record.get("o" + ident)
    if about is None:
        return None
    cls, typeid, state, token, parts = about
    mine = held_buffer(token, ident.encode())
    if mine is None:
        return None

    def make(mine: Buffer, handles: Any) -> Direct:
        return cls(life, typeid, ident, mine, handles, state)  # type: ignore[no-any-return]

    return arrive(life, ident, mine, token, parts, 0, make)


def note_loaded(life: Life, ident: str, serial: int) -> None:
    """Note that another family has loaded the pickle of that number."""
    with _locked(life.record, ident):
        _loaded(life, ident, serial)


class _locked:
    """With it, a key of the record is locked; one that died with it locked is of no interest.

    The value of the with statement is whether it is: with a timeout of 0, it waits for nobody.
    """

    def __init__(self, record: Dict, ident: str, timeout: float | None = None) -> None:
        self._record, self._ident, self._timeout = record, ident, timeout

    def __enter__(self) -> bool:
        self._is = self._record._lock(self._ident, self._timeout) is not False
        return self._is

    def __exit__(self, *error: object) -> None:
        if self._is:
            self._record._unlock(self._ident)


def _loaded(life: Life, ident: str, serial: int) -> None:
    if serial:
        life.record["l" + ident] = max(serial, life.record.get("l" + ident, 0))


def held_buffer(address: int, begin: bytes, at: int = 0) -> Buffer | None:
    """Return the Buffer at an address with that in it; None: it has gone."""
    try:
        _mproc.hold(address)
        buffer = Buffer.adopt(address)
    except (ValueError, OSError):
        return None
    return buffer if bytes(memoryview(buffer)[at : at + len(begin)]) == begin else None


def life_of(nonce: bytes, buffer: Buffer, where: tuple[int, int], keeper: tuple[int, int]) -> Life:
    """Return the Life that a pickle names; `buffer` is its Buffer, or a copy of that.

    ConnectionRefusedError: the manager has been shut down, or is of another family.
    """
    life = _lives.get(nonce)
    if life is None:
        address, record = where
        if not _mproc.is_member(keeper[0]):  # another family's arena may be at the same addresses
            raise_dead()
        mine = buffer if buffer.address == address else held_buffer(address, nonce, 8)
        if mine is None or memoryview(mine)[0] == DEAD:
            raise_dead()
        assert mine is not None
        held = _adopted(Dict, record)
        if held is None:
            raise_dead()
        life = Life(mine, held, keeper)
        if not _lives_on(keeper):
            raise_dead()  # the record may have gone before it was held
        life = _lives.first(nonce, life)  # another thread may have been faster
    life.check()  # it may have ended before the record was held
    return life


def _adopted(kind: Any, address: int) -> Any:
    """Return a handle of what its keeper holds; None: it has gone, and so has the keeper."""
    try:
        _mproc.hold(address)
    except (ValueError, OSError):
        return None
    return kind.adopt(address)


def arrive(
    life: Life,
    ident: str,
    token: Buffer,
    where: int,
    parts: tuple[tuple[Any, int], ...],
    serial: int,
    make: Callable[[Buffer, tuple[Any, ...]], Direct],
) -> Direct:
    """Return the object that a pickle names, which the process has from now on.

    `token` is the object's, or a copy of what it was when it was pickled, and `where` its address.
    RemoteError: the object has gone.
    """
    with _locked(life.record, ident):
        direct = known(ident)
        if direct is None:
            mine = token if token.address == where else held_buffer(where, ident.encode())
            if mine is None:
                raise_gone(ident)
            assert mine is not None
            handles = tuple(_adopted(kind, address) for kind, address in parts)
            if any(part is None for part in handles) or not _lives_on(_keeper_of(ident)):
                raise_gone(ident)
            direct = make(mine, handles)
        _loaded(life, ident, serial)
    return direct


def raise_gone(ident: str) -> None:
    """Raise RemoteError: nobody has the object any more."""
    from .wire import RemoteError

    raise RemoteError(f"there is no object {ident!r} any more; its last reference was dropped\n")


def adopt_life(nonce: bytes, addresses: tuple[int, int], keeper: tuple[int, int]) -> Life:
    """Return the Life that a child that was started has been given with a proxy."""
    buffer, record = Buffer.adopt(addresses[0]), Dict.adopt(addresses[1])
    return _lives.first(nonce, Life(buffer, record, keeper))
