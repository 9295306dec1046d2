"""Each use of a connection, with small and large messages of a child of each start method.

The descriptor is asked for before the first message, or when messages have gone through memory and
a large one is offered there.
"""

import asyncio
import os
import pickle
import select
import socket
import subprocess
import sys
import threading

import pytest

from mproc.connection import Connection, wait

MESSAGES = [0, "x" * 3000, b"y" * 800_000, list(range(5)), "z" * 500_000, "last"]


def summary(message):
    """Return a message, or how long it is."""
    return message if len(repr(message)) < 100 else (type(message).__name__, len(message))


EXPECTED = [summary(message) for message in MESSAGES]


def serve(ends):
    """Send all messages over each end, beside each other: large ones wait for their receiver."""
    threads = [threading.Thread(target=send_all, args=(end,)) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send_all(end):
    end.send("first")
    assert end.recv() == "go"
    for message in MESSAGES:
        end.send(message)
    assert end.recv() == "all"
    end.close()


# ---------------------------------------------------------------- uses


def by_recv(receiver):
    return [receiver.recv() for _ in MESSAGES]


def by_poll(receiver):
    messages = []
    while len(messages) < len(MESSAGES):
        if receiver.poll(0.01):
            messages.append(receiver.recv())
    return messages


def by_wait(receiver):
    return [receiver.recv() for _ in MESSAGES if wait([receiver]) == [receiver]]


def by_bytes(receiver):
    return [pickle.loads(receiver.recv_bytes()) for _ in MESSAGES]


def by_bytes_into(receiver):
    room = bytearray(1_000_000)
    return [pickle.loads(room[: receiver.recv_bytes_into(room)]) for _ in MESSAGES]


def by_select(receiver):
    fd = receiver.fileno()
    return [receiver.recv() for _ in MESSAGES if select.select([fd], [], [])[0] == [fd]]


def by_dup(receiver):
    with Connection(os.dup(receiver.fileno())) as other:
        return [other.recv() for _ in MESSAGES]


def by_fork(receiver):
    """A bare fork, which has the other end of another pipe to tell what has come."""
    mine, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            its.sendall(pickle.dumps([receiver.recv() for _ in MESSAGES]))
        finally:
            os._exit(0)
    its.close()
    with mine.makefile("rb") as answer:
        messages = pickle.load(answer)
    mine.close()
    os.waitpid(pid, 0)
    return messages


PROGRAM = f"""
import pickle, socket, sys
from multiprocessing.connection import Connection
fd = int(sys.argv[1])
if sys.argv[2] == "socket":
    with socket.socket(fileno=fd) as way:
        _, (fd,), _, _ = socket.recv_fds(way, 1, 1)
with Connection(fd) as receiver:
    messages = [receiver.recv() for _ in range({len(MESSAGES)})]
pickle.dump(messages, sys.stdout.buffer)
"""


def program(fd, how):
    command = [sys.executable, "-c", PROGRAM, str(fd), how]
    return subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE)


def by_program(receiver):
    """A program that inherits it, and has the standard library."""
    output, _ = program(receiver.fileno(), "itself").communicate()
    return pickle.loads(output)


def by_stranger(receiver):
    """The same, and the descriptor is passed to it."""
    mine, its = socket.socketpair()
    with mine, its:
        stranger = program(its.fileno(), "socket")
        socket.send_fds(mine, [b"x"], [receiver.fileno()])
        output, _ = stranger.communicate()
    return pickle.loads(output)


def by_streams(receiver):
    return asyncio.run(read_stream(receiver))


async def read_stream(receiver):
    reader, writer = await asyncio.open_unix_connection(
        sock=socket.socket(fileno=os.dup(receiver.fileno()))
    )
    messages = []
    for _ in MESSAGES:
        size = int.from_bytes(await reader.readexactly(4), "big")
        messages.append(pickle.loads(await reader.readexactly(size)))
    writer.close()
    await writer.wait_closed()
    # the descriptor is shared, and whether it blocks with it
    os.set_blocking(receiver.fileno(), True)
    return messages


def by_add_reader(receiver):
    return asyncio.run(read_when_told(receiver))


async def read_when_told(receiver):
    loop, messages = asyncio.get_running_loop(), []
    done = loop.create_future()

    def take():
        messages.append(receiver.recv())
        if len(messages) == len(MESSAGES):
            done.set_result(messages)

    loop.add_reader(receiver, take)
    await done
    loop.remove_reader(receiver)
    return messages


USES = [
    by_recv,
    by_poll,
    by_wait,
    by_bytes,
    by_bytes_into,
    by_select,
    by_dup,
    by_fork,
    by_program,
    by_stranger,
    by_streams,
    by_add_reader,
]


@pytest.mark.parametrize("when", ["before", "amid"])
def test_every_use(ctx, when):
    pipes = [ctx.Pipe() for _ in USES]
    if when == "before":
        for receiver, _ in pipes:
            receiver.fileno()
    child = ctx.Process(target=serve, args=([sender for _, sender in pipes],))
    child.start()
    for use, (receiver, sender) in zip(USES, pipes, strict=True):
        sender.close()
        assert receiver.recv() == "first"
        receiver.send("go")
        assert [summary(message) for message in use(receiver)] == EXPECTED, use
        receiver.send("all")
        with pytest.raises(EOFError):
            receiver.recv()
        receiver.close()
    child.join()
    assert child.exitcode == 0
