"""How a process talks to a manager's server: each guard, at the point it is for."""

import os
import pickle
import socket
import types

import pytest
from conftest import in_thread
from managed import Served

import mproc
import mproc.reduction
from mproc._current import manager_keys
from mproc._managers import peers
from mproc._managers.wire import RemoteError, Token


class Ends:
    """Stands for a line or an anchor, or for the connection of one."""

    number = 5

    def __init__(self, **methods):
        self.closed, self.said, self.references = False, [], []
        self.__dict__.update(methods)

    def close(self):
        self.closed = True

    def settle(self, word):
        assert not self.closed
        self.said.append(word)

    def taken(self, ident):
        self.references.append(ident)

    def drop(self, ident):
        self.references.remove(ident)

    def send(self, message):
        self.said.append(message)


def raising(error):
    def fail(*args, **kwds):
        raise error

    return fail


@pytest.fixture
def peer():
    """A server that is nowhere."""
    return peers.Peer("\0nowhere", "pickle", b"key")


@pytest.fixture
def anchor(peer):
    """An anchor and its server's end of the connection."""
    ours, theirs = socket.socketpair()
    mine = peers.Anchor(peer, mproc.connection.Connection(ours.detach()), 7)
    server = mproc.connection.Connection(theirs.detach())
    yield mine, server
    mine.close()
    server.close()


# ---- what is said over an anchor


def test_pickles_are_noted_in_the_order_of_their_numbers(anchor):
    mine, server = anchor
    others = []

    class Notes(list):
        def append(self, note):
            others.append(in_thread(mine._numbering.acquire, False))
            super().append(note)

    mine._noted = Notes()
    assert (mine.sent("a"), mine.sent("b")) == ((7, 1), (7, 2))
    assert others == [False, False]
    assert (server.recv(), server.recv()) == (["+1+a"], ["+2+b"])


def test_what_is_noted_as_the_anchor_is_left_is_said(anchor):
    """By a finalizer, say, for which the anchor was still in use."""
    mine, server = anchor
    sends, late = mine._send_noted, ["late"]

    def send_and_be_late():
        sends()
        mine._noted.extend(late)
        late.clear()

    mine._send_noted = send_and_be_late
    mine.drop("a")
    assert (server.recv(), server.recv(), mine._noted) == (["a"], ["late"], [])


def test_what_is_dropped_while_the_anchor_is_in_use_waits_for_nobody(anchor):
    mine, server = anchor
    with mine._sending:
        mine.drop("a")
        assert mine._noted == ["a"] and not server.poll(0)
    mine.drop("b")
    assert server.recv() == ["a", "b"]


def test_an_anchor_that_fails_can_be_used_again(anchor):
    mine, server = anchor
    mine._send_noted = raising(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        mine.drop("a")
    del mine._send_noted
    mine.drop("b")
    assert server.recv() == ["a", "b"]


def test_an_anchor_that_is_closed_while_it_is_in_use(anchor):
    mine, _ = anchor
    noted, other = socket.socketpair()
    mine._noted.append(noted)
    mine._send_socket = lambda servers: mine._forget_noted()
    mine._say()
    assert mine._noted == [] and noted.fileno() == -1 and not mine._sending.locked()
    other.close()


def test_a_closed_anchor_leaves_no_end_of_a_child(anchor):
    noted, other = socket.socketpair()
    anchor[0]._noted.extend(["a", noted])
    anchor[0].close()
    assert noted.fileno() == -1 and anchor[0].connection.closed
    other.close()


def test_nothing_is_noted_for_a_server_that_has_ended(anchor):
    mine, server = anchor
    server.close()
    noted, other = socket.socketpair()
    mine._noted.append(noted)
    mine.drop("a")
    assert mine._noted == [] and noted.fileno() == -1
    other.close()
    mine._noted.append("b")
    mine.child().close()
    assert mine._noted == []


def test_two_threads_forget_what_was_noted(anchor):
    class Notes(list):
        def pop(self, place):
            self.clear()  # as another thread has done just now
            return super().pop(place)

    anchor[0]._noted = Notes("ab")
    anchor[0].close()
    assert anchor[0]._noted == []


def test_what_is_said_without_waiting_is_short(anchor):
    """Or the system might take a part of a message, and the next one would follow that."""
    mine, server = anchor
    idents = [f"{n:x}" for n in range(250)]
    mine._noted.extend(idents)
    child = mine.child()
    said = [server.recv() for _ in range(3)]
    assert [len(some) for some in said] == [100, 100, 50] and said[0] + said[1] + said[2] == idents
    assert server.recv() == peers.FORK
    child.close()


def test_what_the_server_does_not_take_stays_noted(anchor):
    mine, server = anchor
    idents = [f"{n:x}" for n in range(250)]
    mine._noted.extend(idents)
    send, times = mine._send_frame, iter([True])

    def send_once(what, fds, flags):
        if not next(times, False):
            raise BlockingIOError
        assert flags & socket.MSG_DONTWAIT
        send(what, fds, flags)

    mine._send_frame = send_once
    assert mine.child() is None
    assert mine._noted == idents[100:] and server.recv() == idents[:100]
    assert not mine._sending.locked()


def test_the_last_word_waits_for_its_own_answer(anchor):
    """The server of a forked child's anchor says a number first."""
    mine, server = anchor
    mine._number = 0
    for result in (9, None):
        server.send(("#RETURN", result))
    mine.settle("bye")
    assert server.recv() == "bye" and mine.number == 9 and not mine.connection.poll(0)


def test_a_plain_server_is_told_of_own_references_only(peer):
    told = []
    peer.ask = lambda *what: told.append(what)
    mine = peers.PlainAnchor(peer)
    mine.taken("a")
    mine.drop("a")
    mine.drop("a")  # a parent's
    assert told == [("decref", "a")]
    for error in (OSError, EOFError, RemoteError):
        mine.taken("a")
        peer.ask = raising(error)
        mine.drop("a")
    mine._known = lambda: None
    mine.taken("a")
    mine.drop("a")


# ---- which anchor it is


def test_another_thread_opens_the_anchor_first(peer):
    mine, others = Ends(), Ends()

    def open_late():
        peer._anchor = others
        return mine

    peer._open_first_anchor = open_late
    assert peer._need_anchor() is others
    assert mine.closed and not others.closed


class Dead(Ends):
    """An anchor whose server has ended before it said the number."""

    meanwhile = staticmethod(lambda: None)

    @property
    def number(self):
        self.meanwhile()
        raise EOFError


def test_a_dead_anchor_is_replaced(peer):
    dead, fresh = Dead(), Ends()
    peer._anchor, peer._open_first_anchor = dead, lambda: fresh
    assert peer._number_of_anchor() == 5
    assert dead.closed and peer._anchor is fresh


def test_a_dead_anchor_that_another_thread_has_replaced(peer):
    others = Ends()
    dead = Dead(meanwhile=lambda: setattr(peer, "_anchor", others))
    peer._anchor, peer._open_first_anchor = dead, raising(AssertionError)
    assert peer._number_of_anchor() == 5
    assert dead.closed and peer._anchor is others and not others.closed


@pytest.mark.parametrize("error", [RemoteError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("opens", ["_open_anchor", "_open_line"])
def test_a_connection_that_the_server_refuses_is_closed(peer, opens, error):
    connection = Ends()
    peer._anchor = Ends()
    peer._connect = lambda *args: connection
    peer._ask_over = raising(error)
    with pytest.raises(type(error)):
        getattr(peer, opens)()
    assert connection.closed and [*peer._lines] == []


def test_a_line_is_among_those_that_a_child_closes(peer):
    connection, peer._anchor = Ends(), Ends()
    peer._connect, peer._ask_over = lambda: connection, lambda *what: None
    assert peer._open_line() is connection and [*peer._lines] == [connection]


@pytest.mark.parametrize("step", ["attend", "_await"])
def test_a_connection_that_cannot_be_made_is_closed(peer, step, monkeypatch):
    connection = Ends()
    monkeypatch.setattr(mproc.connection, "SocketClient", lambda address: connection)
    monkeypatch.setattr(peers, step, raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        peer._connect()
    assert connection.closed


def test_a_server_that_says_nothing(peer, monkeypatch):
    silent = Ends(poll=lambda seconds: False, recv_bytes=raising(AssertionError))
    monkeypatch.setattr(mproc.connection, "SocketClient", lambda address: silent)
    with pytest.raises(TimeoutError):
        peer._connect(1.0)
    assert silent.closed
    with pytest.raises(TimeoutError):
        peer._ask_over(silent, "hold", 0, patience=1.0)
    peers._await(Ends(poll=raising(AssertionError)), None)


def test_a_server_that_knows_no_holders_is_asked_over_one_connection_a_question(peer):
    answer, made = pickle.dumps(("#RETURN", 3)), []
    peer._open_anchor = raising(RemoteError("no function 'hold'"))

    def connect():
        made.append(Ends(recv_bytes=lambda: answer))
        return made[-1]

    peer._connect = connect
    assert peer.ask("number_of_objects") == 3 == peer.ask("number_of_objects")
    assert peer._plain and [one.closed for one in made] == [True, True]
    assert "line" not in peer._local.__dict__
    made.clear()
    answer = pickle.dumps(("#RETURN", ("ident", ())))
    again = peers.Peer(peer.address, "pickle", b"key")
    again._open_anchor, again._connect = peer._open_anchor, connect
    assert again.create("list", (), {}) == ("ident", ()) and [one.closed for one in made] == [True]


# ---- lines


def test_an_object_that_cannot_be_pickled_costs_no_line(served):
    """At the server the line is a thread, which may own locks."""
    a = served.list()
    line = a._peer._local.line
    with pytest.raises((AttributeError, pickle.PicklingError)):
        a.append(lambda: 1)
    assert a._peer._local.line is line and not line.closed
    a.append(1)
    assert a[:] == [1]


@pytest.mark.parametrize("error", [OSError, EOFError, KeyboardInterrupt])
@pytest.mark.parametrize("step", ["send", "recv_bytes"])
def test_a_call_that_fails_half_way_closes_its_line(peer, step, error):
    if step == "send" and error is EOFError:
        error = BrokenPipeError
    line = peer._local.line = Ends(**{step: raising(error)})
    with pytest.raises(error):
        peer.request("ident", "method")
    assert line.closed and "line" not in peer._local.__dict__


def test_a_line_is_free_while_its_reply_is_read(peer):
    """A proxy in it takes its reference over the line."""
    seen = []
    line = peer._local.line = Ends(recv_bytes=lambda: b"reply")
    peer._read = lambda message, ident: seen.append((peer._local.line, message, ident))
    peer.request("ident", "method")
    assert seen == [(line, b"reply", "ident")]


def test_a_reply_that_cannot_be_read_is_nobodys_any_more(peer):
    with pytest.raises(pickle.UnpicklingError):
        peer._read(b"no pickle", "nonce-1")
    assert peers._reading.peer is None and peers._reading.nonce == ""
    token = Token("list", peer.address, "nonce-1")
    peers.complete(token, kwds := {})
    assert kwds == {}


def test_replies_within_replies(peer, monkeypatch):
    other = peers.Peer("\0elsewhere", "pickle", b"other")
    token, kwds = Token("list", "\0inside", "nonce-1"), {}

    def read(message):
        if message:
            other._read(b"", "other-1")
            peers.complete(token, kwds)
        return "#RETURN", None

    monkeypatch.setattr(peer, "_wire", types.SimpleNamespace(read=read))
    monkeypatch.setattr(other, "_wire", peer._wire)
    peer._read(b"outer", "nonce-2")
    assert (token.address, kwds) == (peer.address, {"authkey": b"key"})


def test_a_key_that_a_proxy_has_is_not_replaced(peer, monkeypatch):
    token = Token("list", peer.address, "nonce-1")
    manager_keys[peer.address] = b"another"
    try:
        peers.complete(token, kwds := {"authkey": b"its own"})
        assert kwds == {"authkey": b"its own"}
        peers.complete(token, kwds := {})
        assert kwds == {"authkey": b"another"}
        monkeypatch.setattr(peers._reading, "peer", peer)
        peers.complete(token, kwds := {"authkey": b"its own"})
        assert kwds == {"authkey": b"its own"}
    finally:
        del manager_keys[peer.address]


def test_an_arrival_within_an_arrival():
    with peers.arrival("a", 1, 2):
        assert (peers.arriving("a"), peers.arriving("b")) == ((1, 2), ())
        with pytest.raises(EOFError), peers.arrival("b", 3, 4):
            assert (peers.arriving("a"), peers.arriving("b")) == ((), (3, 4))
            raise EOFError
        assert peers.arriving("a") == (1, 2)
    assert peers.arriving("a") == ()


# ---- references


def test_references_that_came_with_an_object_are_taken_once_each(peer):
    asked = []
    peer._anchor, peer.ask = Ends(), lambda *what: asked.append(what)
    peer.received("a")
    peer.received("a")
    first, second = peer.take("a"), peer.take("a")
    assert asked == [] and peer._received == {}
    third = peer.take("a")
    assert asked == [("incref", "a")] and peer._anchor.references == ["a"] * 3
    peer.drop_received("a")
    assert peer._anchor.references == ["a"] * 3
    del first, second, third
    assert peer._anchor.references == []
    peer.received("a")
    peer.drop_received("a")
    assert peer._anchor.references == [] and peer._received == {}


def test_all_references_are_dropped_with_a_word(peer):
    mine, inherited = Ends(), Ends()
    peer._anchor, peer._inherited = mine, {1: inherited, 2: mine}
    peer.drop_all()
    for one in (mine, inherited):
        assert one.said == ["bye"] and one.closed
    assert "_anchor" not in peer.__dict__ and peer._inherited == {}
    peer.drop_all()


LAST_LOOK = """
import mproc
from mproc import util
from mproc.managers import SyncManager

class Own(SyncManager):
    pass

if __name__ == "__main__":
    manager = Own(ctx=mproc.get_context("fork"))
    manager.start()
    a = manager.list()
    util.Finalize(None, lambda: print(manager._number_of_objects()), exitpriority=5)
"""


def test_references_are_dropped_before_the_manager_ends(program):
    program.write("look.py", LAST_LOOK)
    assert program.output("look.py") == "0\n"


def test_references_are_dropped_at_the_exit_of_each_process(peer, monkeypatch):
    """A child that ends has no finalizers of its parent's, or has called them."""
    made = []
    monkeypatch.setattr(peers.util, "Finalize", lambda *what, exitpriority: made.append(what))
    monkeypatch.setattr(peers, "_all_peers", lambda: [peer])
    for active, number in ((True, 0), (False, 1)):
        finalizer = types.SimpleNamespace(still_active=lambda active=active: active)
        monkeypatch.setattr(peers, "_finalizer", finalizer)
        peers._child.after_fork()
        assert made == []
        peer._anchor = Ends()
        peers._child.after_fork()
        assert made == [(None, peers._drop_all)] * number
        del peer._anchor


# ---- children


@pytest.mark.parametrize("made", [True, False])
def test_a_child_closes_what_is_its_parents(peer, made):
    lines, inherited, parents, childs = [Ends(), Ends()], Ends(), Ends(), Ends()
    peer._lines.update(lines)
    peer._local.line = lines[0]
    peer._anchor, peer._inherited = parents, {1: inherited}
    peer._next_anchor = childs if made else None
    peer.after_fork_in_child()
    assert all(one.closed for one in (*lines, inherited, parents)) and not childs.closed
    assert peer.__dict__.get("_anchor") is (childs if made else None)
    assert [*peer._lines] == [] and peer._local.__dict__ == {}
    assert peer._inherited == {} and peer._next_anchor is None


def test_a_parent_closes_what_is_its_childs(peer):
    parents = peer._anchor = Ends()
    childs = peer._next_anchor = Ends()
    peer.after_fork_in_parent()
    assert childs.closed and not parents.closed and peer._next_anchor is None
    peer.after_fork_in_parent()
    assert peer._anchor is parents


def test_an_anchor_that_cannot_be_made_prevents_no_fork(peer):
    peer._anchor = Ends(child=raising(RuntimeError("no more of them")))
    peer.before_fork()
    assert peer._next_anchor is None
    peer._plain, peer._anchor_of_child = True, raising(KeyboardInterrupt)
    peer.before_fork()


def test_references_that_a_child_is_given_have_one_anchor(peer, anchor, monkeypatch):
    asked, opened = [], []
    monkeypatch.setattr(mproc.reduction, "DupFd", lambda fd: fd)

    def open_anchor():
        opened.append(True)
        return anchor[0]

    peer._open_anchor, peer.ask = open_anchor, lambda *what: asked.append(what)
    closed = []
    popen = types.SimpleNamespace(close_after_start=closed.append)
    given = [peer.give_to_child(ident, popen) for ident in "ab"]
    assert given[0] == given[1] and given[0][1] == 7 and opened == [True]
    assert asked == [("give", 7, "a"), ("give", 7, "b")] and closed == [anchor[0].connection]
    assert peer.give_to_child("a", object()) is None
    peer._plain = True
    assert peer.give_to_child("a", popen) is None


def test_anchors_that_a_child_is_given(peer, monkeypatch):
    made = []

    def make(peer, connection, number):
        made.append(Ends(number=number))
        return made[-1]

    monkeypatch.setattr(peers, "Anchor", make)
    monkeypatch.setattr(mproc._mproc, "Connection", lambda fd: fd)
    duplicate = types.SimpleNamespace(detach=lambda: 0)
    for number, ident in ((1, "a"), (1, "b"), (2, "c")):
        peer.inherit(ident, duplicate, number)
    assert [one.number for one in made] == [1, 2] and peer._anchor is made[0]
    assert peer._received == {"a": 1, "b": 1} and made[0].references == ["a", "b"]
    assert peer._inherited == {1: made[0], 2: made[1]}


def test_a_server_of_the_parent_is_not_the_childs():
    server = Served(authkey=b"key").get_server()
    peers.register_server(server)
    try:
        assert peers.server_of(f"{server.nonce}-1") is server
        assert peers.server_of("other-1") is None
        pid = os.fork()
        if pid == 0:
            closed = server.listener._listener._socket.fileno() == -1
            os._exit(0 if closed and peers.server_of(f"{server.nonce}-1") is None else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        peers.forget_server(server)
        peers.forget_server(server)
        server.listener.close()
    assert peers.server_of(f"{server.nonce}-1") is None
