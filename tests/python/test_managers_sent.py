"""Proxies on their way: their objects stay until they arrive, and no longer."""

import os
import pickle
import queue
import signal

import pytest
from conftest import wait_until

import mproc
from mproc.managers import BaseManager, RemoteError, SyncManager


def objects(manager):
    return manager._number_of_objects()


def only(manager, number):
    return wait_until(lambda: objects(manager) == number)


def remote(address):
    manager = SyncManager(address)
    manager.connect()
    return manager


def make(address, value):
    return remote(address).dict(value=value)


def put_and_exit(address, target):
    target.put(make(address, 1))


def put_and_die(address, target):
    target.put(make(address, 1))
    os.kill(os.getpid(), signal.SIGKILL)


def pass_on(source, target):
    target.put(source.get())


def value_of(proxy):
    return proxy["value"]


def test_put_and_forget(manager, ctx):
    q = ctx.Queue()
    for n in range(3):
        q.put(manager.dict(value=n))
    assert objects(manager) == 3
    assert [q.get()["value"] for _ in range(3)] == [0, 1, 2]
    assert only(manager, 0)


def test_sent_through_a_pipe(fast):
    ours, theirs = mproc.Pipe()
    ours.send(fast.list([fast.dict(value=1)]))
    received = theirs.recv()
    assert received[0]["value"] == 1
    del received
    assert only(fast, 0)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("target", [put_and_exit, put_and_die])
def test_the_sender_has_ended(manager, ctx, target):
    q = ctx.Queue()
    child = ctx.Process(target=target, args=(manager.address, q))
    child.start()
    child.join()
    child.close()
    assert objects(manager) == 1
    assert q.get()["value"] == 1
    assert only(manager, 0)


def test_results_and_arguments_of_tasks(manager, ctx):
    with ctx.Pool(2) as pool:
        made = pool.starmap(make, [(manager.address, n) for n in range(20)])
        assert [proxy["value"] for proxy in made] == list(range(20))
        assert pool.map(value_of, (manager.dict(value=n) for n in range(20))) == list(range(20))
        del made
        pool.close()
        pool.join()
    assert only(manager, 0)


def test_passed_on_by_others(manager, ctx):
    first, second = ctx.Queue(), ctx.Queue()
    child = ctx.Process(target=pass_on, args=(first, second))
    first.put(manager.dict(value=1))
    child.start()
    child.join()
    child.close()
    assert second.get()["value"] == 1
    assert only(manager, 0)


def test_an_arrival_that_is_known_before_the_sending(served):
    a = served.dict(value=1)
    anchor = a._peer._anchor
    with anchor._sending:  # what is noted is not sent yet
        b = pickle.loads(pickle.dumps(a))
    del a
    assert b["value"] == 1
    del b
    assert only(served, 0)


def test_tries_that_failed_keep_nothing(fast):
    q = mproc.Queue(1)
    q.put(0)
    proxy = fast.dict(value=1)
    for _ in range(50):
        with pytest.raises(queue.Full):
            q.put_nowait(proxy)
    q.get()
    q.put(proxy)
    del proxy
    assert q.get()["value"] == 1
    assert only(fast, 0)


def test_a_pickle_is_loaded_again(fast):
    message = pickle.dumps(fast.dict(value=1))
    first, second = pickle.loads(message), pickle.loads(message)
    del first
    assert second["value"] == 1
    del second
    assert only(fast, 0)
    with pytest.raises(RemoteError, match="last reference was dropped"):
        pickle.loads(message)


def test_what_is_never_loaded_stays_until_the_manager_ends(fast):
    pickle.dumps(fast.dict())
    assert objects(fast) == 1


def test_into_containers_of_the_server(served):
    outer = served.dict()
    for n in range(5):
        outer["inner"] = served.dict(value=n)
    assert outer["inner"]["value"] == 4
    assert only(served, 1)
    del outer["inner"]
    assert only(served, 1)


class Sender:
    """Lives in a server, and sends what that has to others."""

    def __init__(self):
        self._kept = []

    def keep(self, proxy):
        self._kept.append(proxy)

    def pickled(self):
        return pickle.dumps(self._kept.pop())


class Senders(BaseManager):
    """A manager with senders."""


Senders.register("Sender", Sender)
Senders.register("list", list, mproc.managers.ListProxy)


def test_sent_by_the_server_itself():
    with Senders(ctx=mproc.get_context("fork")) as manager:
        sender, inner = manager.Sender(), manager.list([1, 2])
        sender.keep(inner)
        del inner
        message = sender.pickled()
        assert manager._number_of_objects() == 2
        assert pickle.loads(message)._getvalue() == [1, 2]
        assert only(manager, 1)
