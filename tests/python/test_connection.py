"""Pipes, connections and wait: messages, their errors, and descriptors that travel."""

import array
import asyncio
import os
import pickle
import random
import select
import signal
import socket
import struct
import threading

import pytest
from conftest import alarmed, is_stopped, wait_until

import mproc
from mproc import connection, reduction, resource_sharer
from mproc.connection import Connection, Pipe, wait


@pytest.fixture
def pair():
    one, other = Pipe()
    with one, other:
        yield one, other


@pytest.fixture
def reader_writer():
    reader, writer = Pipe(duplex=False)
    with reader, writer:
        yield reader, writer


OBJECTS = [None, 0, "text", b"bytes", [1, [2]], {"a": (1, 2.5)}, {1, 2}, complex(1, 2), range(3)]


def test_objects(pair):
    one, other = pair
    for item in OBJECTS:
        assert one.send(item) is None
        assert other.recv() == item
        other.send(item)
        assert one.recv() == item


BORDERS = [0, 1 << 8, 1 << 16, 1 << 31, 1 << 32, 1 << 39, 1 << 47, 1 << 55, 1 << 63, 1 << 64]
INTS = sorted(
    {sign * border + step for border in BORDERS for sign in (1, -1) for step in (-1, 0, 1)}
)


class Count(int):
    """An int of another class, which its pickle names."""


def test_an_object_by_its_keyword(pair):
    one, other = pair
    one.send(obj=[1])
    assert other.recv() == [1]
    for arguments, keywords in (((), {}), ((1, 2), {}), ((), {"item": 1})):
        with pytest.raises(TypeError, match=r"^send\(\) "):
            one.send(*arguments, **keywords)


def test_ints(pair):
    one, other = pair
    for item in [*INTS, 1 << 200, True, False, Count(7)]:
        one.send(item)
        got = other.recv()
        assert (got, type(got)) == (item, type(item))
        one.send(item)
        assert pickle.loads(other.recv_bytes()) == item


def test_order(reader_writer):
    reader, writer = reader_writer
    for number in range(1000):
        writer.send(number)
    assert [reader.recv() for _ in range(1000)] == list(range(1000))


@pytest.mark.parametrize("size", [0, 1, 2, 16383, 16384, 16385, 1 << 20, (1 << 24) + 1])
def test_sizes(pair, size):
    one, other = pair
    message = random.Random(size).randbytes(size)
    thread = threading.Thread(target=one.send_bytes, args=(message,))
    thread.start()
    assert other.recv_bytes() == message
    thread.join()


def test_identity_within_a_message(pair):
    one, other = pair
    part = [1]
    one.send([part, part])
    first, second = other.recv()
    assert first is second


def test_properties(pair, reader_writer):
    one, _ = pair
    assert (one.readable, one.writable, one.closed) == (True, True, False)
    assert one.fileno() == one._handle
    reader, writer = reader_writer
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    assert not os.get_inheritable(reader.fileno())


def test_the_wrong_way(reader_writer):
    reader, writer = reader_writer
    for use in (lambda: reader.send(1), lambda: reader.send_bytes(b"")):
        with pytest.raises(OSError, match="connection is read-only"):
            use()
    for use in (
        writer.recv,
        writer.recv_bytes,
        writer.poll,
        lambda: writer.recv_bytes_into(bytearray(1)),
    ):
        with pytest.raises(OSError, match="connection is write-only"):
            use()


def test_closed(pair):
    one, _ = pair
    one.close()
    one.close()
    assert one.closed and one._handle is None
    for use in (
        one.recv,
        one.recv_bytes,
        one.fileno,
        one.poll,
        lambda: one.send(1),
        lambda: one.send_bytes(b""),
        lambda: one.recv_bytes_into(bytearray(1)),
        lambda: wait([one], 0),
    ):
        with pytest.raises(OSError, match="handle is closed"):
            use()


def test_the_end(pair):
    one, other = pair
    other.send(1)
    other.close()
    assert one.poll()
    assert one.recv() == 1
    assert one.poll() and wait([one], 0) == [one]
    for receive in (one.recv, one.recv_bytes, lambda: one.recv_bytes_into(bytearray(9))):
        with pytest.raises(EOFError):
            receive()
    with pytest.raises(BrokenPipeError):
        one.send(1)


def test_the_end_inside_a_message(reader_writer):
    reader, writer = reader_writer
    os.write(writer.fileno(), struct.pack("!i", 10) + b"only")
    writer.close()
    with pytest.raises(OSError, match="got end of file during message"):
        reader.recv_bytes()


def test_invalid_handles():
    for handle in (-1, 1 << 40, -(1 << 40)):
        with pytest.raises(ValueError, match="invalid handle"):
            Connection(handle)
    with pytest.raises(TypeError):
        Connection("1")
    with pytest.raises(ValueError, match="at least one of `readable` and `writable`"):
        Connection(0, readable=False, writable=False)
    nowhere = Connection(44977608)
    with pytest.raises(OSError, match="Bad file descriptor"):
        nowhere.poll()
    nowhere._handle = None
    assert nowhere.closed


def test_a_connection_owns_its_descriptor():
    reader, writer = os.pipe()
    with Connection(reader), Connection(writer):
        pass
    for fd in (reader, writer):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    reader, writer = os.pipe()
    kept = Connection(reader)
    kept._detach()
    assert kept.closed
    del kept
    Connection(writer)
    os.close(reader)


# ---- bytes


def test_send_bytes_slices(pair):
    one, other = pair
    message = b"abcdefghijklmnopqrstuvwxyz"
    for arguments, expected in [
        ((), message),
        ((5,), message[5:]),
        ((7, 8), message[7:15]),
        ((26,), b""),
        ((26, 0), b""),
        ((0, None), message),
    ]:
        one.send_bytes(message, *arguments)
        assert other.recv_bytes() == expected
    for arguments, error in [
        ((27,), "buffer length < offset"),
        ((22, 5), r"buffer length < offset \+ size"),
        ((26, 1), r"buffer length < offset \+ size"),
        ((-1,), "offset is negative"),
        ((4, -1), "size is negative"),
    ]:
        with pytest.raises(ValueError, match=error):
            one.send_bytes(message, *arguments)


def test_send_bytes_of_other_buffers(pair):
    one, other = pair
    numbers = array.array("i", range(4))
    one.send_bytes(numbers)
    assert other.recv_bytes() == numbers.tobytes()
    one.send_bytes(numbers, 4, 8)
    assert other.recv_bytes() == numbers.tobytes()[4:12]
    one.send_bytes(memoryview(b"abcd")[1:3])
    assert other.recv_bytes() == b"bc"
    for bad in ("text", 3, None):
        with pytest.raises(TypeError):
            one.send_bytes(bad)


def test_recv_bytes_into(pair):
    one, other = pair
    numbers, buffer = array.array("i", range(4)), array.array("i", [0] * 10)
    one.send_bytes(numbers)
    assert other.recv_bytes_into(buffer, 3 * buffer.itemsize) == 16
    assert buffer.tolist() == [0, 0, 0, 0, 1, 2, 3, 0, 0, 0]
    one.send_bytes(b"too long for it")
    with pytest.raises(mproc.BufferTooShort) as raised:
        other.recv_bytes_into(bytearray(3))
    assert raised.value.args == (b"too long for it",)
    one.send_bytes(b"")
    assert other.recv_bytes_into(bytearray(0)) == 0
    with pytest.raises(ValueError, match="negative offset"):
        other.recv_bytes_into(buffer, -1)
    with pytest.raises(ValueError, match="offset too large"):
        other.recv_bytes_into(buffer, 41)
    with pytest.raises(TypeError):
        other.recv_bytes_into(b"read-only")


def test_recv_bytes_limit(pair, reader_writer):
    one, other = pair
    one.send_bytes(b"12345")
    assert other.recv_bytes(5) == b"12345"
    with pytest.raises(ValueError, match="negative maxlength"):
        other.recv_bytes(-1)
    one.send_bytes(b"12345")
    with pytest.raises(OSError, match="bad message length"):
        other.recv_bytes(4)
    assert not other.readable and other.writable and not other.closed
    reader, writer = reader_writer
    writer.send_bytes(b"12345")
    with pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(4)
    assert reader.closed


def test_the_wire(reader_writer):
    """4 bytes of length, network order, then the bytes: as the standard library's connections."""
    reader, writer = reader_writer
    writer.send_bytes(b"hello")
    assert os.read(reader.fileno(), 100) == b"\0\0\0\5hello"
    writer.send([1])
    data = os.read(reader.fileno(), 100)
    assert struct.unpack("!i", data[:4]) == (len(data) - 4,)
    assert pickle.loads(data[4:]) == [1]
    os.write(writer.fileno(), struct.pack("!iQ", -1, 2) + b"ab")
    assert reader.recv_bytes() == b"ab"


def test_a_peer_of_the_standard_library():
    import multiprocessing.connection as standard

    one, other = socket.socketpair()
    if standard.Connection is Connection:
        pytest.skip("multiprocessing is mproc here")
    with Connection(one.detach()) as ours, standard.Connection(other.detach()) as theirs:
        for item in OBJECTS:
            ours.send(item)
            assert theirs.recv() == item
            theirs.send(item)
            assert ours.recv() == item


def test_bytes_of_the_stream(pair, reader_writer):
    """_read(), which handshakes are made of."""
    one, other = pair
    one.send_bytes(b"hello")
    one.send_bytes(b"you")
    assert other._read(6) == b"\0\0\0\5he"
    assert other._read(1024) == b"llo\0\0\0\3you"
    os.set_blocking(other.fileno(), False)
    thread = threading.Timer(0.01, os.write, (one.fileno(), b"late"))
    thread.start()
    assert other._read(100) == b"late"
    thread.join()
    for most in (0, -1, 1025):
        with pytest.raises(ValueError, match="most must be between 1 and 1024"):
            other._read(most)
    one.close()
    assert other._read(1) == b""
    other.close()
    with pytest.raises(OSError, match="handle is closed"):
        other._read(1)
    with pytest.raises(OSError, match="connection is write-only"):
        reader_writer[1]._read(1)


# ---- objects that make trouble


def test_what_cannot_be_pickled_is_not_sent(pair):
    one, other = pair
    with pytest.raises((pickle.PicklingError, AttributeError)):
        one.send(lambda: None)
    assert not other.poll()
    one.send(1)
    assert other.recv() == 1


def fail():
    raise ValueError("never again")


class Unloadable:
    def __reduce__(self):
        return fail, ()


def test_what_cannot_be_unpickled_is_consumed(pair):
    one, other = pair
    one.send(Unloadable())
    one.send(2)
    with pytest.raises(ValueError, match="never again"):
        other.recv()
    assert other.recv() == 2


class Closing:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        self.victim.close()
        return int, ()


def test_closed_while_pickling(pair):
    one, _ = pair
    with pytest.raises(OSError, match="handle is closed"):
        one.send(Closing(one))


# ---- waiting


def test_poll(pair):
    one, other = pair
    for arguments in ((), (0,), (0.0,), (-1,), (0.01,)):
        assert one.poll(*arguments) is False
    other.send_bytes(b"")
    for arguments in ((), (0,), (None,), (10,)):
        assert one.poll(*arguments) is True
    assert one.poll(timeout=0.0) is True
    assert one.recv_bytes() == b""
    assert one.poll() is False
    for bad, error in [("1", TypeError), (float("nan"), ValueError), (1e300, OverflowError)]:
        with pytest.raises(error):
            one.poll(bad)
    with pytest.raises(TypeError, match="at most 1 argument"):
        one.poll(1, 2)
    with pytest.raises(TypeError, match="unexpected or repeated argument 'time'"):
        one.poll(time=2)
    with pytest.raises(TypeError, match="unexpected or repeated argument 'timeout'"):
        one.poll(1, timeout=2)


def test_wait_for_kinds_of_things(pair):
    one, other = pair
    left, right = socket.socketpair()
    event = os.eventfd(0)
    with left, right:
        things = [one, left, event]
        assert wait(things, 0) == wait(things, -1) == wait(tuple(things), timeout=0.01) == []
        right.send(b"x")
        assert wait(things, 10) == [left]
        other.send(1)
        assert wait(things) == [one, left]
        os.eventfd_write(event, 1)
        assert wait(iter(things), None) == things
        assert wait([one, one], 0) == [one, one]
    os.close(event)
    assert wait([], 0.01) == []


def test_wait_for_many():
    pairs = [Pipe(duplex=False) for _ in range(100)]
    readers = [reader for reader, _ in pairs]
    assert wait(readers, 0) == []
    for index in (3, 77):
        pairs[index][1].send(index)
    assert [reader.recv() for reader in wait(readers)] == [3, 77]
    for end in sum(pairs, ()):
        end.close()


def test_wait_for_what_cannot_be_waited_for():
    with pytest.raises(ValueError, match="Invalid file object: 'x'"):
        wait(["x"], 0)
    with pytest.raises(ValueError, match="negative"):
        wait([-1], 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        wait([999_999], 0)
    with pytest.raises(TypeError):
        wait(3)


def test_signals_while_waiting(pair):
    """Handlers run; the wait goes on, unless the handler raises."""
    one, other = pair
    ran = []

    def handler(number, frame):
        ran.append(number)
        if len(ran) == 2:
            other.send("done")

    def raising(number, frame):
        raise InterruptedError("enough")

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        assert one.recv() == "done"
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, raising)
        with pytest.raises(InterruptedError, match="enough"):
            alarmed(0.02, one.poll, None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_other_event_loops(pair):
    one, other = pair
    other.send(1)
    assert select.select([one], [], [], 0)[0] == [one]

    async def ready():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_reader(one.fileno(), lambda: future.done() or future.set_result(one.recv()))
        return await future

    assert asyncio.run(ready()) == 1


# ---- between processes


def echo(end):
    with end:
        for message in iter(end.recv, None):
            end.send(message)


def test_a_connection_for_a_child(ctx):
    one, other = ctx.Pipe()
    process = ctx.Process(target=echo, args=(other,))
    process.start()
    other.close()
    for item in OBJECTS[1:]:
        one.send(item)
        assert one.recv() == item
    one.send(None)
    with pytest.raises(EOFError):
        one.recv()
    one.close()
    process.join()


def use_sent_connection(end):
    with end:
        with end.recv() as sent:
            sent.send("through it")
        with end.recv() as sock:
            sock.sendall(b"as well")
        end.recv()


def test_connections_and_sockets_travel(ctx):
    """To a process that runs already, over another connection."""
    one, other = ctx.Pipe()
    process = ctx.Process(target=use_sent_connection, args=(other,))
    process.start()
    other.close()
    reader, writer = Pipe(duplex=False)
    one.send(writer)
    writer.close()
    assert reader.recv() == "through it"
    with pytest.raises(EOFError):
        reader.recv()
    reader.close()
    left, right = socket.socketpair()
    one.send(right)
    right.close()
    assert left.recv(100) == b"as well"
    left.close()
    one.send(None)
    one.close()
    process.join()
    assert process.exitcode == 0
    resource_sharer.stop()


def test_the_first_socket_is_picklable_too(program):
    """Nothing but the pickling itself tells the package that the program has sockets."""
    program.output(
        "-c",
        """
import mproc, socket
reader, writer = mproc.Pipe(duplex=False)
left, right = socket.socketpair()
writer.send(right)
with reader.recv() as copy:
    copy.sendall(b'x')
assert left.recv(9) == b'x'
""",
    )


def test_a_ticket_is_good_once(reader_writer):
    reader, writer = reader_writer
    ticket = reduction.ForkingPickler.dumps(writer)
    copy = reduction.ForkingPickler.loads(ticket)
    with copy:
        copy.send("x")
    assert reader.recv() == "x"
    with pytest.raises(ValueError, match="has been fetched already"):
        reduction.ForkingPickler.loads(ticket)
    never = resource_sharer.DupFd(writer.fileno())
    assert never is not None
    resource_sharer.stop(timeout=30)
    resource_sharer.stop()


def offer_and_stop(end):
    """Offer a descriptor, and stop before it can be fetched."""
    kept = os.memfd_create("what takes the system a while when it ends the process")
    os.posix_fallocate(kept, 0, 64 << 20)
    end.send(resource_sharer.DupFd(0))
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_lost_descriptor_is_reported_when_the_death_can_be_seen(ctx):
    """Programs that meet the error look for the process that died."""
    reader, writer = ctx.Pipe(duplex=False)
    process = ctx.Process(target=offer_and_stop, args=(writer,))
    process.start()
    duplicate = reader.recv()
    assert wait_until(lambda: is_stopped(process.pid))
    killer = threading.Timer(0.01, process.kill)
    killer.start()
    with pytest.raises(ConnectionError):
        duplicate.detach()
    assert not process.is_alive()
    killer.join()
    process.join()
    with pytest.raises(ConnectionError):
        duplicate.detach()
    reader.close()
    writer.close()


def receive_fd(end):
    with end:
        fd = reduction.recv_handle(end)
        os.write(fd, b"written by the child")
        os.close(fd)


def test_send_handle(ctx, tmp_path):
    one, other = ctx.Pipe()
    process = ctx.Process(target=receive_fd, args=(other,))
    process.start()
    path = tmp_path / "file"
    with open(path, "wb") as file:
        reduction.send_handle(one, file.fileno(), process.pid)
    process.join()
    assert path.read_bytes() == b"written by the child"
    one.close()
    other.close()


def test_recv_handle_without_one(pair):
    one, other = pair
    os.write(one.fileno(), b"\0")
    with pytest.raises(RuntimeError, match="received 0 descriptors instead of 1"):
        reduction.recv_handle(other)
    one.close()
    with pytest.raises(EOFError):
        reduction.recv_handle(other)


def test_sendfds():
    left, right = socket.socketpair()
    with left, right:
        reduction.sendfds(left, [0, 1, 2])
        fds = reduction.recvfds(right, 3)
        assert len(fds) == 3
        for fd in fds:
            os.close(fd)
        reduction.sendfds(left, [0])
        with pytest.raises(RuntimeError, match="received 1 descriptors instead of 3"):
            reduction.recvfds(right, 3)


def sum_of(ends):
    total = 0
    for end in ends:
        with end:
            total += end.recv()
    os._exit(total)


def test_many_descriptors_for_a_child(ctx, method):
    pairs = [Pipe(duplex=False) for _ in range(50)]
    for _, writer in pairs:
        writer.send(1)
    process = ctx.Process(target=sum_of, args=([reader for reader, _ in pairs],))
    process.start()
    process.join()
    assert process.exitcode == 50
    for end in sum(pairs, ()):
        end.close()


def test_too_many_descriptors_for_a_forkserver_child():
    reader, writer = Pipe(duplex=False)
    process = mproc.get_context("forkserver").Process(target=int, args=(writer,))
    process._args = tuple(Connection(os.dup(writer.fileno())) for _ in range(300))
    with pytest.raises(ValueError, match="too many fds"):
        process.start()
    for end in process._args:
        end.close()
    reader.close()
    writer.close()


def test_module_names():
    assert connection._ConnectionBase is Connection
    assert Connection.__module__ == "mproc.connection"
    assert connection.BufferTooShort is mproc.BufferTooShort
    assert connection.AuthenticationError is mproc.AuthenticationError
    for name in connection.__all__:
        assert hasattr(connection, name)


def send_and_end(end, sock):
    end.send(sock)


def test_the_sender_of_a_descriptor_has_ended(ctx):
    """The descriptor has ended with it, and the error says so."""
    end, other = ctx.Pipe()
    left, right = socket.socketpair()
    with end, other, left, right:
        process = ctx.Process(target=send_and_end, args=(other, right))
        process.start()
        process.join()
        with pytest.raises(ConnectionRefusedError, match="the process that sent this descriptor"):
            end.recv()
