"""Queues derived as recipes do it: with a counter that travels along, or with own parts."""

import multiprocessing
import sys
from multiprocessing.queues import JoinableQueue, Queue, SimpleQueue


class Counter:
    def __init__(self, ctx):
        self.count = ctx.Value("i", 0)

    def add(self, n):
        with self.count.get_lock():
            self.count.value += n


class CountingQueue(Queue):
    """One that has a qsize() where the system has none."""

    def __init__(self, ctx):
        super().__init__(0, ctx=ctx)
        self.size = Counter(ctx)

    def __getstate__(self):
        return {"parent_state": super().__getstate__(), "size": self.size}

    def __setstate__(self, state):
        super().__setstate__(state["parent_state"])
        self.size = state["size"]

    def put(self, *args, **kwargs):
        super().put(*args, **kwargs)
        self.size.add(1)

    def get(self, *args, **kwargs):
        item = super().get(*args, **kwargs)
        self.size.add(-1)
        return item

    def qsize(self):
        return self.size.count.value


class NamedQueue(Queue):
    def __init__(self, name, ctx):
        super().__init__(10, ctx=ctx)
        self.name = name

    def __getstate__(self):
        return (*super().__getstate__(), self.name)

    def __setstate__(self, state):
        super().__setstate__(state[:-1])
        self.name = state[-1]


class LockingQueue(SimpleQueue):
    def put(self, obj):
        with self._wlock:
            self._writer.send(obj)

    def get(self):
        with self._rlock:
            return self._reader.recv()


class FedQueue(JoinableQueue):
    """One whose feeder says what could not be sent."""

    def _on_queue_feeder_error(self, error, obj):
        print("not sent:", obj.__name__, flush=True)

    def _start_thread(self):
        print("the feeder starts", flush=True)
        super()._start_thread()


def work(counting, named, locking, fed):
    counting.put("counted")
    named.put(named.name)
    locking.put(["locked"])
    while (item := fed.get()) is not None:
        locking.put(item)
        fed.task_done()
    fed.task_done()


def main(method):
    ctx = multiprocessing.get_context(method)
    counting, named = CountingQueue(ctx), NamedQueue("a name", ctx)
    locking, fed = LockingQueue(ctx=ctx), FedQueue(ctx=ctx)
    process = ctx.Process(target=work, args=(counting, named, locking, fed))
    process.start()
    fed.put(1)
    fed.put(2)
    fed.put(None)
    print(named.get(timeout=30), locking.get(), locking.get(), locking.get())
    fed.join()
    process.join()
    print(counting.qsize(), counting.get(), counting.qsize(), process.exitcode)
    print(isinstance(fed, Queue), named.full(), named.empty(), fed.empty(), locking.empty())
    for queue in (counting, named, fed):
        queue.close()
        queue.join_thread()
    try:
        fed.put(1)
    except ValueError:
        print("closed")


if __name__ == "__main__":
    main(sys.argv[1])
