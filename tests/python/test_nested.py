"""Shared objects as values of shared containers: held by these, and let go with them."""

import copy
import gc
import os
import pickle
import signal
import threading

import pytest
from conftest import in_arena, wait_until

import mproc
from mproc import _mproc
from mproc.dicts import Dict
from mproc.lists import List
from mproc.namespaces import Namespace
from mproc.sets import Set


def settled():
    gc.collect()
    _mproc.reap()
    return in_arena()


def test_containers_in_containers_are_shared():
    d, inner = mproc.Dict(), mproc.List([1, 2])
    d["list"] = inner
    d["dict"] = mproc.Dict(a=mproc.Set("xy"))
    d["space"] = mproc.Namespace(n=0)
    inner.append(3)
    assert d["list"] == [1, 2, 3] and type(d["list"]) is List
    d["list"].append(4)
    assert inner == [1, 2, 3, 4]
    d["dict"]["a"].add("z")
    assert d["dict"]["a"] == {"x", "y", "z"} and type(d["dict"]["a"]) is Set
    d["space"].n += 1
    assert d["space"].n == 1
    assert repr(d["dict"]["a"]) == repr(d["dict"]["a"].copy())
    assert [type(value) for value in d.values()] == [List, Dict, Namespace]
    assert d.copy()["list"] == inner


def test_values_may_have_them_deep_inside():
    inner, array = mproc.Dict(n=1), mproc.Buffer(8)
    shared = mproc.List([{"k": (inner, [inner]), "b": memoryview(array)[0]}, (inner, 2)])
    one, many = shared[0]["k"]
    assert one is many[0]  # one object in a pickle stays one
    one["n"] = 2
    assert inner["n"] == shared[1][0]["n"] == 2
    assert shared.pop()[0] == inner
    assert shared.pop(0)["k"][0] == inner


@pytest.mark.parametrize("name", ["Lock", "RLock", "Event", "Semaphore", "BoundedSemaphore"])
def test_what_synchronizes(name):
    ctx = mproc.get_context("fork")
    d, thing = mproc.Dict(), getattr(ctx, name)()
    d["k"] = thing
    if name == "Event":
        d["k"].set()
        assert thing.is_set()
        return
    with d["k"]:
        assert not thing.acquire(False) or name == "RLock"
    assert thing.acquire(False)


def test_queues():
    d, q = mproc.Dict(), mproc.Queue(3)
    d["q"] = q
    d["q"].put("item")
    assert q.get() == "item"
    assert d["q"]._maxsize == 3


def test_what_is_replaced_or_deleted_is_let_go():
    d = mproc.Dict()
    d["warm"] = mproc.List()  # memory that a dict keeps
    d["warm"] = 0
    before = settled()
    for let_go in (
        lambda: d.__setitem__("k", 1),
        lambda: d.__delitem__("k"),
        lambda: d.pop("k"),
        d.clear,
        d.popitem,
        lambda: d.update_with("k", lambda old: None),
    ):
        d["k"] = mproc.Dict(a=mproc.List([bytes(100_000)]), b="b" * 100_000)
        assert settled() > before + 200_000
        let_go()
        assert settled() < before + 10_000
    deep = mproc.List()
    for _ in range(2000):
        deep = mproc.List([deep])
    d["deep"] = deep
    del deep
    d.clear()
    assert settled() < before + 10_000


def test_one_that_was_read_outlives_its_container():
    d = mproc.Dict(k=mproc.Dict(a=1))
    inner = d["k"]
    del d["k"], d
    inner["a"] += 1
    assert inner == {"a": 2}


def test_one_that_contains_itself():
    shared = mproc.List([1])
    shared.append(shared)
    assert shared[1][1][1][0] == 1
    assert repr(shared) == "[1, [...]]"
    shared.clear()
    d = mproc.Dict()
    d["me"], d["list"] = d, mproc.List([d])
    assert repr(d) == "{'me': {...}, 'list': [{...}]}"
    d.clear()
    space = mproc.Namespace()
    space.me = space
    assert repr(space) == "Namespace(me=Namespace(...))"
    del space.me


def fill(shared, n):
    shared[n] = mproc.Dict(pid=os.getpid(), items=mproc.List(range(n)))
    shared["common"].append(n)


def test_children_put_and_get_them(ctx):
    shared = ctx.Dict(common=ctx.List())
    children = [ctx.Process(target=fill, args=(shared, n)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert sorted(shared["common"]) == [0, 1, 2, 3]
    for n, child in enumerate(children):  # the makers have ended
        assert shared[n]["pid"] == child.pid
        assert shared[n]["items"] == list(range(n))


def put_until_killed(shared, n):
    while True:
        fill(shared, n)
        shared.pop(n)


def test_those_of_killed_processes_are_let_go():
    ctx = mproc.get_context("fork")
    shared = ctx.Dict(common=ctx.List())
    for n in range(4):
        shared[n] = 0
        del shared[n]
    before = settled()
    for i in range(40):
        child = ctx.Process(target=put_until_killed, args=(shared, i % 4))
        child.start()
        assert wait_until(lambda: len(shared["common"]) > 3)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        shared["common"].clear()
        for n in range(4):
            shared.pop(n, None)
    _mproc.arena_check()
    assert settled() < before + 20_000


def test_threads_read_what_others_replace():
    shared, failed, done = mproc.Dict(k=mproc.List([0])), [], threading.Event()

    def read():
        while not done.is_set():
            if shared["k"][0] < 0:
                failed.append(1)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(2000):
        shared["k"] = mproc.List([n])
    done.set()
    for reader in readers:
        reader.join()
    assert not failed and shared["k"] == [1999]


def test_elsewhere_they_are_not_pickled():
    inner = mproc.Dict()
    for pickled in (pickle.dumps, copy.copy, mproc.SimpleQueue().put):
        with pytest.raises(RuntimeError, match="inheritance"):
            pickled(inner)
    with pytest.raises(TypeError, match="Share"):
        _mproc.Share()
    with pytest.raises(ValueError, match="no address"):
        _mproc.Share(4096)


def test_a_value_that_cannot_be_pickled_keeps_nothing():
    d, inner = mproc.Dict(), mproc.Dict()
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        d["k"] = (inner, lambda: None)
    assert not _mproc.held_elsewhere(inner.address)
    assert "k" not in d
