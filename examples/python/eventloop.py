"""An asyncio program that waits for two queues at once, in one thread."""

from __future__ import annotations

import asyncio

import mproc
from mproc.queues import Queue

NUMBERS = 1000
ROOM = 10  # so that the workers wait for the loop, and the loop for the workers


def work(queue: Queue[int | None], factor: int) -> None:
    for i in range(1, NUMBERS + 1):
        queue.put(i * factor)
    queue.put(None)


async def add_up(queue: Queue[int | None]) -> int:
    total = 0
    while (number := await queue.aget()) is not None:
        total += number
    return total


async def main() -> None:
    queues = [mproc.Queue(ROOM) for _ in range(2)]
    workers = [
        mproc.Process(target=work, args=(queue, i)) for i, queue in enumerate(queues, start=1)
    ]
    for worker in workers:
        worker.start()
    sums = await asyncio.gather(*(add_up(queue) for queue in queues))
    await asyncio.gather(*(worker.ajoin() for worker in workers))
    for i, total in enumerate(sums, start=1):
        print(f"queue {i}: the sum is {total}")


if __name__ == "__main__":
    asyncio.run(main())
