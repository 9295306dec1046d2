"""Contexts that make some of the objects otherwise, and what the others are made of then."""

import multiprocessing
import sys


def square(x):
    return x * x


def fail(x):
    raise ValueError(x)


made = []


def own_context(method):
    class OwnContext(type(multiprocessing.get_context(method))):
        def RLock(self):
            print("RLock")
            return super().RLock()

        def SimpleQueue(self):
            made.append("SimpleQueue")
            return super().SimpleQueue()

    return OwnContext()


def use_condition(ctx):
    condition = ctx.Condition()
    with condition:
        print(condition.wait(0.01))
        condition.notify_all()
    value = ctx.Value("i", 4)
    with value.get_lock():
        value.value += 1
    print(value.value)


def use_pool(ctx):
    with ctx.Pool(2) as pool:
        print(len(made) >= 2)  # of tasks and of results
        print(pool.map(square, range(6)), pool.apply(square, (7,)))
        print([*pool.imap(square, range(4))])
        try:
            pool.apply(fail, (3,))
        except ValueError as error:
            print(repr(error))
        pool.close()
        pool.join()


def main(method):
    ctx = own_context(method)
    use_condition(ctx)
    use_pool(ctx)


if __name__ == "__main__":
    main(sys.argv[1])
