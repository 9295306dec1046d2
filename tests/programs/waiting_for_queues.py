"""The usual ways to wait for several queues: connection.wait, select, asyncio; and polling."""

import asyncio
import multiprocessing
import select
import sys
from multiprocessing.connection import wait


def send(queue, obj, started):
    started.wait()
    queue.put(obj)


def main(method):
    ctx = multiprocessing.get_context(method)
    first, second, simple, started = ctx.Queue(), ctx.Queue(), ctx.SimpleQueue(), ctx.Event()
    print(simple._poll(), simple._poll(0.01), len(first._buffer))
    process = ctx.Process(target=send, args=(second, "from a child", started))
    process.start()
    started.set()
    (ready,) = wait([first._reader, second._reader, simple._reader], timeout=30)
    print(ready is second._reader, second.get())
    simple.put(1)
    print(simple._poll(10), select.select([simple._reader], [], [], 10)[0] == [simple._reader])
    print(simple.get(), simple._poll())
    print(asyncio.run(receive(first)))
    process.join()


async def receive(queue):
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def take():
        if not future.done():
            future.set_result(queue.get())

    loop.add_reader(queue._reader, take)
    queue.put("for the loop")
    try:
        return await asyncio.wait_for(future, 30)
    finally:
        loop.remove_reader(queue._reader)


if __name__ == "__main__":
    main(sys.argv[1])
