"""Shared arrays go through a Pipe by reference, wherever its messages happen to be."""

import contextlib
import multiprocessing.connection as standard
import os
import pickle
import subprocess
import sys

import pytest
from conftest import wait_until

import mproc
from mproc import _mproc
from mproc.connection import Connection, Pipe

np = pytest.importorskip("numpy", reason="numpy is not installed")


@pytest.fixture(params=[False, True], ids=["pipe", "duplex"])
def ends(request):
    receiver, sender = Pipe(request.param)
    with receiver, sender:
        yield receiver, sender


@pytest.fixture(params=["bytes", "memory"])
def ready(request, ends):
    """The next message is bytes in the kernel, or goes through memory."""
    receiver, sender = ends
    if request.param == "memory":
        sender.send("first")
        assert receiver.recv() == "first"
    return ends


def raw(connection):
    """A connection over the same descriptor that knows of no memory."""
    return Connection(os.dup(connection.fileno()), writable=False)


SHARED = {
    "small": lambda: mproc.asarray(np.arange(5)),
    "large": lambda: mproc.asarray(np.zeros(1_000_000)),
    "strided": lambda: mproc.asarray(np.arange(100))[::2],
    "readonly": lambda: readonly(mproc.asarray(np.arange(5))),
    "buffer": lambda: mproc.Buffer(100),
}


def readonly(array):
    array.flags.writeable = False
    return array


def place(value):
    """Return where the bytes are."""
    return np.asarray(value).__array_interface__["data"][0]


@pytest.mark.parametrize("kind", SHARED)
def test_by_reference(ready, kind):
    receiver, sender = ready
    sent = SHARED[kind]()
    sender.send(sent)
    got = receiver.recv()
    assert place(got) == place(sent)
    assert np.array_equal(np.asarray(got), np.asarray(sent))
    assert getattr(got, "strides", None) == getattr(sent, "strides", None)
    assert memoryview(got).readonly == memoryview(sent).readonly


def test_beside_other_things(ready):
    receiver, sender = ready
    array, other = mproc.asarray(np.arange(5)), mproc.Buffer(10)
    plain = np.arange(3)
    sender.send({"arrays": [array, array[1:], other], "plain": plain, "bytes": b"x" * 5000})
    got = receiver.recv()
    assert [place(one) for one in got["arrays"]] == [place(array), place(array[1:]), place(other)]
    assert not np.shares_memory(got["plain"], plain)
    assert (got["plain"] == plain).all() and got["bytes"] == b"x" * 5000


def test_the_sender_has_dropped_it(ready):
    receiver, sender = ready
    for number in range(10):
        sender.send(mproc.asarray(np.full(100, number)))
    for number in range(10):
        assert (receiver.recv() == number).all()


def test_many_under_way_and_none_is_received(ends):
    receiver, sender = ends
    used = _mproc.arena_stat()["used"]
    for _ in range(50):
        sender.send(mproc.empty(100_000))
    assert _mproc.arena_stat()["used"] > used + 50 * 800_000
    receiver.close()
    sender.close()


def test_several_receivers_overtake_each_other(ends):
    receiver, sender = ends
    for number in range(4):
        sender.send(mproc.asarray(np.full(3, number)))
    late = receiver.recv_bytes  # copies, but fetches the one that the message names
    assert (pickle.loads(late()) == 0).all()
    assert [receiver.recv()[0] for _ in range(3)] == [1, 2, 3]


def test_bytes_of_such_a_message_are_a_copy(ready):
    receiver, sender = ready
    sent = mproc.asarray(np.arange(5))
    sender.send(sent)
    data = receiver.recv_bytes()
    for _ in range(2):
        got = pickle.loads(data)
        assert (got == sent).all() and not np.shares_memory(got, sent)


def test_longer_than_allowed(ready):
    receiver, sender = ready
    sender.send(mproc.empty(100))
    with pytest.raises(OSError, match="bad message length"):
        receiver.recv_bytes(10)


def test_a_copy_goes_where_a_descriptor_was_asked_for(ends):
    receiver, sender = ends
    receiver.fileno()
    sent = mproc.asarray(np.arange(5))
    sender.send(sent)
    got = receiver.recv()
    assert (got == sent).all() and not np.shares_memory(got, sent)


def test_asked_for_while_it_is_under_way(ready):
    """Whoever unpickles the bytes in a process of the family has it, once."""
    receiver, sender = ready
    sent = mproc.asarray(np.arange(5))
    sender.send(sent)
    sender.send(sent)
    with raw(receiver) as stranger:
        assert place(stranger.recv()) == place(sent)
        data = stranger.recv_bytes()
        assert place(pickle.loads(data)) == place(sent)
        with pytest.raises(ValueError, match="unpickled before"):
            pickle.loads(data)


def test_another_family_is_told(ready):
    receiver, sender = ready
    sender.send(mproc.asarray(np.arange(5)))
    data = raw(receiver).recv_bytes()
    program = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    other = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True)
    assert b"not of its family" in other.stderr


@pytest.mark.parametrize("wrong", ["name", "address", "nothing"])
def test_bytes_that_only_look_like_it(ready, wrong):
    receiver, sender = ready
    sender.send(mproc.asarray(np.arange(5)))
    data = bytearray(raw_bytes(receiver))
    at = data.index(b"\x8a\x08") + (12 if wrong == "name" else 2)
    if wrong != "nothing":
        data[at] ^= 0xFF
    other_receiver, other_sender = Pipe()
    with other_receiver, other_sender:
        other_sender.send(mproc.asarray(np.arange(3)))
        other_sender.send_bytes(data)
        assert (other_receiver.recv() == np.arange(3)).all()
        if wrong == "nothing":
            assert (other_receiver.recv() == np.arange(5)).all()
        else:
            with pytest.raises(ValueError, match="not to be had"):
                other_receiver.recv()


def raw_bytes(receiver):
    with raw(receiver) as stranger:
        return stranger.recv_bytes()


def test_nobody_is_left_to_receive(ready):
    receiver, sender = ready
    receiver.close()
    used = _mproc.arena_stat()["used"]
    with pytest.raises(BrokenPipeError):
        sender.send(mproc.empty(1_000_000))
    assert _mproc.arena_stat()["used"] < used + 1_000_000


def add_one(connection):
    while (array := connection.recv()) is not None:
        array += 1
        connection.send(array)


def test_to_and_fro(ctx):
    one, other = ctx.Pipe()
    child = ctx.Process(target=add_one, args=(other,))
    child.start()
    with one, other:
        array = mproc.asarray(np.zeros(1000))
        for number in range(50):
            one.send(array)
            got = one.recv()
            assert np.shares_memory(got, array)
            assert (array == number + 1).all()
        one.send(None)
        child.join()
        assert child.exitcode == 0


def send_and_wait(connection, sent):
    for _ in range(3):
        connection.send(mproc.empty(100_000))
    sent.set()
    with contextlib.suppress(EOFError):
        connection.recv()


def test_the_sender_is_killed(ctx):
    one, other = ctx.Pipe()
    used = _mproc.arena_stat()["used"]
    sent = ctx.Event()
    child = ctx.Process(target=send_and_wait, args=(other, sent))
    child.start()
    other.close()
    assert one.recv().shape == (100_000,)
    sent.wait()
    child.kill()
    child.join()
    assert [one.recv().shape for _ in range(2)] == [(100_000,)] * 2
    with pytest.raises(EOFError):
        one.recv()
    one.close()
    wait_until(lambda: _mproc.reap() == 0 and _mproc.arena_stat()["used"] < used + 800_000)


def test_no_room_is_an_error():
    one, other = Pipe()
    with one, other:
        array = mproc.asarray(np.arange(5))
        one.send(array)
        assert np.shares_memory(other.recv(), array)
        with pytest.raises(MemoryError):
            one.send([array, mproc.Buffer(1 << 60)])


# ---------------------------------------------------------------- ends in other processes


def report(connection):
    connection.send(connection._end() is not None)
    while (message := connection.recv()) is not None:
        connection.send(message)


def test_a_child_has_the_memory_of_its_end(ctx):
    """By whatever method it is started."""
    one, other = ctx.Pipe()
    child = ctx.Process(target=report, args=(other,))
    child.start()
    other.close()
    with one:
        assert one.recv()
        for message in ("small", b"x" * 1_000_000, ["list"] * 100):
            one.send(message)
            assert one.recv() == message
        assert one._end() is not None
        one.send(None)
        child.join()
        assert child.exitcode == 0
        with pytest.raises(EOFError):
            one.recv()


def hold_on(connection):
    connection.send("here")
    connection.recv()


def test_the_end_of_a_killed_child(ctx):
    one, other = ctx.Pipe()
    child = ctx.Process(target=hold_on, args=(other,))
    child.start()
    other.close()
    with one:
        assert one.recv() == "here"
        child.kill()
        with pytest.raises(EOFError):
            one.recv()
        child.join()


def test_a_child_that_asks_for_the_descriptor(ctx):
    one, other = ctx.Pipe()
    child = ctx.Process(target=serve_raw, args=(other,))
    child.start()
    with one, other:
        for number in range(20):
            one.send(number)
            assert one.recv() == number
        child.join()


def serve_raw(connection):
    for _ in range(10):
        connection.send(connection.recv())
    with standard.Connection(os.dup(connection.fileno())) as bare:
        for _ in range(10):
            bare.send(bare.recv())


def test_messages_under_way_when_a_child_is_started(ctx):
    receiver, sender = ctx.Pipe(duplex=False)
    for number in range(3):
        sender.send([number, mproc.asarray(np.full(3, number))])
    back, answers = ctx.Pipe(duplex=False)
    child = ctx.Process(target=forward, args=(receiver, answers))
    child.start()
    with receiver, sender, back, answers:
        sender.send(None)
        assert [back.recv() for _ in range(3)] == [[number, number] for number in range(3)]
        child.join()


def forward(receiver, answers):
    while (message := receiver.recv()) is not None:
        number, array = message
        answers.send([number, int(array[0])])
