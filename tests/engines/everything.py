"""What a program does on an engine, told as JSON: run by test_real.py under `python -m mproc`.

usage: everything.py SCENE…
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import beside  # beside this script: it has to go along

import mproc

TASKS = int(os.environ.get("MPROC_TASKS", "2000"))
KILLERS = 40


def twice(x):
    return beside.double(x)


def refuse(x):
    raise ValueError(f"not {x}")


def work_or_die(i):
    if i % (TASKS // KILLERS) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def nap(seconds):
    time.sleep(seconds)
    return node()


def node(_=None):
    """The pid of the engine's worker: the parent of the agent, whose child this is."""
    with open(f"/proc/{os.getppid()}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1])


def methods():
    with multiprocessing.Pool() as pool:
        return [
            pool.map(twice, range(5)),
            list(pool.imap(twice, range(5))),
            sorted(pool.imap_unordered(twice, range(5))),
            pool.starmap(pow, [(2, 3)]),
            pool.apply_async(twice, (4,)).get(),
        ]


def local():
    """What stays on this machine says so once, and works."""
    queue = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=queue.put, args=(i,)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sorted(queue.get(timeout=30) for _ in processes)


def parallel():
    """joblib's workers are the engine's, too."""
    import joblib

    import mproc.joblib

    mproc.joblib.register()
    with joblib.parallel_config(backend="mproc", n_jobs=-1):
        starters = joblib.Parallel()(joblib.delayed(os.getppid)() for _ in range(20))
        large = joblib.Parallel(n_jobs=2)(joblib.delayed(len)(b"x" * n) for n in (10, 3 << 20))
    return [os.getpid() in starters, large]


def error():
    with multiprocessing.Pool() as pool:
        try:
            pool.apply(refuse, (3,))
        except ValueError as error:
            return [str(error), "in refuse" in str(error.__cause__)]


def executor():
    with ProcessPoolExecutor() as executor:
        return [list(executor.map(twice, range(5))), executor.submit(twice, 4).result()]


def put_and_count(queue, table, lock, event, value, i):
    with lock:
        table[i] = i
        value.value += 1
    queue.put(i)
    return event.wait(100)


def shared():
    """Objects of a Manager() that the program has made as it always does."""
    manager = multiprocessing.Manager()
    queue, table, lock = manager.Queue(), manager.dict(), manager.Lock()
    event, value = manager.Event(), manager.Value("i", 0)
    with multiprocessing.Pool() as pool:
        calls = [(queue, table, lock, event, value, i) for i in range(6)]
        result = pool.starmap_async(put_and_count, calls, 1)
        got = [queue.get() for _ in range(2)]  # before the event is set
        event.set()
        told = result.get(100)
        got += [queue.get() for _ in range(4)]
    return [sorted(got), sorted(table.keys()), value.value, all(told)]


def use_own(queue, lock, event, value, array, semaphore, i):
    with semaphore, lock:
        value.value += 1
        array[i] += i
    queue.put(i)
    return event.wait(100)


def own():
    """Objects that the program has made without a manager."""
    queue, lock, event = multiprocessing.Queue(), multiprocessing.Lock(), multiprocessing.Event()
    value, array = multiprocessing.Value("i", 0), multiprocessing.Array("d", 6)
    semaphore = multiprocessing.Semaphore(2)
    with multiprocessing.Pool() as pool:
        calls = [(queue, lock, event, value, array, semaphore, i) for i in range(6)]
        result = pool.starmap_async(use_own, calls, 1)
        got = [queue.get() for _ in range(2)]  # before the event is set
        event.set()
        told = result.get(100)
        got += [queue.get() for _ in range(4)]
    return [sorted(got), value.value, array[:], all(told)]


def take_and_die(lock):
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def take(lock):
    with lock:
        return "mine"


def holder():
    """What becomes of the lock of a task that dies."""
    lock = multiprocessing.Lock()
    with multiprocessing.Pool() as pool:
        told = []
        for call in (take_and_die, take, take):
            try:
                told.append(pool.apply_async(call, (lock,)).get(100))
            except mproc.ProcessError as error:
                told.append(type(error).__name__)
    return told


def killers():
    counts = {"done": 0, "lost": 0, "else": 0}
    with multiprocessing.Pool() as pool:
        results = [pool.apply_async(work_or_die, (i,)) for i in range(TASKS)]
        for i, result in enumerate(results):
            try:
                counts["done" if result.get(100) == i else "else"] += 1
            except mproc.WorkerLostError:
                counts["lost"] += 1
    return counts


def worker_killed():
    with multiprocessing.Pool() as pool:
        nodes = set(pool.map(nap, [0.01] * 60, 1))
        result = pool.map_async(nap, [0.01] * 200, 1)
        os.kill(min(nodes), signal.SIGKILL)
        try:
            return [len(nodes), len(result.get(100))]
        except mproc.WorkerLostError as error:
            return [len(nodes), type(error).__name__]


def all_killed():
    with multiprocessing.Pool() as pool:
        nodes = set(pool.map(nap, [0.01] * 60, 1))
        mproc.engines.chosen(None).patience = 1
        result = pool.map_async(nap, [0.01] * 1000, 1)
        for pid in nodes:
            os.kill(pid, signal.SIGKILL)
        try:
            result.get(100)
        except (mproc.EngineError, mproc.WorkerLostError) as error:
            return type(error).__name__


if __name__ == "__main__":
    for scene in sys.argv[1:]:
        began = time.monotonic()
        print(json.dumps({scene: globals()[scene]()}), flush=True)
        print(f"{scene}: {time.monotonic() - began:.1f} s", file=sys.stderr)
