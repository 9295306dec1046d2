"""Calls of a server's objects: which method is called, for which client, and what errors become.

A call that waits must know its client: `current()` returns the session that this thread serves. The
call waits in slices, and looks after each slice whether the client still lives (`patiently`). So a
dead client takes no item and acquires no lock. A client may also die when the call is done and
before it has read the reply. `on_loss` registers what undoes the call then. The system tells such a
death: a connection that is closed with unread data in it is reset, and not merely at its end. Over
TCP a reply may also come when the client has gone; then it is refused.
"""

from __future__ import annotations

import sys
from time import monotonic as _monotonic

from .._cpython import ThreadLocal, text_of
from ..util import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .direct.base import Direct
    from .server import Entry, Holder, Session
    from .wire import Reply

SLICE = 0.05  # seconds between two looks whether the client lives, at most
FIRST_SLICE = 0.001

# Errors raised in these modules need no traceback: the inside of a queue is of no interest.
_PLAIN_PLACES = ("mproc.", "queue", "threading", "_collections_abc")


class ClientGone(BaseException):
    """The client of the call has died."""


class _Now(ThreadLocal):
    session: Session | None = None
    addressee: Session | None = None


_now = _Now()


def current() -> Session | None:
    """Return the session for which the thread is calling a method, None if it calls none."""
    return _now.session


class sending:
    """With it, a reply is being sent to the client of that session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        _now.addressee = self._session

    def __exit__(self, *error: object) -> None:
        _now.addressee = None


def addressee() -> Session | None:
    """Return the session to whose client the thread is sending a reply, None if to none."""
    return _now.addressee


# ---- calling


class Served:
    """An object of the family's shared memory, as the server serves it to other families.

    The thread that serves a client acquires locks for it, and releases them when the client has
    gone: nobody else could.
    """

    def __init__(self, direct: Direct) -> None:
        self._direct = direct

    def method(self, name: str) -> Callable[..., Any]:
        """Return what calls a method of the object."""

        def call(*args: Any, **kwds: Any) -> Any:
            result = self._direct.call(name, args, kwds)
            self._note(name, result)
            return result

        return call

    def _note(self, name: str, result: Any) -> None:
        undo = self._direct.undo(name, result)
        session = _now.session
        if session is None or session.connection is None:
            return
        if undo is not None:
            on_loss(undo)
        change = self._direct.owned_by(name, result)
        if change:
            owned = session.owned.get(self._direct, 0) + change
            session.owned[self._direct] = max(owned, 0)

    def copy(self) -> Any:
        """Return a copy of the object."""
        return self._direct.call("#GETVALUE", (), {})

    def __repr__(self) -> str:
        return self._direct.text()


def session_ended(session: Session) -> None:
    """Release the locks of shared memory that a client had, in the thread that served it."""
    for direct, number in session.owned.items():
        try:
            direct.abandon(session, number)
        except Exception as error:  # somebody else has released it, or the manager has ended
            debug("a lock of a client that has gone could not be released: %r", error)


def method_of(entry: Entry, name: str) -> Callable[..., Any]:
    """Return a method of an object. AttributeError if the object does not expose it."""
    if name in entry.exposed:
        if isinstance(entry.obj, Served):
            return entry.obj.method(name)
        return getattr(entry.obj, name)  # type: ignore[no-any-return]
    fallback = _FALLBACKS.get(name)
    if fallback is None:
        known = sorted(entry.exposed)
        raise AttributeError(
            f"method {name!r} of {type(entry.obj)!r} object is not in exposed={known}"
        )
    obj = entry.obj
    return lambda: fallback(obj)


_FALLBACKS: dict[str, Callable[[object], Any]] = {
    "__str__": str,
    "__repr__": repr,
    "#GETVALUE": lambda obj: obj.copy() if isinstance(obj, Served) else obj,
}


def call(session: Session, function: Callable[..., Any], args: Any, kwds: Any) -> Reply:
    """Call a function for a client; return the reply."""
    outer = _now.session
    if outer is None or session.connection is not None:
        _now.session = session
    try:
        return "#RETURN", function(*args, **kwds)
    except Exception as error:
        return _reply_with(session, error)
    except SystemExit as error:
        return "#TRACEBACK", f"the method called exited with {error.code!r}\n"
    finally:
        _now.session = outer


def _reply_with(session: Session, error: Exception) -> Reply:
    """Return the reply for an error of the method called."""
    if session.connection is None:
        return "#ERROR", error  # it is not sent
    inner = error.__traceback__.tb_next if error.__traceback__ is not None else None
    if inner is not None:
        place = inner.tb_frame.f_globals.get("__name__", "")
        if not place.startswith(_PLAIN_PLACES):
            error.add_note(f"at the manager's server:\n{text_of_error()}")
    if not _travels(error):
        return "#TRACEBACK", text_of_error("the exception cannot be sent:")
    return "#ERROR", error


def _travels(error: Exception) -> bool:
    """Return whether the client will be able to unpickle an exception."""
    from ..reduction import ForkingPickler

    try:
        return type(ForkingPickler.loads(ForkingPickler.dumps(error))) is type(error)
    except Exception:
        return False


def text_of_error(headline: str = "") -> str:
    """Return the traceback of the error being handled."""
    error = sys.exception()
    return f"{headline}\n{'' if error is None else text_of(error)}".lstrip("\n")


def excuse(reply: Reply, error: BaseException) -> Reply:
    """Return what to reply instead of what cannot be sent."""
    try:
        what = repr(reply)
    except Exception:
        what = f"{reply[0]} with a {type(reply[1])!r} that has no repr"
    return "#UNSERIALIZABLE", f"{what}\n{type(error).__name__}: {error}"


# ---- waiting for a client


def patiently(wait: Callable[[float], Any], timeout: float | None) -> bool:
    """Call wait(seconds) until it returns true or the timeout is over; return whether it did.

    ClientGone: the client has died meanwhile, and nothing has happened.
    """
    session = current()
    deadline = None if timeout is None else _monotonic() + timeout
    seconds = FIRST_SLICE
    while True:
        if deadline is not None:
            seconds = max(min(seconds, deadline - _monotonic()), 0)
        if wait(seconds):
            return True
        if deadline is not None and _monotonic() >= deadline:
            return False
        check_client(session)
        seconds = min(seconds * 2, SLICE)


def check_client(session: Session | None) -> None:
    """Raise ClientGone if the client has died."""
    if session is not None and not session.alive():
        raise ClientGone


# ---- calls whose reply is never read


def on_loss(undo: Callable[[], object]) -> None:
    """Have undo() called if the client never reads the reply to the current call."""
    if _now.session is not None:
        _now.session.undo = undo


def also_on_loss(undo: Callable[[], object]) -> None:
    """Have undo() called, too, if the client never reads the reply to the current call."""
    session = _now.session
    if session is not None:
        before = session.undo

        def undo_both() -> None:
            if before is not None:
                before()
            undo()

        session.undo = undo_both


def lost(session: Session) -> None:
    """Undo the last call of a session: its reply was not read."""
    undo, session.undo = session.undo, None
    if undo is not None:
        undo()


def holder_ended(holder: Holder) -> None:
    """Tell the locks that a client had that it has died."""
    for owned in list(holder.owned):
        owned._owner_died(holder)
