"""Processes that give up the right to read files before they work: a judge's, a server's."""

import multiprocessing
import os
import queue
import resource
import sys
from concurrent.futures import ProcessPoolExecutor

NOBODY = 65534


class Point:
    def __init__(self, x):
        self.x = x


def open_no_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def change_root():
    os.chroot(os.environ["TMPDIR"])
    os.chdir("/")


def become_nobody():
    change_root()
    os.setgid(NOBODY)
    os.setuid(NOBODY)


CONFINEMENTS = [open_no_files]
if os.geteuid() == 0:
    CONFINEMENTS += [change_root, become_nobody]


def square(x):
    return x * x


def make_point(x):
    return Point(x)


def make_bytes(size):
    return b"x" * size


def make_function(x):
    return lambda: x


def refuse(x):
    raise ValueError(x)


def use_workers(apply, map_):
    # The standard library's Pool divides by its workers to choose a size, also while it has none.
    squares, points = map_(square, range(5), chunksize=1), map_(make_point, range(3), chunksize=1)
    print(list(squares), [point.x for point in points])
    print([len(data) for data in map_(make_bytes, [1, 100, 100000], chunksize=1)])
    for function in (refuse, make_function):
        try:
            apply(function, 7)
        except Exception as error:
            print(type(error).__name__, type(error.__cause__).__name__.strip("_"))


def use_pools(ctx, confine):
    for most in (None, 2):
        with ctx.Pool(2, confine, maxtasksperchild=most) as pool:
            use_workers(lambda function, x, pool=pool: pool.apply(function, (x,)), pool.map)


def use_executor(ctx, confine):
    with ProcessPoolExecutor(2, ctx, confine) as executor:
        use_workers(lambda function, x: executor.submit(function, x).result(), executor.map)


def work(confine, tasks, results, simple, end, lock, condition, value):
    confine()
    try:
        tasks.get(timeout=0.01)
    except queue.Empty:
        results.append(1)
    print(lock.acquire(timeout=0.01), results)
    with condition:
        print(condition.wait(0.01))
    value.value += 1
    simple.put(Point(2))
    end.send(Point(3))
    sys.stdout.flush()


def use_process(ctx, confine):
    tasks, simple, lock, value = ctx.Queue(), ctx.SimpleQueue(), ctx.Lock(), ctx.Value("i", 4)
    here, there = ctx.Pipe()
    lock.acquire()
    parts = (confine, tasks, [], simple, there, lock, ctx.Condition(), value)
    child = ctx.Process(target=work, args=parts)
    child.start()
    child.join()
    print(child.exitcode, value.value)
    if child.exitcode == 0:
        print(simple.get().x, here.recv().x)


def main(method):
    ctx = multiprocessing.get_context(method)
    for confine in CONFINEMENTS:
        print(confine.__name__)
        sys.stdout.flush()
        use_process(ctx, confine)
        use_pools(ctx, confine)
        use_executor(ctx, confine)


if __name__ == "__main__":
    main(sys.argv[1])
