"""Children with limits, folders and sessions of their own, and pools of them."""

import multiprocessing
import os
import resource
import sys
import tempfile
import threading


def limit(what, number):
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (number, hard))


def few_descriptors():
    limit(resource.RLIMIT_NOFILE, 48)


def little_stack():
    limit(resource.RLIMIT_STACK, 1 << 20)
    threading.stack_size(256 << 10)


def small_files():
    limit(resource.RLIMIT_FSIZE, 1 << 16)


def session_of_ones_own():
    os.setsid()


def nowhere():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def no_input():
    os.close(0)


def cautious():
    os.umask(0o777)
    os.nice(5)


LIMITS = (
    few_descriptors, little_stack, small_files, session_of_ones_own, nowhere, no_input, cautious,
)  # fmt: skip


def work(number):
    done = []
    threads = [threading.Thread(target=done.append, args=(number + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done), bytes(100_000).count(0)


def live(setup, reader, queue):
    setup()
    lock, total = multiprocessing.get_context("fork").Lock(), 0
    while (number := reader.recv()) is not None:
        with lock:
            total += work(number)[0]
        queue.put(total)


def main(method):
    ctx = multiprocessing.get_context(method)
    for setup in LIMITS:
        with ctx.Pool(2, setup) as pool:
            print(setup.__name__, pool.map(work, range(8), 2), flush=True)
        reader, writer = ctx.Pipe(False)
        queue = ctx.Queue()
        child = ctx.Process(target=live, args=(setup, reader, queue))
        child.start()
        for i in range(5):
            writer.send(i)
            print(queue.get(timeout=60), end=" ")
        writer.send(None)
        child.join()
        print(child.exitcode, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
