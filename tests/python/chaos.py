"""Workers killed at random under many tasks: each task ends once, with its result or a true error.

    python tests/python/chaos.py [--seconds N] [--tasks N] [--workers N] [--method M] [--seed N]
                                 [pool] [executor]

How it works. Clients, threads of the owner, give tasks to one pool in all the ways there are, and
check what comes. The killer kills a worker every few milliseconds, whether it has a task or not,
and now and then it takes every descriptor of the process for a while: then no worker can be
started. At times it lets all tasks run out, so that the workers it kills are idle.

The account. Each task ends exactly once: clients count results, callbacks count calls. A result is
right. A task fails with WorkerDiedError only, which names a process that was killed, or by its
timeout if it never ends. In the end there is no descriptor, thread, child or byte of the arena that
was not there before.

A client that has not got what it waits for after STUCK seconds hangs: then the stacks of all
threads are printed, and the exit code is 1.
"""

import collections
import concurrent.futures
import contextlib
import faulthandler
import gc
import os
import random
import resource
import signal
import sys
import threading
import time

import mproc
from mproc import _mproc
from mproc.futures import ProcessPoolExecutor
from mproc.pool import TaskTimeoutError, WorkerDiedError

STUCK = 60.0  # seconds
BATCH = 200  # tasks that a client has open
CHUNK = 20
KILL_INTERVAL = 0.02  # seconds between two kills, at most
SPAWN_INTERVAL = 0.4  # the same for spawn, whose workers take long to start
IN_A_ROW = 8  # kills with no task done in between: many that die as they start break a pool
STARVE_EVERY = 1.5  # seconds
STARVED_FOR = 0.1
IDLE_EVERY = 2.0
DESCRIPTORS = 256
LARGE = 20_000  # bytes
TIMEOUT = 0.05  # seconds, of tasks that never end
RETRIES = 3


def task(number):
    """Return what the client knows: a little, or much; soon, or in a while."""
    if number % 50 == 0:
        time.sleep(0.002)
    return right(number)


def never_end(_):
    """Run until the timeout."""
    while True:
        time.sleep(STUCK)


def right(number):
    """Return the result of a task."""
    return bytes([number % 251]) * LARGE if number % 40 == 0 else number * number + 1


class Account:
    """What the clients and the killer know."""

    def __init__(self, least):
        self.least = least
        self.killed = set()
        self.kills = self.starvings = self.idle_kills = 0
        self.wrong = []
        self.ended = collections.Counter()
        self.died = collections.Counter()
        self.over = threading.Event()
        self.rest = threading.Event()  # the clients are to let their tasks run out
        self.numbers = iter(range(1 << 62))
        self.waiting = {}  # client -> since when it has waited for what comes next
        self.resting = set()
        self._lock = threading.Lock()

    def take(self, count):
        """Return so many numbers for tasks."""
        with self._lock:
            return [next(self.numbers) for _ in range(count)]

    def total(self):
        return sum(self.ended.values()) + sum(self.died.values())

    def goes_on(self):
        return not self.over.is_set() or self.total() < self.least

    def begin_to_wait(self, client):
        """Note that a client waits for something else from now on."""
        self.waiting[client] = time.monotonic()

    def check(self, client, numbers, values):
        """Book results."""
        self.begin_to_wait(client)
        with self._lock:
            self.ended[client] += len(numbers)
            if values != [right(number) for number in numbers]:
                self.wrong.append(f"{client}: a result is wrong")

    def time_out(self, client):
        """Book a task that has ended by its timeout, as it should."""
        self.begin_to_wait(client)
        with self._lock:
            self.ended[client] += 1

    def fail(self, client, count, error):
        """Book so many tasks that have failed together."""
        self.begin_to_wait(client)
        with self._lock:
            self.died[client] += count
            if type(error) is not WorkerDiedError:
                self.wrong.append(f"{client}: {error!r}")
            elif error.pid not in self.killed or error.exitcode != -signal.SIGKILL:
                self.wrong.append(f"{client}: {error!r} names what was not killed")


# ---- clients: each gives a batch of tasks to the pool, and books how they end


def by_apply_async(pool, numbers, account, client):
    ends = collections.Counter()

    def end(number):
        ends[number] += 1

    results = [
        pool.apply_async(
            task,
            (number,),
            callback=lambda _, number=number: end(number),
            error_callback=lambda _, number=number: end(number),
        )
        for number in numbers
    ]
    for number, result in zip(numbers, results, strict=True):
        book_one(account, client, number, result.get)
    if ends != dict.fromkeys(numbers, 1):
        account.wrong.append(f"{client}: a task did not end once")


def by_apply(pool, numbers, account, client):
    for number in numbers[: BATCH // 10]:
        book_one(account, client, number, lambda number=number: pool.apply(task, (number,)))


def book_one(account, client, number, get):
    try:
        value = get()
    except Exception as error:
        account.fail(client, 1, error)
    else:
        account.check(client, [number], [value])


def by_map(pool, numbers, account, client):
    try:
        values = pool.map(task, numbers, CHUNK)
    except Exception as error:
        account.fail(client, len(numbers), error)
    else:
        account.check(client, numbers, values)


def by_imap(pool, numbers, account, client):
    results = pool.imap(task, numbers)
    for number in numbers:
        book_one(account, client, number, results.next)
    if next(results, None) is not None:
        account.wrong.append(f"{client}: more results than tasks")


def by_imap_unordered(pool, numbers, account, client):
    results, values = pool.imap_unordered(task, numbers), []
    for _ in numbers:
        try:
            values.append(results.next())
            account.begin_to_wait(client)
        except Exception as error:
            account.fail(client, 1, error)
    account.check(client, [], [])
    account.ended[client] += len(values)
    if collections.Counter(values) - collections.Counter(map(right, numbers)):
        account.wrong.append(f"{client}: a result is wrong, or came twice")


def by_submit(pool, numbers, account, client):
    ends = collections.Counter()
    futures = []
    for number in numbers:
        future = pool.submit(task, number)
        future.add_done_callback(lambda _, number=number: ends.update([number]))
        futures.append(future)
    for number, future in zip(numbers, futures, strict=True):
        book_one(account, client, number, future.result)
    if ends != dict.fromkeys(numbers, 1):
        account.wrong.append(f"{client}: a task did not end once")


def by_result(pool, numbers, account, client):
    for number in numbers[: BATCH // 10]:
        book_one(account, client, number, pool.submit(task, number).result)


def by_wait(pool, numbers, account, client):
    futures = {pool.submit(task, number): number for number in numbers}
    done, left = concurrent.futures.wait(futures)
    if left:
        account.wrong.append(f"{client}: wait() came back early")
    for future in done:
        book_one(account, client, futures[future], future.result)


def by_as_completed(pool, numbers, account, client):
    futures = {pool.submit(task, number): number for number in numbers}
    for future in concurrent.futures.as_completed(futures):
        book_one(account, client, futures[future], future.result)


def by_executor_map(pool, numbers, account, client):
    try:
        values = list(pool.map(task, numbers, chunksize=CHUNK))
    except Exception as error:
        account.fail(client, len(numbers), error)
    else:
        account.check(client, numbers, values)


def by_retries(pool, numbers, account, client):
    stubborn = pool.options(retries=RETRIES, timeout=STUCK)
    futures = [stubborn.submit(task, number) for number in numbers]
    for number, future in zip(numbers, futures, strict=True):
        book_one(account, client, number, future.result)


def by_timeout(pool, numbers, account, client):
    hasty = pool.options(retries=1, timeout=TIMEOUT)
    futures = [hasty.submit(never_end, number) for number in numbers[: BATCH // 20]]
    for future in futures:
        book_time_out(account, client, future.exception())


def book_time_out(account, client, error):
    if type(error) is TaskTimeoutError and error.seconds >= TIMEOUT:
        account.time_out(client)
    else:
        account.fail(client, 1, error)


def error_of(get):
    try:
        get()
    except Exception as error:
        return error
    return None


def by_stubborn_apply(pool, numbers, account, client):
    stubborn = pool.options(retries=RETRIES, timeout=STUCK)
    results = [stubborn.apply_async(task, (number,)) for number in numbers]
    for number, result in zip(numbers, results, strict=True):
        book_one(account, client, number, result.get)


def by_hasty_apply(pool, numbers, account, client):
    hasty = pool.options(retries=1, timeout=TIMEOUT)
    ends = collections.Counter()
    few = numbers[: BATCH // 20]
    results = [
        hasty.apply_async(
            never_end, (number,), error_callback=lambda _, number=number: ends.update([number])
        )
        for number in few
    ]
    for result in results:
        book_time_out(account, client, error_of(result.get))
    if ends != dict.fromkeys(few, 1):
        account.wrong.append(f"{client}: a task did not end once")


POOL = (
    by_apply_async, by_apply, by_map, by_imap, by_imap_unordered, by_stubborn_apply, by_hasty_apply,
)  # fmt: skip
EXECUTOR = (
    by_submit, by_result, by_wait, by_as_completed, by_executor_map, by_retries, by_timeout,
)  # fmt: skip


def be_client(pool, how, account):
    """Give batches to the pool until it is over."""
    client = how.__name__
    try:
        while account.goes_on() and not account.wrong:
            while account.rest.is_set():
                account.resting.add(client)
                time.sleep(0.001)
            account.resting.discard(client)
            account.begin_to_wait(client)
            how(pool, account.take(BATCH), account, client)
            del account.waiting[client]
    except BaseException as error:
        account.wrong.append(f"{client}: {error!r}")
        raise
    finally:
        account.waiting.pop(client, None)
        account.resting.add(client)


# ---- the killer


def workers_alive():
    """Return the worker processes that there are; one that is just being started has no pid."""
    return [child for child in mproc.active_children() if child.pid is not None]


class Killer:
    """Kills workers, and at times takes all descriptors."""

    def __init__(self, account, draw, clients, interval):
        self._account, self._draw, self._clients = account, draw, clients
        self._interval = interval
        self._done = self._in_a_row = 0
        self._starve_at = time.monotonic() + STARVE_EVERY / 3
        self._idle_at = time.monotonic() + IDLE_EVERY / 2

    def run(self):
        """Kill until it is over."""
        while self._account.goes_on() and not self._account.wrong:
            self._kill_one()
            now = time.monotonic()
            if now > self._starve_at:
                self._starve()
            if now > self._idle_at:
                self._kill_idle_ones()
            time.sleep(self._draw.random() * self._interval)

    def _may_kill(self):
        done = sum(self._account.ended.values())
        if done != self._done:
            self._done, self._in_a_row = done, 0
        self._in_a_row += 1
        return self._in_a_row <= IN_A_ROW

    def _kill_one(self):
        workers = workers_alive()
        if workers and self._may_kill():
            worker = self._draw.choice(workers)
            self._account.killed.add(worker.pid)  # before: the error may come at once
            worker.kill()  # through its pidfd: never another process that has the pid now
            self._account.kills += 1

    def _starve(self):
        held = []
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        end = time.monotonic() + STARVED_FOR
        while time.monotonic() < end:
            self._kill_one()
            time.sleep(STARVED_FOR / 5)
        for fd in held:
            os.close(fd)
        self._account.starvings += 1
        self._starve_at = time.monotonic() + STARVE_EVERY

    def _kill_idle_ones(self):
        account = self._account
        account.rest.set()
        while len(account.resting) < self._clients and not account.wrong:
            time.sleep(0.001)
        before = account.kills
        for _ in range(3):
            self._kill_one()
        account.idle_kills += account.kills - before
        account.rest.clear()
        self._idle_at = time.monotonic() + IDLE_EVERY


def watch(account):
    """Leave with all stacks if a client waits too long."""
    while not account.over.wait(0.5) or account.waiting:
        now = time.monotonic()
        for client, since in list(account.waiting.items()):
            if now - since > STUCK:
                print(f"HANGS: {client}", flush=True)
                faulthandler.dump_traceback(all_threads=True)
                os._exit(1)
        if account.over.is_set():
            time.sleep(0.5)


# ---- the laboratory


def make_pool(ctx, workers):
    pool = ctx.Pool(workers)
    return pool, lambda: (pool.close(), pool.join())


def make_executor(ctx, workers):
    pool = ProcessPoolExecutor(workers, ctx, heal=True)
    return pool, pool.shutdown


FACES = {"pool": (make_pool, POOL), "executor": (make_executor, EXECUTOR)}


def belongings():
    """What there is: descriptors, threads, children, and bytes of the arena."""
    gc.collect()
    _mproc.reap()
    fds = len(os.listdir("/proc/self/fd"))
    return fds, threading.active_count(), len(mproc.active_children()), used()


def used():
    return _mproc.arena_stat()["used"]


def what_is_left(before, patience=10.0):
    """Return what there is that was not there before, when that has had time to go."""
    end = time.monotonic() + patience
    while (now := belongings()) != before and time.monotonic() < end:
        time.sleep(0.02)
    _mproc.arena_check()
    return [] if now == before else [f"left: {now}, before: {before}"]


def run(face, ctx, workers, account, seconds, draw):
    """Have one pool's workers killed for so long, under at least so many tasks."""
    make, ways = FACES[face]
    pool, end = make(ctx, workers)
    threads = [threading.Thread(target=be_client, args=(pool, how, account)) for how in ways]
    watcher = threading.Thread(target=watch, args=(account,), daemon=True)
    timer = threading.Timer(seconds, account.over.set)
    for thread in (*threads, watcher, timer):
        thread.start()
    spawns = ctx.get_start_method() == "spawn"
    Killer(account, draw, len(ways), SPAWN_INTERVAL if spawns else KILL_INTERVAL).run()
    for thread in threads:
        thread.join()
    account.over.set()
    timer.cancel()
    watcher.join()
    timer.join()
    account.begin_to_wait("the end")
    end()


def try_face(face, ctx, workers=8, seconds=2.0, least=0, seed=0):
    """Run the chaos and return its account."""
    warm = run_quietly(face, ctx)
    account = Account(least)
    began = time.monotonic()
    run(face, ctx, workers, account, seconds, random.Random(seed))
    account.seconds = time.monotonic() - began
    account.wrong.extend(what_is_left(warm))
    return account


def run_quietly(face, ctx):
    """Use a pool once, so that what is made once is there; return what there is then."""
    pool, end = FACES[face][0](ctx, 2)
    pool.map(task, [1, 2])
    end()
    del pool, end
    return belongings()


@contextlib.contextmanager
def few_descriptors():
    """Lower the limit, so that all are soon taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def report(face, account):
    """Print the figures of a face."""
    died = sum(account.died.values())
    print(
        f"{face:9} {account.total():8} tasks in {account.seconds:.1f} s: "
        f"{account.total() - died} results, {died} failed with their worker; "
        f"{account.kills} kills, {account.idle_kills} of idle workers, "
        f"{account.starvings} times without descriptors",
        flush=True,
    )
    for what in account.wrong:
        print(f"  FAILED {what}", flush=True)


def main(args):
    """Run the laboratory; return the exit code."""
    options = {"--seconds": 60.0, "--tasks": 0, "--workers": 8, "--seed": int(time.time())}
    options["--method"] = "fork"
    faces = []
    while args:
        arg = args.pop(0)
        if arg in options:
            options[arg] = type(options[arg])(args.pop(0))
        else:
            faces.append(arg)
    faulthandler.enable()
    print(f"seed {options['--seed']}", flush=True)
    ctx, failed = mproc.get_context(options["--method"]), False
    with few_descriptors():
        for face in faces or FACES:
            account = try_face(
                face, ctx, options["--workers"], options["--seconds"], options["--tasks"],
                options["--seed"],
            )  # fmt: skip
            report(face, account)
            failed |= bool(account.wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
