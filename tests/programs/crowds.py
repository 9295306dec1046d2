"""More processes than cores, which wait for each other in every way: nobody is left behind."""

import multiprocessing as mp
import sys

PROCESSES = 6
ROUNDS = 40


def run(context, works):
    processes = [context.Process(target=work, args=args) for work, *args in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


# ---------------------------------------------------------------- a token that goes round


def pass_permits(mine, following, count):
    for _ in range(ROUNDS):
        mine.acquire()
        count.value += 1
        following.release()


def pass_events(mine, following, count):
    for _ in range(ROUNDS):
        mine.wait()
        mine.clear()
        count.value += 1
        following.set()


def pass_items(mine, following, count):
    for _ in range(ROUNDS):
        item = mine.get()
        count.value += 1  # before the others have the token
        following.put(item + 1)


def go_round(context):
    ways = {
        "semaphores": (lambda: context.Semaphore(0), pass_permits, lambda one: one.release()),
        "events": (context.Event, pass_events, lambda one: one.set()),
        "queues": (context.Queue, pass_items, lambda one: one.put(0)),
        "simple queues": (context.SimpleQueue, pass_items, lambda one: one.put(0)),
    }
    for name, (make, work, begin) in ways.items():
        count = context.RawValue("i")
        places = [make() for _ in range(PROCESSES)]
        begin(places[0])
        pairs = zip(places, [*places[1:], places[0]], strict=True)
        codes = run(context, [(work, mine, following, count) for mine, following in pairs])
        print(name, count.value, codes)


# ---------------------------------------------------------------- phases


class Count:
    def __init__(self, value):
        self.value = value

    def __call__(self):
        self.value.value += 1


def keep_step(barrier, opened, steps, place, wrong):
    for i in range(ROUNDS):
        steps[place] += 1
        barrier.wait()
        if list(steps) != [i + 1] * PROCESSES or opened.value != 2 * i + 1:
            with wrong.get_lock():
                wrong.value += 1
        barrier.wait()


def go_in_step(context):
    opened, wrong = context.RawValue("i"), context.Value("i")
    steps = context.RawArray("i", PROCESSES)
    barrier = context.Barrier(PROCESSES, Count(opened))
    works = [(keep_step, barrier, opened, steps, place, wrong) for place in range(PROCESSES)]
    codes = run(context, works)
    print("barrier", opened.value, wrong.value, barrier.n_waiting, barrier.broken, codes)


# ---------------------------------------------------------------- a buffer with little room


def fill(condition, buffer, used):
    for i in range(ROUNDS):
        with condition:
            condition.wait_for(lambda: used.value < len(buffer))
            buffer[used.value] = i
            used.value += 1
            condition.notify_all()


def empty(condition, buffer, used, total):
    for _ in range(ROUNDS):
        with condition:
            condition.wait_for(lambda: used.value > 0)
            used.value -= 1
            total.value += buffer[used.value]
            condition.notify_all()


def share_a_buffer(context):
    condition, buffer = context.Condition(), context.RawArray("i", 3)
    used, total = context.RawValue("i"), context.RawValue("i")
    works = [(fill, condition, buffer, used)] * (PROCESSES // 2)
    works += [(empty, condition, buffer, used, total)] * (PROCESSES // 2)
    print("buffer", run(context, works), used.value, total.value)


# ---------------------------------------------------------------- one counter


LOCKS = "Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"


def add_up(locks, numbers):
    for i in range(ROUNDS):
        for place, lock in enumerate(locks):
            with lock:
                numbers[place] += i * (place + 1)


def count_together(context):
    locks = [getattr(context, name)() for name in LOCKS]
    numbers = context.RawArray("i", len(locks))
    print("locks", run(context, [(add_up, locks, numbers)] * PROCESSES), list(numbers))


def main(method):
    context = mp.get_context(method)
    go_round(context)
    go_in_step(context)
    share_a_buffer(context)
    count_together(context)


if __name__ == "__main__":
    main(sys.argv[1])
