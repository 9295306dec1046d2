"""A signal reaches a program that waits, also one that interrupts no system call.

Python handlers run in the main thread. Each test has another thread receive the signal, so nothing
interrupts the main thread's sleep: it has to look by itself.
"""

import pytest

PROGRAM = """
import signal, threading, time
import mproc as mp


class Heard(Exception):
    pass


def handler(number, frame):
    raise Heard


def note_signal(asleep):
    # The handler in C runs in this thread. By then the main thread sleeps, or is about to.
    asleep.wait()
    time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


def waits(mp):
    queue, full, done = mp.Queue(), mp.Queue(1), mp.JoinableQueue()
    full.put(1)
    done.put(1)
    lock, semaphore, bounded = mp.Lock(), mp.Semaphore(0), mp.BoundedSemaphore(1)
    bounded.acquire()
    lock.acquire()
    condition, event, barrier = mp.Condition(), mp.Event(), mp.Barrier(2)
    condition.acquire()
    child = mp.Process(target=time.sleep, args=(3600,), daemon=True)
    child.start()
    yield "get", queue.get
    yield "put", lambda: full.put(2)
    yield "join of a queue", done.join
    yield "lock", lock.acquire
    yield "semaphore", semaphore.acquire
    yield "bounded semaphore", bounded.acquire
    yield "condition", condition.wait
    yield "event", event.wait
    yield "barrier", barrier.wait
    yield "process", child.join
    child.kill()
    child.join()


if __name__ == "__main__":
    mp.set_start_method("METHOD")
    signal.signal(signal.SIGUSR1, handler)
    for name, wait in waits(mp):
        asleep = threading.Event()
        thread = threading.Thread(target=note_signal, args=(asleep,))
        thread.start()
        try:
            asleep.set()
            wait()
        except Heard:
            print(name)
        thread.join()
"""

HEARD = [
    "get",
    "put",
    "join of a queue",
    "lock",
    "semaphore",
    "bounded semaphore",
    "condition",
    "event",
    "barrier",
    "process",
]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_waiting_main_thread_looks_for_signals(program, method):
    path = program.write("example.py", PROGRAM.replace("METHOD", method))
    assert program.output(path).splitlines() == HEARD


def test_a_handler_that_does_not_raise_ends_no_wait(program):
    text = PROGRAM.replace("    raise Heard", "    print('handled', flush=True)").replace(
        "for name, wait in waits(mp):",
        "for name, wait in [('event', lambda: mp.Event().wait(0.5))]:",
    )
    path = program.write("example.py", text.replace("METHOD", "fork"))
    assert program.output(path) == "handled\n"


INTERRUPTED = """
import random, signal, sys
import mproc


class Stop(Exception):
    pass


def handler(number, frame):
    raise Stop


def same(x):
    return x


def pool():
    pool = mproc.Pool(2)
    return lambda i: pool.apply_async(same, (i,)).get


def executor():
    pool = mproc.ProcessPoolExecutor(2)
    return lambda i: pool.submit(same, i).result


if __name__ == "__main__":
    submit = KIND()
    submit(1)()
    signal.signal(signal.SIGALRM, handler)
    moments = random.Random(7)
    for n in range(150):
        try:
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0001, 0.004))
            for i in range(60):
                submit(i)()
        except Stop:
            pass
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Stop:
            pass
        assert submit(n)(30) == n
    print("all came")
"""


@pytest.mark.parametrize("kind", ["pool", "executor"])
def test_an_exception_of_a_handler_at_any_moment_leaves_the_pool_usable(program, kind):
    path = program.write("example.py", INTERRUPTED.replace("KIND", kind))
    assert program.output(path) == "all came\n"
