"""A manager's server and a client that may send anything, before it is authenticated and after.

What is fed. The first byte says whether the client begins with a right handshake, and which of two
servers serves it: one reads pickles, the other XML. The rest is what the client sends: the acts of
fuzz_authentication.py, and requests that are put together of real and made-up idents, methods and
arguments, or are any bytes. A connection of this file's own hands it over. The server serves it in
this thread, so the end of each input is the end of its connection.

What must hold. Nothing that a client sends ends the thread that serves it by an exception. Before
the client has proved that it knows the key, no request is read. Behind each connection the server
is as before: it answers others, no session and no holder is left, and no object but those that the
connection without an anchor has made. From time to time all objects of the process are counted.
"""

from __future__ import annotations

import gc
import pickle
import socket
import sys
import traceback
import xmlrpc.client
from typing import Any

import fuzz_authentication as handshakes
from fuzz_authentication import KEY, Feed, Peer, frame

from mproc import managers
from mproc._managers import server, wire

INPUTS_PER_COUNT = 2000
GROWTH = 3000  # objects that the interpreter's and the package's caches may add

# What a pickle of the client's may name, and opcodes that ask for memory before they need it.
ALLOWED = {"Token", "Namespace"}
MEMO = b"rp"

TYPEIDS = ("list", "dict", "Namespace", "Value", "Array", "Queue", "Lock", "Event", "set")
METHODS = (
    "create",
    "dummy",
    "hold",
    "give",
    "incref",
    "decref",
    "accept_connection",
    "get_methods",
    "debug_info",
    "number_of_objects",
    "shutdown",
    "append",
    "pop",
    "extend",
    "__getitem__",
    "__setitem__",
    "__len__",
    "__iadd__",
    "__imul__",
    "update",
    "get",
    "put",
    "set",
    "acquire",
    "release",
    "wait",
    "keys",
    "items",
    "__getattribute__",
    "__setattr__",
    "__repr__",
    "#GETVALUE",
    "__iter__",
    "__next__",
    "_read",
    "qsize",
    "notify",
    "answer",
    "stop",
    "_close",
    "__class__",
)


class Client(Peer):
    """A client, and the server's connection to it."""

    def __init__(self, feed: Feed, one: server.Server, serializer: str) -> None:
        super().__init__(feed)
        self.server, self.serializer = one, serializer
        self.closed = False
        self.replies = 0

    def poll(self, timeout: float | None = 0) -> bool:
        return True  # a request or the end

    def fileno(self) -> int:
        return 4711 if not self.believed else LASTING.fileno()

    def close(self) -> None:
        self.closed = True

    believed = False

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        assert self.proved, "a request is received before the client has proved anything"
        self.believed = True
        if self.feed and not self.ahead:
            REQUESTS[self.feed.below(len(REQUESTS))](self)
        size = int.from_bytes(self.exactly(4, "size"), "big", signed=True)
        if size < 0:
            raise OSError("bad message length")
        if size > 1 << 24:
            raise MemoryError
        return self.exactly(size, "message") if size else b""

    def send(self, obj: object) -> None:
        pickle.dumps(obj)
        self.replies += 1

    def send_bytes(self, message: bytes) -> None:
        self.replies += 1

    # -- requests

    def value(self, depth: int = 0) -> object:
        feed = self.feed
        kind = feed.below(12 if depth < 3 else 8)
        if kind == 0:
            return None
        if kind == 1:
            return feed.byte() - 100
        if kind == 2:
            return feed.bytes(feed.byte() % 16).decode("latin-1")
        if kind == 3:
            return feed.bytes(feed.byte() % 16)
        if kind == 4:
            return self.ident()
        if kind == 5:
            return TYPEIDS[feed.below(len(TYPEIDS))]
        if kind == 6:
            return feed.byte() / 7
        if kind == 7:
            return bool(feed.byte() & 1)
        if kind == 8:
            return [self.value(depth + 1) for _ in range(feed.below(4))]
        if kind == 9:
            return tuple(self.value(depth + 1) for _ in range(feed.below(4)))
        if kind == 10:
            return {str(self.value(3)): self.value(depth + 1) for _ in range(feed.below(4))}
        return wire.Token(str(self.value(3)), self.value(3), self.ident())

    def ident(self) -> str:
        known = list(self.server._held)
        which = self.feed.byte()
        return known[which % len(known)] if known and which < 250 else f"none-{which}"

    def request(self) -> None:
        feed = self.feed
        kind = feed.byte()
        ident = None if kind & 1 else self.ident()
        name = METHODS[feed.below(len(METHODS))]
        args: object = tuple(self.value() for _ in range(feed.below(4)))
        kwds: object = {"holder": self.value()} if kind & 2 else {}
        if kind & 4 == 0 or kind & 8:
            self.ask((ident, name, args, kwds))
        else:
            self.ask((ident, self.value(), self.value(), self.value()))

    def create(self) -> None:
        typeid = TYPEIDS[self.feed.below(len(TYPEIDS))]
        self.ask((None, "create", (typeid, *(self.value() for _ in range(self.feed.below(3)))), {}))

    def any_request(self) -> None:
        self.ask(self.value())

    def bye(self) -> None:
        self.ask("bye")

    def ask(self, request: object) -> None:
        try:
            if self.serializer == "pickle":
                self.ahead += frame(pickle.dumps(request))
            else:
                text = xmlrpc.client.dumps((request,), allow_none=True)  # type: ignore[arg-type]
                self.ahead += frame(text.encode())
        except (TypeError, ValueError, OverflowError, UnicodeError):
            return  # this cannot be said in XML


REQUESTS = (
    Client.create,
    Client.request,
    Client.request,
    Client.request,
    Client.any_request,
    Client.any_frame,
    Client.bye,
    Client.bad_length,
    Client.raw,
    Client.end,
)

# A traceback is half of the time that a refused request takes; its text matters to nobody here.
traceback.format_exc = lambda *_: repr(sys.exc_info()[1])  # type: ignore[assignment]

LASTING = socket.socket()  # what a session asks for resets, after the handshake


# ---- what the server is given


def guard_pickles(event: str, args: tuple[object, ...]) -> None:
    """Keep a client's pickles from running whatever they name: they may, but not here."""
    if event == "pickle.find_class" and reading and args[1] not in ALLOWED:
        raise pickle.UnpicklingError(f"not here: {args}")


reading = False
sys.addaudithook(guard_pickles)
current: Client


class Guarded:
    """A wire whose reads are looked at."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.has_exceptions, self.send = inner, inner.has_exceptions, inner.send

    def read(self, message: bytes) -> object:
        global reading
        assert current.proved, "a request is read before the client has proved anything"
        if message[:2] != b"\x80\x04" and any(opcode in message for opcode in MEMO):
            raise ValueError("not here")
        reading = True
        try:
            return self.inner.read(message)
        finally:
            reading = False


def make_server(serializer: str) -> server.Server:
    registry = {name: managers.SyncManager._registry[name] for name in TYPEIDS_THERE}
    one = server.Server(registry, None, KEY, serializer)
    one._wire = Guarded(one._wire)  # type: ignore[assignment]
    return one


TYPEIDS_THERE = [name for name in TYPEIDS if name in managers.SyncManager._registry]
SERVERS = tuple((make_server(name), name) for name in ("pickle", "xmlrpclib"))


def shake_hands(client: Client) -> None:
    """Let the client's first words be those of one that knows the key."""
    answers = [Client.right_answer, lambda c: Client.challenge_with(c, b"c" * 40), Client.welcome]

    def act() -> None:
        if answers:
            answers.pop(0)(client)
        else:
            Peer.act(client)

    client.act = act  # type: ignore[method-assign]


def challenge_with(client: Client, message: bytes) -> None:
    client.ahead += frame(b"#CHALLENGE#{sha256}" + message)


Client.challenge_with = challenge_with  # type: ignore[attr-defined]


# ---- what is left behind


def look_at(one: server.Server) -> None:
    holder = one._holders[0]
    assert set(one._holders) == {0}, one._holders
    assert not one._sessions, one._sessions
    for ident, number in list(holder.counts.items()):
        del holder.counts[ident]
        one._less(ident, number)
    assert not one._held, one._held
    reply = one.answer(server.Session(None, holder), None, "number_of_objects", (), {})
    assert reply == ("#RETURN", 0), reply
    holder.owned.clear()


inputs, objects = 0, 0


def count_objects() -> None:
    global objects
    gc.collect()
    for one, _ in SERVERS:
        assert not one._entries._references, one._entries._references  # nor any that has gone
    now = len(gc.get_objects())
    if not objects:
        objects = now
    assert now < objects + GROWTH, f"{objects} objects became {now}"


def feed(data: bytes) -> None:
    """Serve one connection."""
    global inputs, current
    source = Feed(data)
    how = source.byte()
    one, serializer = SERVERS[how >> 1 & 1]
    client = current = handshakes.Kernel.peer = Client(source, one, serializer)
    handshakes.Kernel.number = 0
    if how & 1:
        shake_hands(client)
    one._serve(client)  # type: ignore[arg-type]
    assert client.closed
    look_at(one)
    inputs += 1
    if inputs % INPUTS_PER_COUNT == 0:
        count_objects()
