"""A pool whose tasks talk through a manager's objects, and a listener for results."""

import multiprocessing
import sys


def task(shared, log, queue, number):
    shared[number] = number**2
    log.append(number)
    queue.put(number)
    return number


def main(method):
    ctx = multiprocessing.get_context(method)
    with ctx.Manager() as manager, ctx.Pool(2) as pool:
        shared, log, queue = manager.dict(), manager.list(), manager.Queue()
        done = pool.starmap(task, [(shared, log, queue, n) for n in range(6)])
        print(done, sorted(shared.items()), sorted(log))
        print(sorted(queue.get() for _ in range(6)), queue.empty())
        numbers = manager.Value("i", 5)
        numbers.value += 1
        print(numbers.value, list(manager.list([1, 2])), manager.Namespace(a=1).a)


if __name__ == "__main__":
    main(sys.argv[1])
