"""Descriptors, structures, reducers and listeners with keys: what goes from one to another."""

import ctypes
import multiprocessing
import os
import socket
import sys
import threading
from multiprocessing import reduction, sharedctypes
from multiprocessing.connection import Client, Listener


class Inner(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


class Outer(ctypes.Structure):
    _fields_ = [("inner", Inner * 3), ("name", ctypes.c_char * 8), ("count", ctypes.c_uint16)]


class Either(ctypes.Union):
    _fields_ = [("i", ctypes.c_int), ("f", ctypes.c_float)]


class Counted:
    def __init__(self, number):
        self.number = number


def count(number):
    return Counted(number + 1)


def reduce_counted(counted):
    return count, (counted.number,)


def change(outer, inners, numbers, either):
    with outer.get_lock():
        outer.inner[1].x, outer.inner[1].y = 7, 2.5
        outer.name = b"child"
        outer.count += 1
    for i, inner in enumerate(inners):
        inner.x = i * i
    numbers[2] = 9
    either.f = 1.0


def share_structures(ctx):
    outer, inners = ctx.Value(Outer), ctx.Array(Inner, [(1, 2.0), (3, 4.0)])
    numbers, either = ctx.RawArray("i", 5), ctx.RawValue(Either, 3)
    child = ctx.Process(target=change, args=(outer, inners, numbers, either))
    child.start()
    child.join()
    print(outer.inner[1].x, outer.inner[1].y, outer.name, outer.count)
    print([(inner.x, inner.y) for inner in inners], list(numbers), hex(either.i))
    copied = sharedctypes.copy(outer.get_obj())
    copied.count = 99
    print(outer.count, copied.count, memoryview(numbers).nbytes)


def use(connection, end, writer):
    descriptor = reduction.recv_handle(connection)
    os.write(descriptor, b"by handle")
    os.close(descriptor)
    end.sendall(b"by socket")
    end.close()
    writer.send("by connection")
    writer.close()
    connection.recv().sendall(b"by a socket sent")
    connection.recv().send("by a connection sent")


def send_descriptors(ctx):
    ours, theirs = ctx.Pipe()
    mine, yours = socket.socketpair()
    reader, writer = ctx.Pipe(False)
    child = ctx.Process(target=use, args=(theirs, yours, writer))
    child.start()
    yours.close()
    writer.close()
    read, write = os.pipe()
    reduction.send_handle(ours, write, child.pid)
    os.close(write)
    print(os.read(read, 20), mine.recv(9), mine.recv(9), reader.recv())
    try:
        reader.recv()
    except EOFError:
        print("no more")
    mine, yours = socket.socketpair()
    ours.send(yours)
    yours.close()
    print(mine.recv(20))
    one, other = ctx.Pipe()
    ours.send(other)
    other.close()
    print(one.recv())
    child.join()
    print(child.exitcode)


def serve(listener, refused):
    for _ in range(2):
        try:
            with listener.accept() as connection:
                connection.send((connection.recv(), "back"))
        except multiprocessing.AuthenticationError:
            refused.append("refused")


def ask(address, key, queue):
    try:
        with Client(address, authkey=key) as connection:
            connection.send("a question")
            queue.put(connection.recv())
    except multiprocessing.AuthenticationError as error:
        queue.put(type(error).__name__)


def listen(ctx):
    queue = ctx.Queue()
    for address in (None, ("localhost", 0)):
        refused = []
        with Listener(address, authkey=b"k" * 20, backlog=3) as listener:
            server = threading.Thread(target=serve, args=(listener, refused))
            server.start()
            for key in (b"k" * 20, b"another"):
                child = ctx.Process(target=ask, args=(listener.address, key, queue))
                child.start()
                print(queue.get(timeout=60))
                child.join()
            server.join()
            print(refused)


def main(method):
    ctx = multiprocessing.get_context(method)
    share_structures(ctx)
    send_descriptors(ctx)
    listen(ctx)
    reduction.register(Counted, reduce_counted)
    queue, (one, other) = ctx.Queue(), ctx.Pipe()
    queue.put(Counted(1))
    one.send(Counted(2))
    print(queue.get().number, other.recv().number)
    with ctx.Pool(1) as pool:
        print(pool.apply(getattr, (Counted(3), "number")))


if __name__ == "__main__":
    main(sys.argv[1])
