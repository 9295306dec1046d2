"""The functions that workers and children of the tests run. Spawned children import it."""

import os
import signal
import sys
import threading
import time

state = []  # what an initializer leaves in its worker

# ---- plain work


def square(x):
    return x * x


def add(a, b=10, *, c=0):
    return a + b + c


def echo(value):
    return value


def pid(_=None):
    return os.getpid()


def pid_after(path):
    """Wait for a file, so that another worker has to take the next task."""
    wait_for(path)
    return os.getpid()


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def do_when_there(path, errand, *args):
    """Wait for a file, then do an errand."""
    wait_for(path)
    return errand(*args)


def say_and_wait(queue, path, value=None):
    """Send the pid, and end when the file is there."""
    queue.put(os.getpid())
    wait_for(path)
    return value


def stay(queue):
    queue.put(os.getpid())
    while True:
        signal.pause()


def fail(x=None):
    raise ZeroDivisionError(f"no {x}")


def fail_at(x, bad):
    if x == bad:
        raise IndexError(x)
    return x


def fail_with_cause():
    try:
        fail("cause")
    except ZeroDivisionError as error:
        raise KeyError("effect") from error


def whereabouts():
    import mproc

    process = mproc.current_process()
    return process.name, process.daemon, mproc.get_start_method()


def thread_names(_=None):
    return [thread.name for thread in threading.enumerate()]


# ---- work that ends its worker


def exit_softly(code):
    sys.exit(code)


def exit_hard(code):
    os._exit(code)


def interrupt():
    raise KeyboardInterrupt


def kill_self(signum=signal.SIGKILL):
    os.kill(os.getpid(), signum)
    time.sleep(60)


def kill_self_at(x, bad):
    if x == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


# ---- what cannot be sent


def give_lambda():
    return lambda: 1


def raise_lambda():
    raise ValueError(lambda: 1)


class TwoArguments(Exception):
    """Pickles, but does not unpickle: it is called with the one of args."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


def raise_two_arguments():
    raise TwoArguments(1, 2)


class Needy(TwoArguments):
    """Has no text without what its __init__() has done, and does not keep that."""

    def __init__(self, first, second):
        super().__init__(first, second)
        self.both = first, second

    def __str__(self):
        return f"{self.both}"

    def __reduce__(self):
        return type(self), self.args


def raise_needy():
    raise Needy(1, 2)


def refuse(*args):
    raise LookupError("not here")


class Unreadable:
    def __reduce__(self):
        return refuse, ()


def give_unreadable():
    return Unreadable()


class Unprintable:
    """Neither pickles nor has a repr."""

    def __reduce__(self):
        raise TypeError("not me")

    def __repr__(self):
        raise TypeError("nor my name")


def give_unprintable():
    return Unprintable()


def raise_unprintable():
    raise ValueError(Unprintable())


# ---- initializers


def remember(*args):
    state.append(args)


def recall(_=None):
    return state


def give_up():
    sys.exit(3)


def give_up_once(path):
    """Exit in the worker that makes the file, so in one only."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os._exit(3)


# ---- pools in children


def map_in_a_child(ctx, connection):
    with ctx.Pool(2) as pool:
        connection.send(pool.map(square, range(10)))


def pool_in_a_daemon(method):
    import mproc

    try:
        mproc.get_context(method).Pool(1)
    except AssertionError as error:
        return str(error)
    return None


def use_the_parents(pool, connection):
    answers = []
    for use in (
        lambda: pool.apply(square, (2,)),
        lambda: pool.map(square, [2]),
        pool.terminate,
        pool.join,
    ):
        try:
            answers.append(repr(use()))
        except ValueError as error:
            answers.append(str(error))
    connection.send(answers)


def add_up(lock, queue, times):
    for _ in range(times):
        with lock:
            queue.put(queue.get() + 1)
