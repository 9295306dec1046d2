"""What programs do with the two ends of a Pipe(), before and while messages go through memory.

Each use is tried on a fresh pipe, whose descriptor is asked for before the first message, and in
the middle of a stream: then messages are in memory that only the descriptor's new user can miss.
"""

import array
import asyncio
import contextlib
import fcntl
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import termios
import threading

import pytest
from conftest import wait_until

import mproc
from mproc import _mproc, reduction, resource_sharer
from mproc.connection import Connection, Pipe, wait

np = pytest.importorskip("numpy", reason="numpy is not installed")

MARKER = 4  # bytes in the kernel while the messages of a socket are in memory


def is_end(fd):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}").startswith(("socket:", "pipe:"))
    return False


def numbers():
    return {int(fd) for fd in os.listdir("/proc/self/fd") if is_end(fd)}


def readable(fd):
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


class Ends:
    """A receiver and a sender; their descriptors' numbers, found without asking for them."""

    def __init__(self, duplex):
        before = numbers()
        self.receiver, self.sender = Pipe(duplex)
        self.receivers_number, self.senders_number = sorted(numbers() - before)
        self.duplex = duplex

    def put_into_memory(self, messages):
        """A receiver that has read a message invites the sender to use memory for the next."""
        self.sender.send("first")
        assert self.receiver.recv() == "first"
        for message in messages:
            self.sender.send(message)
        in_kernel = MARKER if self.duplex and messages else 0
        assert readable(self.receivers_number) == in_kernel

    def close(self):
        self.receiver.close()
        self.sender.close()


@pytest.fixture(params=[False, True], ids=["pipe", "duplex"])
def ends(request):
    made = Ends(request.param)
    yield made
    made.close()


@pytest.fixture(params=["before", "amid"])
def asked(request, ends):
    """Asks for the descriptors, or puts three messages into memory; either way they are sent."""
    if request.param == "before":
        ends.receiver.fileno()
        for number in range(3):
            ends.sender.send(number)
    else:
        ends.put_into_memory(range(3))
    return ends


def frames(fd, count):
    """Reads messages as somebody who has only a descriptor."""
    with Connection(os.dup(fd), writable=False) as stranger:
        return [stranger.recv() for _ in range(count)]


# ---------------------------------------------------------------- the library's own


def test_messages_go_through_memory_in_both_directions():
    ends = Ends(duplex=True)
    ends.put_into_memory(["here"])
    ends.receiver.send("back")
    assert ends.receiver.recv() == "here"
    assert ends.sender.recv() == "back"
    ends.receiver.send("again")
    assert readable(ends.senders_number) == MARKER
    assert ends.sender.recv() == "again"
    ends.close()


def test_poll_and_wait_see_messages_in_memory(ends):
    ends.put_into_memory(["a"])
    with mproc.Pipe()[0] as other:  # at its end
        assert wait([other, ends.receiver]) == [other, ends.receiver]
        assert ends.receiver.poll()
        assert ends.receiver.poll(10)
        assert ends.receiver.recv() == "a"
        assert not ends.receiver.poll()
        assert wait([ends.receiver, other]) == [other]
        assert wait([ends.receiver], 0) == []
        ends.sender.send("b")
        assert wait([ends.receiver]) == [ends.receiver]
        assert ends.receiver.recv() == "b"


def test_bytes_of_all_kinds_through_memory(ends):
    ends.put_into_memory([])
    receiver, sender = ends.receiver, ends.sender
    sender.send_bytes(b"")
    sender.send_bytes(b"0123456789", 2, 3)
    sender.send_bytes(b"into")
    sender.send_bytes(b"too long")
    sender.send_bytes(b"last")
    assert receiver.recv_bytes() == b""
    assert receiver.recv_bytes(3) == b"234"
    buffer = bytearray(6)
    assert receiver.recv_bytes_into(buffer, 1) == 4
    assert buffer == b"\0into\0"
    with pytest.raises(mproc.BufferTooShort) as caught:
        receiver.recv_bytes_into(buffer)
    assert caught.value.args == (b"too long",)
    assert receiver.recv_bytes(100) == b"last"


def test_a_message_in_memory_that_is_longer_than_allowed(ends):
    ends.put_into_memory([])
    ends.sender.send_bytes(b"too long")
    with pytest.raises(OSError, match="bad message length"):
        ends.receiver.recv_bytes(3)
    assert ends.receiver.closed == (not ends.duplex)
    assert not ends.receiver.readable or ends.receiver.closed


def test_large_messages_between_small_ones(ends):
    ends.put_into_memory(["small"])
    large = bytes(range(256)) * 10000
    thread = threading.Thread(target=lambda: [ends.sender.send(m) for m in (large, "small", large)])
    thread.start()
    assert [ends.receiver.recv() for _ in range(4)] == ["small", large, "small", large]
    thread.join()


class Sending:
    """A thread that sends a message too large for the kernel, which waits in memory."""

    def __init__(self, ends, message):
        if readable(ends.receivers_number) == 0:
            ends.put_into_memory([])
        used = _mproc.arena_stat()["used"]
        self.error = None
        self.thread = threading.Thread(target=self.send, args=(ends.sender, message))
        self.thread.start()
        wait_until(lambda: _mproc.arena_stat()["used"] > used + 1_000_000)
        wait_until(lambda: not ends.duplex or readable(ends.receivers_number) == MARKER)

    def send(self, sender, message):
        try:
            sender.send(message)
        except OSError as error:
            self.error = error

    def join(self):
        self.thread.join()
        return self.error


LARGE = {
    "bytes": bytes(range(256)) * 10000,
    "text": "mproc" * 500_000,
    "array": np.arange(500_000),
    "arrays": {"a": np.ones((1000, 300)).T, "b": [bytearray(1_000_000), np.arange(10)]},
}


@pytest.fixture(params=LARGE)
def large(request):
    return LARGE[request.param]


def same(one, other):
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return all(map(same, one, other))
    return one == other


def test_large_objects_through_memory(ends, large):
    sending = Sending(ends, large)
    got = ends.receiver.recv()
    assert same(got, large)
    assert sending.join() is None


def test_what_is_received_is_the_receivers_own(ends):
    array = np.zeros(500_000)
    sending = Sending(ends, array)
    got = ends.receiver.recv()
    got += 1
    assert not array.any()
    assert sending.join() is None


def test_bytes_of_a_large_object(ends, large):
    sending = Sending(ends, large)
    assert same(pickle.loads(ends.receiver.recv_bytes()), large)
    assert sending.join() is None
    sending = Sending(ends, large)
    with pytest.raises(mproc.BufferTooShort) as short:
        ends.receiver.recv_bytes_into(bytearray(10))
    assert same(pickle.loads(short.value.args[0]), large)
    assert sending.join() is None
    sending = Sending(ends, large)
    room = bytearray(20_000_000)
    size = ends.receiver.recv_bytes_into(room, 7)
    assert same(pickle.loads(room[7 : 7 + size]), large)
    assert sending.join() is None


def test_a_large_object_that_is_longer_than_allowed(ends, large):
    sending = Sending(ends, large)
    with pytest.raises(OSError, match="bad message length"):
        ends.receiver.recv_bytes(1000)
    sending.join()


def test_poll_and_wait_see_a_large_object(ends, large):
    sending = Sending(ends, large)
    assert ends.receiver.poll(10)
    assert ends.receiver.poll()
    assert wait([ends.receiver]) == [ends.receiver]
    assert same(ends.receiver.recv(), large)
    assert sending.join() is None


def test_a_large_object_is_bytes_when_the_descriptor_is_asked_for(ends, large):
    sending = Sending(ends, large)
    assert same(frames(ends.receiver.fileno(), 1)[0], large)
    assert sending.join() is None


def test_a_large_object_is_bytes_when_the_sender_asks(ends, large):
    sending = Sending(ends, large)
    ends.sender.fileno()
    assert same(ends.receiver.recv(), large)
    assert sending.join() is None


def test_nobody_receives_a_large_object(ends, large):
    used = _mproc.arena_stat()["used"]
    sending = Sending(ends, large)
    ends.receiver.close()
    assert isinstance(sending.join(), BrokenPipeError)
    assert _mproc.arena_stat()["used"] < used + 500_000


def echo(connection):
    while (message := connection.recv()) is not None:
        connection.send(message)


def test_large_objects_to_and_fro(ctx):
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=echo, args=(theirs,))
    child.start()
    for number, large in enumerate(LARGE.values()):
        ours.send(number)
        assert ours.recv() == number
        for _ in range(3):
            ours.send(large)
            assert same(ours.recv(), large)
    ours.send(None)
    child.join()
    assert child.exitcode == 0
    ours.close()
    theirs.close()


def offer_and_be_killed(connection, large):
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
    connection.send(large)


def test_the_sender_of_a_large_object_is_killed(ends):
    ends.put_into_memory([])
    child = mproc.get_context("fork").Process(
        target=offer_and_be_killed, args=(ends.sender, LARGE["arrays"])
    )
    child.start()
    ends.sender.close()
    child.join()
    with contextlib.suppress(EOFError, OSError):
        assert same(ends.receiver.recv(), LARGE["arrays"])
    with pytest.raises((EOFError, OSError)):
        ends.receiver.recv()


def test_the_room_of_a_pipe_is_there(ends):
    """A program that sends some 50,000 bytes before anybody receives runs as it did."""
    ends.put_into_memory([])
    for number in range(50):
        ends.sender.send_bytes(bytes([number]) * 1000)
    for number in range(50):
        assert ends.receiver.recv_bytes() == bytes([number]) * 1000


def test_threads_at_one_end(ends):
    ends.put_into_memory([])
    received = []

    def receive():
        for _ in range(500):
            received.append(ends.receiver.recv())

    def send(first):
        for number in range(first, first + 250):
            ends.sender.send(number)

    receiver = threading.Thread(target=receive)
    receiver.start()
    senders = [threading.Thread(target=send, args=(first,)) for first in (0, 250)]
    for sender in senders:
        sender.start()
    for thread in [receiver, *senders]:
        thread.join()
    assert sorted(received) == list(range(500))
    for first in (0, 250):  # in the order of each sender
        own = [number for number in received if first <= number < first + 250]
        assert own == sorted(own)


# ---------------------------------------------------------------- the end


def drained(receiver):
    messages = []
    with pytest.raises(EOFError):
        while True:
            messages.append(receiver.recv())
    return messages


def test_end_behind_messages_in_memory(ends):
    ends.put_into_memory([1, 2])
    ends.sender.close()
    assert drained(ends.receiver) == [1, 2]
    assert ends.receiver.poll()
    assert wait([ends.receiver]) == [ends.receiver]


def test_end_for_one_who_looks_at_the_descriptor(ends):
    ends.put_into_memory([1])
    ends.sender.close()
    fd = ends.receiver.fileno()
    assert frames(fd, 1) == [1]
    assert select.select([fd], [], [], 10)[0] == [fd]
    assert os.read(fd, 1) == b""


def send_until_killed(receiver, sender):
    receiver.close()
    number = 0
    while True:
        sender.send(number)
        number += 1


def test_end_of_a_killed_sender(ends):
    child = mproc.get_context("fork").Process(
        target=send_until_killed, args=(ends.receiver, ends.sender)
    )
    child.start()
    ends.sender.close()
    assert [ends.receiver.recv() for _ in range(100)] == list(range(100))
    child.kill()
    child.join()
    rest = drained(ends.receiver) if not ends.duplex else complete(ends.receiver)
    assert rest == list(range(100, 100 + len(rest)))


def complete(receiver):
    """A message that a killed sender had begun in the kernel is none."""
    messages = []
    with contextlib.suppress(OSError, EOFError):
        while True:
            messages.append(receiver.recv())
    return messages


def test_nobody_is_left_to_receive(ends):
    ends.put_into_memory([1])
    ends.receiver.close()
    with pytest.raises(BrokenPipeError):
        ends.sender.send(2)
    with pytest.raises(BrokenPipeError):
        os.write(ends.sender.fileno(), b"x")


def receive_one_and_wait(receiver, sender):
    sender.close()
    receiver.recv()
    signal.pause()


def test_the_receiver_is_killed(ends):
    child = mproc.get_context("fork").Process(
        target=receive_one_and_wait, args=(ends.receiver, ends.sender)
    )
    child.start()
    ends.receiver.close()
    ends.sender.send(1)
    child.kill()
    child.join()
    with pytest.raises(BrokenPipeError):
        ends.sender.send(2)


# ---------------------------------------------------------------- the descriptor


def test_select(asked):
    fd = asked.receiver.fileno()
    assert fd == asked.receivers_number
    for number in range(3):
        assert select.select([fd], [], [], 0)[0] == [fd]
        assert asked.receiver.recv() == number
    assert select.select([fd], [], [], 0)[0] == []
    asked.sender.send("more")
    assert select.select([fd], [], [], 10)[0] == [fd]
    assert asked.receiver.recv() == "more"


def test_the_senders_descriptor(asked):
    fd = asked.sender.fileno()
    message = pickle.dumps("raw")
    os.write(fd, len(message).to_bytes(4, "big") + message)
    assert [asked.receiver.recv() for _ in range(4)] == [0, 1, 2, "raw"]
    assert select.select([asked.receiver.fileno()], [], [], 0)[0] == []


def test_dup(asked):
    assert frames(asked.receiver.fileno(), 3) == [0, 1, 2]
    asked.sender.send(3)
    assert frames(asked.receiver.fileno(), 1) == [3]


def test_handle(asked):
    assert frames(asked.receiver._handle, 3) == [0, 1, 2]


def test_detach(asked):
    fd = asked.receivers_number
    asked.receiver._detach()
    assert frames(fd, 3) == [0, 1, 2]
    os.close(fd)


def test_both_sides_ask(asked):
    first = asked.sender.fileno()
    assert frames(asked.receiver.fileno(), 3) == [0, 1, 2]
    message = pickle.dumps("raw")
    os.write(first, len(message).to_bytes(4, "big") + message)
    assert asked.receiver.recv() == "raw"


STANDARD = """
import sys
from multiprocessing.connection import Connection
with Connection(int(sys.argv[1]), writable=False) as receiver:
    print([receiver.recv() for _ in range(3)])
"""


def test_a_program_that_inherits_it_and_has_the_standard_library(asked):
    fd = asked.receiver.fileno()
    command = [sys.executable, "-c", STANDARD, str(fd)]
    output = subprocess.run(command, pass_fds=[fd], stdout=subprocess.PIPE, check=True).stdout
    assert output.decode().strip() == "[0, 1, 2]"


STRANGER = """
import socket, sys
from multiprocessing.connection import Connection
with socket.socket(fileno=int(sys.argv[1])) as way:
    _, fds, _, _ = socket.recv_fds(way, 1, 1)
with Connection(fds[0], writable=False) as receiver:
    print([receiver.recv() for _ in range(3)])
"""


def test_descriptor_passing_to_a_stranger(asked):
    mine, its = socket.socketpair()
    with mine, its:
        command = [sys.executable, "-c", STRANGER, str(its.fileno())]
        stranger = subprocess.Popen(command, pass_fds=[its.fileno()], stdout=subprocess.PIPE)
        socket.send_fds(mine, [b"x"], [asked.receiver.fileno()])
        output, _ = stranger.communicate()
    assert output.decode().strip() == "[0, 1, 2]"


def test_asyncio_streams(asked):
    async def read():
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        with open(os.dup(asked.receiver.fileno()), "rb", 0) as file:
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), file
            )
            messages = []
            for _ in range(3):
                size = int.from_bytes(await reader.readexactly(4), "big")
                messages.append(pickle.loads(await reader.readexactly(size)))
            transport.close()
        return messages

    assert asyncio.run(read()) == [0, 1, 2]


def test_asyncio_add_reader(asked):
    async def read():
        loop, messages = asyncio.get_running_loop(), []
        done = loop.create_future()

        def take():
            messages.append(asked.receiver.recv())
            if len(messages) == 3:
                done.set_result(messages)

        loop.add_reader(asked.receiver, take)
        result = await asyncio.wait_for(done, 10)
        loop.remove_reader(asked.receiver)
        return result

    assert asyncio.run(read()) == [0, 1, 2]


def test_asked_for_while_the_other_side_waits(ends):
    ends.put_into_memory([])
    received = []
    thread = threading.Thread(target=lambda: received.append(ends.receiver.recv()))
    thread.start()
    ends.sender.fileno()
    ends.sender.send("bytes")
    thread.join()
    assert received == ["bytes"]


def test_asked_for_while_the_sender_is_blocked(ends):
    ends.put_into_memory([])
    sent = []

    def send():
        for number in range(3000):
            ends.sender.send_bytes(number.to_bytes(500, "big"))
            sent.append(number)

    thread = threading.Thread(target=send)
    thread.start()
    wait_until(lambda: len(sent) > 50)
    with Connection(os.dup(ends.receiver.fileno()), writable=False) as stranger:
        got = [int.from_bytes(stranger.recv_bytes(), "big") for _ in range(3000)]
    thread.join()
    assert got == list(range(3000))


# ---------------------------------------------------------------- other processes


def receive_three(receiver, answers):
    answers.put([receiver.recv() for _ in range(3)])


def test_an_argument_of_a_process(asked, ctx):
    answers = ctx.Queue()
    child = ctx.Process(target=receive_three, args=(asked.receiver, answers))
    child.start()
    assert answers.get() == [0, 1, 2]
    child.join()
    answers.close()


def test_over_a_connection(asked):
    one, other = Pipe()
    with one, other:
        one.send(asked.receiver)
        with other.recv() as copy:
            assert [copy.recv() for _ in range(3)] == [0, 1, 2]
            asked.sender.send("more")
            assert copy.recv() == "more"
    resource_sharer.stop()


def test_sent_to_a_member_an_end_keeps_its_memory(ends):
    ends.put_into_memory([1, 2])
    one, other = Pipe()
    with one, other:
        one.send(ends.receiver)
        with other.recv() as copy:
            assert copy._end()[1:] == ends.receiver._end()[1:]
            assert copy.recv() == 1
            ends.sender.send(3)
            assert [ends.receiver.recv(), copy.recv()] == [2, 3]
            ends.sender.send(4)
            assert readable(ends.receivers_number) == (MARKER if ends.duplex else 0)
            assert copy.recv() == 4
    resource_sharer.stop()


def echo_sent(tasks):
    with tasks.get() as end:
        end.send(end._end() is not None)
        while (message := end.recv()) is not None:
            end.send(message)


def test_put_into_a_queue_an_end_keeps_its_memory(ctx):
    mine, its = ctx.Pipe()
    tasks = ctx.Queue()
    child = ctx.Process(target=echo_sent, args=(tasks,))
    child.start()
    tasks.put(its)
    with mine:
        assert mine.recv() is True
        its.close()
        for message in [*range(300), "x" * 3000, b"y" * 800_000]:
            mine.send(message)
            assert mine.recv() == message
        mine.send(None)
        with pytest.raises(EOFError):
            mine.recv()
        assert mine._end() is not None
    child.join()
    tasks.close()
    resource_sharer.stop()


kept = []


def end_of_a_new_pipe():
    mine, its = Pipe()
    kept.append(mine)
    return its


def receive_from_the_kept():
    return kept.pop().recv()


def test_returned_from_a_pool_an_end_keeps_its_memory(ctx):
    with ctx.Pool(1) as pool, pool.apply(end_of_a_new_pipe) as end:
        assert end._end() is not None
        later = pool.apply_async(receive_from_the_kept)
        end.send("to the worker")
        assert later.get() == "to the worker"


def test_sent_to_a_stranger_an_end_is_plain(ends, program):
    ends.put_into_memory(["in", "memory"])
    ticket = bytes(reduction.ForkingPickler.dumps(ends.receiver))
    told = program.output(
        "-c",
        f"""
from mproc.reduction import ForkingPickler
end = ForkingPickler.loads({ticket!r})
print(end._end(), end.recv(), end.recv())
""",
    )
    assert told == "None in memory\n"
    resource_sharer.stop()


@pytest.mark.parametrize(("last_words", "unread"), [(b"", False), (b"\1", False), (b"\1", True)])
def test_an_end_whose_sender_dies_while_it_is_fetched(ends, monkeypatch, last_words, unread):
    """Without its sender's hold at that moment the memory might be another's.

    What the sender has not read resets the connection when it ends.
    """

    def hand_out_and_die(self, sock):
        reduction.sendfds(sock, [self._connection._end()[0]])
        sock.sendall(last_words)
        if not unread:
            sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b"\1"
        if unread:
            assert sock.recv(1, socket.MSG_PEEK) == b"\1"

    monkeypatch.setattr(resource_sharer._End, "hand_out", hand_out_and_die)
    before = numbers()
    ticket = reduction.ForkingPickler.dumps(ends.receiver)
    with pytest.raises(ConnectionResetError, match="closed the connection"):
        reduction.ForkingPickler.loads(ticket)
    resource_sharer.stop()
    assert numbers() == before
    ends.sender.send("goes on")
    assert ends.receiver.recv() == "goes on"


def test_send_handle(asked):
    one, other = Pipe()
    with one, other:
        reduction.send_handle(one, asked.receiver.fileno(), os.getpid())
        with Connection(reduction.recv_handle(other), writable=False) as copy:
            assert [copy.recv() for _ in range(3)] == [0, 1, 2]


def test_a_bare_fork_with_both_ends_open(ends):
    ends.put_into_memory(["parent's"])
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = int(ends.receiver.recv() != "parent's")
            ends.sender.send("child's")
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert ends.receiver.recv() == "child's"
    ends.sender.send("mine")
    assert ends.receiver.recv() == "mine"


def stream(sender, count):
    for number in range(count):
        sender.send(number)


@pytest.mark.parametrize("side", ["receiver", "sender", "both"])
def test_asked_for_in_a_stream(ends, side):
    def send(receiver, sender):
        receiver.close()
        stream(sender, 2000)
        if side != "receiver":
            sender.fileno()
        stream(sender, 2000)

    child = mproc.get_context("fork").Process(target=send, args=(ends.receiver, ends.sender))
    child.start()
    ends.sender.close()
    got = [ends.receiver.recv() for _ in range(1000)]
    if side != "sender":
        ends.receiver.fileno()
    got += [ends.receiver.recv() for _ in range(3000)]
    assert got == 2 * list(range(2000))
    with pytest.raises(EOFError):
        ends.receiver.recv()
    child.join()
