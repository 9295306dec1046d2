"""Classes that override a part which the other methods of the class call."""

import io
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool
from multiprocessing.queues import JoinableQueue, Queue
from multiprocessing.synchronize import Barrier, Condition, Semaphore


class Counted(Condition):
    def notify(self, n=1):
        print("notify", "all" if n > 1000 else n)
        super().notify(n)


class CountedTwice(Counted):
    def notify_all(self):
        print("notify_all")
        super().notify_all()

    def wait(self, timeout=None):
        print("wait", timeout is None)
        return super().wait(timeout)


class Start(Barrier):
    name = "copy"  # children have no attributes of an object, unless they are forked

    def __init__(self, name, *, ctx, runners=1):
        super().__init__(runners, self.tell, 30, ctx=ctx)
        self.name = name

    def tell(self):
        print(self.name, "begins")

    def wait(self, timeout=None):
        print(self.name, "waits")
        return super().wait(timeout)

    def abort(self):
        print(self.name, "aborted")
        super().abort()


class Broken(Start):
    def tell(self):
        raise KeyError(self.name)


class Hidden(Semaphore):
    def get_value(self):
        print("asked")
        return super().get_value()


class Masked(Connection):
    """One whose bytes nobody reads on the way."""

    def _send_bytes(self, buf):
        print("sends", len(bytes(buf)) < 100)
        super()._send_bytes(bytes(byte ^ 85 for byte in bytes(buf)))

    def _recv_bytes(self, maxsize=None):
        message = super()._recv_bytes(maxsize).getvalue()
        return io.BytesIO(bytes(byte ^ 85 for byte in message))

    def _poll(self, timeout):
        print("polls", timeout)
        return super()._poll(timeout)

    def close(self):
        print("closes")
        super().close()


class Loud(Masked):
    def send(self, obj):
        print("says", obj)
        super().send(obj)


class Careful(Connection):
    def _check_closed(self):
        print("open?")
        super()._check_closed()


class Noted(Queue):
    def put(self, obj, block=True, timeout=None):
        print("put", type(obj).__name__, block)
        super().put(obj, block, timeout)

    def get(self, block=True, timeout=None):
        print("get", block)
        return super().get(block, timeout)

    def put_nowait(self, obj):
        print("put_nowait")
        super().put_nowait(obj)

    def get_nowait(self):
        print("get_nowait")
        return super().get_nowait()

    @staticmethod
    def _on_queue_feeder_error(e, obj):
        print("cannot send", type(obj).__name__, flush=True)


class NotedToo(Noted):
    pass


class NotedWork(JoinableQueue):
    def put(self, obj, *args):
        print("put", *args)
        super().put(obj, *args)


class MorePool(Pool):
    """One that does one item more, as pools do that add to each map."""

    def _map_async(
        self, func, iterable, mapper, chunksize=None, callback=None, error_callback=None
    ):
        print(mapper.__name__, chunksize)
        more = [*iterable, (2, 3) if mapper.__name__ == "starmapstar" else -7]
        return super()._map_async(func, more, mapper, chunksize, callback, error_callback)


def use_conditions(ctx):
    for kind in (Counted, CountedTwice):
        condition = kind(ctx=ctx)
        with condition:
            condition.notify_all()
            condition.notify(2)
            print(condition.wait(0.01), condition.wait_for(lambda: False, 0.01))


def use_barriers(ctx):
    start = Start("run", ctx=ctx)
    print(start.wait(), start.parties, start.n_waiting, start.broken, start._timeout)
    broken = Broken("fall", ctx=ctx)
    try:
        broken.wait()
    except KeyError as error:
        print(error, broken.broken)
    two = Start("pair", runners=2, ctx=ctx)
    child = ctx.Process(target=two.abort)
    child.start()
    child.join()
    print(child.exitcode, two.broken)


def use_connections():
    for kind in (Masked, Loud):
        ends = multiprocessing.Pipe()
        a, b = (kind(os.dup(end.fileno())) for end in ends)
        for end in ends:
            end.close()
        a.send({"key": [1]})
        print(b.poll(1), b.recv())
        a.send_bytes(memoryview(b"abcdef"), 1, 3)
        print(b.recv_bytes(), b.poll())
        a.send_bytes(b"x" * 40000)
        print(len(b.recv_bytes()))
        with a:
            pass
        for use in (lambda: a.send(1), b.recv, lambda: b.recv_bytes(-1)):  # noqa: B023
            try:
                use()
            except (OSError, EOFError, ValueError) as error:
                print(type(error).__name__, error)
        b.close()
    for end in multiprocessing.Pipe():
        with Careful(os.dup(end.fileno())) as careful:
            careful.send(1)


def use_queues(ctx):
    for kind in (Noted, NotedToo):
        queue = kind(ctx=ctx)
        queue.put_nowait(1)
        print(queue.get())
        queue.put(2)
        while queue.empty():
            pass
        print(queue.get_nowait())
        queue.put(lambda: None)
        queue.close()
        queue.join_thread()
    queue = NotedWork(ctx=ctx)
    queue.put_nowait(3)
    print(queue.get(), queue.task_done(), queue.join())


def use_pools(ctx):
    with MorePool(2, context=ctx) as pool:
        print(pool.map(abs, [-1, -2]), pool.starmap(pow, [(3, 2)], 1))
        print(pool.map_async(abs, [-4]).get(), pool.starmap_async(pow, [(4, 2)]).get())


def main(method):
    ctx = multiprocessing.get_context(method)
    use_conditions(ctx)
    use_barriers(ctx)
    print(Hidden(2, ctx=ctx))
    use_connections()
    use_queues(ctx)
    use_pools(ctx)


if __name__ == "__main__":
    main(sys.argv[1])
