"""Odd ways to exit, signals that children inherit, and handlers that raise during each wait."""

import multiprocessing
import multiprocessing.connection
import signal
import sys
import time

VALUES = (None, True, False, 256, 257, -1, 1.5, "text", (1, 2), [], {"a": 1}, b"x")


class StopError(Exception):
    pass


def leave(value):
    sys.exit(value)


def leave_by(*arguments):
    raise SystemExit(*arguments)


def give_up():
    raise GeneratorExit


def tell_signals(queue):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    queue.put((sorted(map(int, blocked)), int(signal.getsignal(signal.SIGPIPE))))


def exit_oddly(ctx):
    runs = [(leave, (value,)) for value in VALUES]
    runs += [(leave_by, ()), (leave_by, (1, 2)), (give_up, ())]
    for function, arguments in runs:
        process = ctx.Process(target=function, args=arguments)
        process.start()
        process.join()
        print(function.__name__, arguments, process.exitcode, flush=True)


def inherit(ctx):
    queue = ctx.SimpleQueue()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
    for _ in range(2):
        process = ctx.Process(target=tell_signals, args=(queue,))
        process.start()
        print(queue.get())
        process.join()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1, signal.SIGTERM])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def stop(_number, _frame):
    raise StopError


def stop_waits(ctx):
    queue, joined, simple = ctx.Queue(), ctx.JoinableQueue(), ctx.SimpleQueue()
    lock, event, semaphore = ctx.Lock(), ctx.Event(), ctx.Semaphore(0)
    condition, barrier = ctx.Condition(), ctx.Barrier(2)
    reader, writer = ctx.Pipe()
    process = ctx.Process(target=time.sleep, args=(60,))
    lock.acquire()
    joined.put(1)
    process.start()
    condition.acquire()
    waits = [
        queue.get, joined.join, simple.get, lock.acquire, event.wait, semaphore.acquire,
        condition.wait, barrier.wait, reader.recv, process.join,
        lambda: reader.poll(None), lambda: multiprocessing.connection.wait([reader]),
    ]  # fmt: skip
    signal.signal(signal.SIGALRM, stop)
    for number, wait in enumerate(waits):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            wait()
        except StopError:
            print(number, "stopped")
    process.kill()
    process.join()
    writer.send(1)
    queue.put(2)
    simple.put(3)
    print(reader.recv(), queue.get(), simple.get(), joined.get(), process.exitcode)


def main(method):
    ctx = multiprocessing.get_context(method)
    exit_oddly(ctx)
    inherit(ctx)
    stop_waits(ctx)


if __name__ == "__main__":
    main(sys.argv[1])
