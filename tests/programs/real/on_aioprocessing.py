"""aioprocessing: a process, a queue, an event, a lock and a pool from a coroutine."""

import asyncio

import aioprocessing


def work(queue, event, lock):
    with lock:
        queue.put(1)
    event.set()
    queue.put(None)


async def main():
    queue, event = aioprocessing.AioQueue(), aioprocessing.AioEvent()
    lock, received = aioprocessing.AioLock(), []
    process = aioprocessing.AioProcess(target=work, args=(queue, event, lock))
    process.start()
    while (item := await queue.coro_get()) is not None:
        received.append(item)
    await event.coro_wait()
    await process.coro_join()
    print(received, process.exitcode)
    pool = aioprocessing.AioPool(2)
    print(await pool.coro_map(abs, [-1, -2]))
    pool.close()
    await pool.coro_join()


if __name__ == "__main__":
    asyncio.run(main())
