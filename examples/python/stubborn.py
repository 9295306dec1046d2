"""An executor whose tasks kill their workers or never end, with timeouts and retries.

Some errands go wrong at the first try, and two at each. A worker that dies, or takes too long,
costs its errand a try, and no other errand anything.
"""

import os
import signal
from concurrent.futures import Future
from typing import Any, NoReturn

import mproc
from mproc.pool import TaskTimeoutError, WorkerDiedError

ERRANDS = 12
RETRIES = 2
TIMEOUT = 2  # seconds
DEADLY, ENDLESS = 3, 7  # the errands that go wrong at each try


tries: Any  # an array of ints that all processes share, how often each errand was begun


def never_return() -> NoReturn:
    while True:
        signal.pause()


def run(number: int) -> int:
    """In a worker. Only one at a time has the errand."""
    tries[number] += 1
    if number == DEADLY or (number % 4 == 1 and tries[number] == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if number == ENDLESS or (number % 4 == 2 and tries[number] == 1):
        never_return()
    return number * number


def report(number: int, future: Future[int]) -> None:
    try:
        said = str(future.result())
    except TaskTimeoutError:
        said = "it took too long"
    except WorkerDiedError as error:
        said = f"its worker died of signal {-error.exitcode}"
    print(f"errand {number}: {said} (tries: {tries[number]})")


def main() -> None:
    global tries
    ctx = mproc.get_context("fork")
    tries = ctx.RawArray("i", ERRANDS)
    with mproc.ProcessPoolExecutor(4, ctx) as executor:
        stubborn = executor.options(timeout=TIMEOUT, retries=RETRIES)
        futures = [stubborn.submit(run, number) for number in range(ERRANDS)]
        for number, future in enumerate(futures):
            report(number, future)


if __name__ == "__main__":
    main()
