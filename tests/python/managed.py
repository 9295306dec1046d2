"""Managers, their objects, and the functions that clients of the tests run."""

import contextlib
import gc
import os
import queue
import random
import signal
from typing import ClassVar

import errands

from mproc import OwnerDiedError
from mproc.managers import BaseManager, BaseProxy, SyncManager

ENDLESS = 60  # seconds that no wait of a test takes


class Served(SyncManager):
    """A manager all of whose objects are at its server, since it could have types of its own."""


class Counter:
    """An object with state, errors, and results of all kinds."""

    def __init__(self, value=0):
        self.value = value

    def add(self, n=1):
        self.value += n
        return self.value

    def _hidden(self):
        return "hidden"

    def fail(self):
        raise ZeroDivisionError("by design")

    def fail_unreadably(self):
        raise errands.TwoArguments(1, 2)

    def fail_unwritably(self):
        raise ValueError(lambda: 1)

    def leave(self):
        raise SystemExit(5)

    def give_lambda(self):
        return lambda: 1

    def give_unreadable(self):
        return errands.Unreadable()

    def give_unprintable(self):
        return errands.Unprintable()

    def echo(self, value):
        return value

    def countdown(self):
        yield from range(self.value, 0, -1)

    def another(self):
        return Counter(self.value + 100)


class CountProxy(BaseProxy):
    _exposed_ = ("add", "another")
    _method_to_typeid_: ClassVar = {"another": "Another"}

    def add(self, n=1):
        return self._callmethod("add", (n,))

    def another(self):
        return self._callmethod("another")


class Shop(BaseManager):
    """A manager of one's own."""


def refuse_to_be_made():
    raise LookupError("out of stock")


one = Counter(1)


def the_one():
    return one


Shop.register("Counter", Counter)
Shop.register("Hidden", Counter, exposed=("add", "_hidden"))
Shop.register("Iterating", Counter, method_to_typeid={"countdown": "Iterator"})
Shop.register("Iterator", exposed=("__next__",), create_method=False)
Shop.register("Proxied", Counter, CountProxy)
Shop.register("Another", proxytype=CountProxy, create_method=False)
Shop.register("the_one", the_one)
Shop.register("Refusing", refuse_to_be_made)


class Branch(BaseManager):
    """Connects to a Shop that another process serves."""


Branch.register("the_one")
Branch.register("Counter")


# ---- what clients run


def append_to(proxy, *values):
    for value in values:
        proxy.append(value)


def append_when(proxy, path, value):
    errands.wait_for(path)
    proxy.append(value)


def count_by_iterating(proxy, connection):
    connection.send([*proxy])


def say_and_call(connection, function, *args):
    """Say that the call is about to be, make it, say what came of it."""
    connection.send(os.getpid())
    try:
        connection.send(function(*args))
    except Exception as error:
        connection.send(type(error).__name__)


def call_and_stay(connection, function, *args):
    """Make a call, say what came of it, and stay until killed."""
    connection.send(function(*args))
    while True:
        signal.pause()


def wait_at(condition, connection):
    with condition:
        connection.send(os.getpid())
        condition.wait(ENDLESS)


def connect_and_add(address, authkey, serializer):
    branch = Branch(address, authkey, serializer)
    branch.connect()
    branch.the_one().add(10)


def forget(holder, other):
    """Drop one proxy, while having a connection for another."""
    len(other)
    holder.clear()
    gc.collect()


def use_all_at_random(things, lock, items, table, seed):
    dice = random.Random(seed)
    while True:
        try:
            use_one_of(dice.randrange(6), things, lock, items, table)
        except OwnerDiedError:
            continue  # one of the others was killed


def use_one_of(which, things, lock, items, table):
    if which == 0:
        with lock:
            things.append(1)
    elif which == 1:
        items.put(1)
    elif which == 2:
        with contextlib.suppress(queue.Empty):
            items.get(timeout=0.1)
    elif which == 3:
        table["long"] = list(range(3000))
    elif which == 4:
        table.copy()
    else:
        things[:] = []


# ---- initializers


def remember_in(proxy):
    proxy.append(os.getpid())


def fail():
    raise LookupError("not today")


def fail_unreadably():
    raise errands.TwoArguments(1, 2)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)
