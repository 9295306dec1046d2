"""The ways in which programs use an executor: as_completed, map, callbacks, an event loop."""

import asyncio
import concurrent.futures as futures
import multiprocessing
import sys
from concurrent.futures import process as process_pool


def square(x):
    return x * x


def fail(x):
    raise KeyError(x)


def setup(value):
    global offset
    offset = value


def with_offset(x):
    return x + offset


async def in_loop(executor):
    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(executor, square, x) for x in range(5)]
    return await asyncio.gather(*calls)


def main(method):
    ctx = multiprocessing.get_context(method)
    with futures.ProcessPoolExecutor(2, ctx, setup, (100,)) as executor:
        calls = {executor.submit(square, x): x for x in range(8)}
        print(sorted((calls[call], call.result()) for call in futures.as_completed(calls)))
        print(list(executor.map(with_offset, range(6), chunksize=2)))
        seen = []
        call = executor.submit(fail, "the key")
        call.add_done_callback(lambda call: seen.append(type(call.exception()).__name__))
        futures.wait([call])
        print(call.exception(), "in fail\n" in str(call.exception().__cause__))
        print(asyncio.run(in_loop(executor)))
    print(seen, isinstance(executor, process_pool.ProcessPoolExecutor))
    try:
        executor.submit(square, 1)
    except RuntimeError as error:
        print(error)


if __name__ == "__main__":
    main(sys.argv[1])
