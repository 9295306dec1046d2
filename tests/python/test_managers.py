"""Managers: what their objects do, how long they live, and what a process' death changes."""

import contextlib
import copy
import gc
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import MutableMapping, MutableSequence, MutableSet

import errands
import managed
import pytest
from conftest import descriptors, is_stopped, not_for_ever, wait_until
from managed import ENDLESS, Branch, Shop

import mproc
from mproc import authentication, managers, shared_memory
from mproc._current import manager_keys
from mproc._managers import peers
from mproc._managers.server import Holder, Session
from mproc.connection import Client, Listener
from mproc.managers import RemoteError, SharedMemoryManager, SyncManager, Token

GONE = (EOFError, ConnectionError, FileNotFoundError)  # what calls of a dead server raise


@pytest.fixture
def with_key(ctx):
    """A manager whose key is not the process' key."""
    with SyncManager(authkey=b"another key", ctx=ctx) as started:
        yield started


@pytest.fixture
def shop():
    with Shop(ctx=mproc.get_context("fork")) as started:
        yield started


def run(ctx, target, *args):
    child = ctx.Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()


def start(target, *args):
    """Start a client by fork; return it and its end of a pipe."""
    fork = mproc.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=target, args=tuple(theirs if a is Ellipsis else a for a in args))
    child.start()
    theirs.close()
    return child, ours


def kill(child):
    child.kill()
    child.join()
    child.close()


def blocked(pid):
    """Whether the process sleeps in a system call: its call has been sent."""
    with open(f"/proc/{pid}/wchan") as file:
        return file.read().strip() not in ("", "0")


def server_of(manager):
    return manager._process.pid


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


# ---- types


def test_list(manager):
    a = manager.list(range(3))
    a.append(9)
    a += [7]
    a *= 2
    assert a[:] == [0, 1, 2, 9, 7] * 2
    assert (len(a), a.count(9), 7 in a, a.index(7), a.pop()) == (10, 2, True, 4, 7)
    del a[4:]
    assert [*a, 5] == [0, 1, 2, 9, 5] and a + a == [0, 1, 2, 9] * 2 and 2 * a == a[:] * 2
    assert [*reversed(a)] == [9, 2, 1, 0] and a.copy() == a[:]
    a.clear()
    assert [*a] == []


def test_dict(manager):
    d = manager.dict({"a": 1}, b=2)
    d["c"] = 3
    assert (d["a"], d.get("z"), "b" in d, len(d), [*d]) == (1, None, True, 3, ["a", "b", "c"])
    assert (d.keys(), d.values()) == (["a", "b", "c"], [1, 2, 3])
    assert d.items() == [("a", 1), ("b", 2), ("c", 3)]
    assert d | {"z": 0} == {"a": 1, "b": 2, "c": 3, "z": 0} == d | manager.dict(z=0)
    assert {"z": 0} | d == {"z": 0, "a": 1, "b": 2, "c": 3}
    assert type(reversed(d)) is type(iter([]))  # what comes is a list, and no proxy of an iterator
    assert [*reversed(d)] == ["c", "b", "a"] and d.fromkeys([1]) == {1: None}
    d |= {"a": 5}
    del d["b"]
    assert d.copy() == {"a": 5, "c": 3}
    assert d.popitem() == ("c", 3)
    with pytest.raises(KeyError, match="nothing"):
        d["nothing"]


def test_set(manager):
    s = manager.set([1, 2])
    s.add(3)
    s |= {4}
    s -= {1}
    s &= {2, 3, 4, 5}
    s ^= {5}
    assert isinstance(s, managers.SetProxy) and {*s} == {2, 3, 4, 5} and len(s) == 4 and 2 in s
    assert s | {1} == {1, 2, 3, 4, 5} and {2} <= (s & manager.set([2])) and s > {2}
    assert s - {2} == {3, 4, 5} and {2, 9} - s == {9} and s.issuperset({2}) and s.copy() == {*s}


def test_namespace_value_array(manager):
    n = manager.Namespace(x=1)
    n.y = 2
    n._own = 3
    assert (n.x, n.y, n._own, str(n)) == (1, 2, 3, "Namespace(x=1, y=2)")
    del n.x
    assert not hasattr(n, "x") and not hasattr(n, "_x")
    v = manager.Value("i", 3)
    v.value += 1
    assert (v.value, v.get(), str(v)) == (4, 4, "Value('i', 4)")
    a = manager.Array("i", [1, 2])
    a[0] = 7
    assert ([*a], len(a), a[:].tolist()) == ([7, 2], 2, [7, 2])


@pytest.mark.parametrize("name", ["Queue", "JoinableQueue"])
def test_queue(fast, name):
    q = getattr(fast, name)(2)
    q.put(1)
    q.put_nowait(2)
    assert (q.qsize(), q.full(), q.empty()) == (2, True, False)
    for put in (
        q.put_nowait,
        lambda item: q.put(item, timeout=0.01),
        lambda item: q.put(item, False),
    ):
        with pytest.raises(queue.Full):
            put(3)
    assert (q.get(), q.get_nowait()) == (1, 2)
    for get in (q.get_nowait, lambda: q.get(timeout=0.01), lambda: q.get(False)):
        with pytest.raises(queue.Empty):
            get()
    for call in (lambda: q.get(timeout=-1), lambda: (q.put(1), q.put(2), q.put(3, timeout=-1))):
        with pytest.raises(ValueError, match="non-negative"):
            call()
    q.get(), q.get()
    for _ in range(4):
        q.task_done()
    q.join()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_locks(fast):
    for lock in (fast.Lock(), fast.RLock()):
        assert lock.acquire() and lock.locked()
        lock.release()
        assert not lock.locked()
        with lock:
            assert lock.locked()
        with pytest.raises(RuntimeError):
            lock.release()
    lock = fast.Lock()
    with lock:
        assert not lock.acquire(False) and not lock.acquire(True, 0.01)
        with pytest.raises(ValueError, match="non-blocking"):
            lock.acquire(False, 1)
        with pytest.raises(ValueError, match=r"non-negative|must be positive"):
            lock.acquire(True, -2)


def test_an_rlock_belongs_to_a_thread_of_a_client(fast):
    lock = fast.RLock()
    answers = []
    with lock, lock:
        thread = threading.Thread(target=lambda: answers.append(lock.acquire(False)))
        thread.start()
        thread.join()
    assert answers == [False]
    assert not lock.locked()


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_semaphores(fast, name):
    permits = getattr(fast, name)(1)
    assert permits.acquire() and not permits.acquire(False)
    assert not permits.acquire(True, 0.01)
    with pytest.raises(ValueError, match="non-blocking"):
        permits.acquire(False, 1)
    permits.release()
    if name == "BoundedSemaphore":
        with pytest.raises(ValueError, match="too many times"):
            permits.release()


def test_event(fast):
    event = fast.Event()
    assert not event.wait(0.01)
    event.set()
    assert event.wait() and event.is_set()
    event.clear()
    assert not event.is_set()


@pytest.mark.parametrize("kind", ["own", "lock", "rlock"])
def test_condition(fast, kind):
    lock = {"own": lambda: None, "lock": fast.Lock, "rlock": fast.RLock}[kind]()
    condition = fast.Condition() if lock is None else fast.Condition(lock)
    found = []

    def wait():
        with condition:
            found.append(condition.wait_for(lambda: stock.value, ENDLESS))

    stock = fast.Value("i", 0)
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    with condition:
        stock.value = 1
        condition.notify_all()
    for thread in threads:
        thread.join()
    assert found == [1] * 3
    with condition:
        assert not condition.wait(0.01) and not condition.wait_for(lambda: False, 0.01)
    for call in (condition.wait, condition.notify):
        with pytest.raises(RuntimeError, match="un-acquired"):
            call()


def test_barrier(fast):
    barrier = fast.Barrier(2)
    numbers = []
    thread = threading.Thread(target=lambda: numbers.append(barrier.wait()))
    thread.start()
    numbers.append(barrier.wait())
    thread.join()
    assert sorted(numbers) == [0, 1]
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (2, 0, False)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.01)
    assert barrier.broken
    barrier.reset()
    barrier.abort()
    assert barrier.broken


def test_pool(manager):
    with manager.Pool(2) as pool:
        assert pool.map(errands.square, range(4)) == [0, 1, 4, 9]
        assert pool.apply_async(errands.square, (3,)).get(ENDLESS) == 9
        assert [*pool.imap(errands.square, range(3))] == [0, 1, 4]
        with pytest.raises(ZeroDivisionError, match="no 1"):
            pool.apply(errands.fail, (1,))
    with pytest.raises(RemoteError, match="at least 1"):
        manager.Pool(0)


def test_abstract_base_classes(fast):
    assert isinstance(fast.list(), MutableSequence)
    assert isinstance(fast.dict(), MutableMapping)
    assert isinstance(fast.set(), MutableSet)
    for kind in (managers.ListProxy, managers.DictProxy, managers.SetProxy, managers.ValueProxy):
        assert str(kind[int]) == f"mproc.managers.{kind.__name__}[int]"


# ---- proxies


def test_what_a_proxy_says_of_itself(served):
    a = served.list([1])
    assert repr(a).startswith("<ListProxy object, typeid 'list' at 0x")
    assert str(a) == "[1]" and a != [1] and a == a
    assert repr(a._token) == f"Token(typeid='list', address={served.address!r}, id={a._id!r})"
    values = a._getvalue(), copy.deepcopy(a)
    assert values == ([1], [1])
    served.shutdown()
    assert str(a).startswith("<ListProxy object") and str(a).endswith("; '__str__()' failed>")


def test_a_pickled_proxy_is_another_proxy(fast, shop):
    for proxy in (fast.list([1]), fast.Queue(), shop.Counter(), shop.Proxied()):
        other = pickle.loads(pickle.dumps(proxy))
        assert type(other).__name__ == type(proxy).__name__ and other is not proxy
        assert other._id == proxy._id
    del proxy
    assert other.add() == 1


def test_own_types(shop):
    counter = shop.Counter(5)
    assert [name for name in ("add", "_hidden") if hasattr(counter, name)] == ["add"]
    assert counter.add() == 6 == counter._callmethod("add", (0,))
    with pytest.raises(RemoteError, match=r"'_hidden' of .*Counter.* is not in exposed"):
        counter._callmethod("_hidden")
    assert shop.Hidden()._hidden() == "hidden"
    assert isinstance(shop.Proxied(), managed.CountProxy)
    assert shop.Proxied(1).another().add() == 102
    assert [shop.Iterating(3).countdown().__next__()] == [3]
    assert shop.the_one().add() == 2 and shop.the_one().add() == 3


def test_a_result_that_stays_needs_no_manager(ctx, manager):
    d = manager.dict(a=1, b=2)
    ours, theirs = ctx.Pipe()
    run(ctx, managed.count_by_iterating, d, theirs)
    assert ours.recv() == ["a", "b"]
    ours.close()
    theirs.close()


# ---- proxies that leave their container with the call that returns them


def put_into_queue(manager):
    q = manager.Queue()
    q.put(manager.dict(a=1))
    return q.get


def put_into_list(manager):
    return manager.list([manager.dict(a=1)]).pop


def put_into_dict(manager):
    outer = manager.dict(k=manager.dict(a=1))
    return lambda: outer.pop("k")


def put_as_last_item(manager):
    outer = manager.dict(k=manager.dict(a=1))
    return lambda: outer.popitem()[1]


def put_several(manager):
    outer = manager.list([[manager.dict(a=0), manager.dict(a=0), {"k": manager.dict(a=1)}]])
    return lambda: outer.pop()[2]["k"]


@pytest.mark.parametrize(
    "put", [put_into_queue, put_into_list, put_into_dict, put_as_last_item, put_several]
)
def test_a_proxy_that_is_taken_out_keeps_its_object(with_key, put):
    before = with_key._number_of_objects()
    take = put(with_key)
    gc.collect()
    with_key._number_of_objects()
    taken = take()
    assert taken.copy() == {"a": 1}
    taken["b"] = 2
    assert taken.copy() == {"a": 1, "b": 2}
    del take, taken
    gc.collect()
    wait_until(lambda: with_key._number_of_objects() == before)


def test_all_proxies_of_one_answer_keep_their_objects(manager):
    outer = manager.list([[manager.list([i]) for i in range(20)]])
    gc.collect()
    taken = outer.pop()
    assert [inner[0] for inner in taken] == list(range(20))


# ---- proxies and keys


def use_item(outer):
    outer[0]["b"] = outer[0]["a"] + 1


def use_from_queue(q):
    inner = q.get()
    inner["b"] = inner["a"] + 1


def value_of(proxy):
    return proxy["a"]


def test_a_nested_proxy_has_the_key_of_the_one_that_it_comes_from(with_key, ctx):
    outer = with_key.list([with_key.dict(a=1)])
    run(ctx, use_item, outer)
    assert outer[0].copy() == {"a": 1, "b": 2}


def test_a_proxy_in_a_queue_finds_its_key(with_key, ctx):
    inner, q = with_key.dict(a=1), ctx.Queue()
    q.put(inner)
    run(ctx, use_from_queue, q)
    assert inner.copy() == {"a": 1, "b": 2}


def test_a_proxy_given_to_a_pool_finds_its_key(with_key, ctx):
    inner = with_key.dict(a=1)
    with ctx.Pool(1) as pool:
        assert pool.apply(value_of, (inner,)) == 1


def test_a_pickled_proxy_finds_its_key(with_key):
    inner = with_key.dict(a=1)
    assert pickle.loads(pickle.dumps(inner))["a"] == 1


def test_a_proxy_of_one_manager_in_another(with_key, ctx):
    with SyncManager(authkey=b"a third key", ctx=ctx) as other:
        outer = other.dict(inner=with_key.dict(a=1))
        assert outer["inner"]["a"] == 1
        assert outer.pop("inner").copy() == {"a": 1}


def test_keys_are_known_as_long_as_their_managers(ctx):
    manager = SyncManager(authkey=b"another key", ctx=ctx)
    manager.start()
    address = manager.address
    assert manager_keys[address] == b"another key"
    manager.shutdown()
    del manager
    gc.collect()
    assert address not in manager_keys


def test_a_server_that_clients_reach_by_another_address():
    """What the server takes for its address is not where its clients find it."""
    with SyncManager(("0.0.0.0", 0), b"another key", ctx=mproc.get_context("fork")) as server:
        client = SyncManager(("127.0.0.1", server.address[1]), b"another key")
        client.connect()
        outer = client.list([client.dict(a=1)])
        assert outer[0]._token.address == client.address
        assert outer.pop().copy() == {"a": 1}


# ---- nested proxies


def test_nested_proxies(manager, ctx):
    inner = manager.list([1])
    outer = manager.dict(inner=inner, plain=[1])
    del inner
    outer["inner"].append(2)
    outer["plain"].append(2)
    run(ctx, managed.append_to, outer["inner"], 3)
    assert (outer["inner"][:], outer["plain"]) == ([1, 2, 3], [1])
    assert manager._number_of_objects() == 2
    assert manager.list([outer["inner"]])[0][0] == 1


# ---- references


def test_objects_go_with_their_last_proxy(fast):
    assert fast._number_of_objects() == 0
    a, b = fast.list(), fast.list()
    assert fast._number_of_objects() == 2
    assert fast._debug_info().count("refcount=1\n    []") == 2
    other = pickle.loads(pickle.dumps(a))
    del a
    assert fast._number_of_objects() == 2
    del other, b
    assert fast._number_of_objects() == 0


def test_a_cycle_of_proxies_is_garbage(served):
    a = served.list()
    a.append(a)
    a[0].append(1)
    assert a[1] == 1
    del a
    assert served._number_of_objects() == 0


def test_a_proxy_that_outlives_its_object(fast):
    a = fast.list()
    message = pickle.dumps(a)
    ident = a._id
    del a
    pickle.loads(message)  # the first to be made of the pickle, and the last proxy
    fast._number_of_objects()
    with pytest.raises(RemoteError, match=rf"no object '{ident}'.*last reference was dropped"):
        pickle.loads(message)


def test_a_child_keeps_what_its_parent_drops(ctx, manager, tmp_path):
    results = manager.list()
    go = tmp_path / "go"
    inner = manager.list()
    results.append(inner)
    child = ctx.Process(target=managed.append_when, args=(inner, str(go), 1))
    child.start()
    del inner
    results.pop()
    assert manager._number_of_objects() == 2
    go.touch()
    child.join()
    assert child.exitcode == 0
    child.close()
    assert manager._number_of_objects() == 1


def test_a_killed_client_drops_what_it_had(ctx, manager):
    ours, theirs = ctx.Pipe()
    q = manager.Queue()
    child = ctx.Process(target=managed.call_and_stay, args=(theirs, q.qsize))
    child.start()
    theirs.close()
    assert ours.recv() == 0
    del q
    assert manager._number_of_objects() == 1
    kill(child)
    assert wait_until(lambda: manager._number_of_objects() == 0)
    ours.close()


def test_what_children_made_goes_with_them(served):
    child, ours = start(managed.call_and_stay, ..., lambda: len(keep(served.list(), served.dict())))
    assert ours.recv() == 2
    assert served._number_of_objects() == 2
    kill(child)
    assert wait_until(lambda: served._number_of_objects() == 0)
    ours.close()


kept = []


def keep(*things):
    kept.extend(things)
    return things


def test_a_bare_fork_has_references_of_its_own(served):
    a = served.list()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.read(reader, 1)
            a.append(1)
        finally:
            os._exit(0 if served._number_of_objects() == 1 else 1)
    del a
    assert served._number_of_objects() == 1
    os.write(writer, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert wait_until(lambda: served._number_of_objects() == 0)
    os.close(reader)
    os.close(writer)


def fork_one_that_appends(a):
    """Fork a child that adds to a list when a byte comes; return its pid and the descriptor."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.read(reader, 1)
            a.append(1)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(reader)
    return pid, writer


def let_append(pid, writer):
    os.write(writer, b"x")
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0


@contextlib.contextmanager
def stopped(manager, monkeypatch):
    """With it, the manager's server is stopped, and who waits for it waits for ever."""
    with monkeypatch.context() as patch:
        patch.setattr(peers, "PATIENCE", None)
        os.kill(server_of(manager), signal.SIGSTOP)
        try:
            assert wait_until(lambda: is_stopped(server_of(manager)))  # kill() does not wait
            yield
        finally:
            os.kill(server_of(manager), signal.SIGCONT)


def test_a_fork_does_not_wait_for_a_server_that_is_stopped(served, monkeypatch):
    a = served.list()
    with stopped(served, monkeypatch):
        children = [fork_one_that_appends(a) for _ in range(3)]
        del a  # the children's references are there, whatever the parent drops meanwhile
    assert served._number_of_objects() == 1
    for child in children:
        let_append(*child)
    assert wait_until(lambda: served._number_of_objects() == 0)


def test_a_child_forks_before_the_server_has_said_its_number(served, monkeypatch):
    a = served.list()
    reader, writer = os.pipe()
    with stopped(served, monkeypatch):
        pid = os.fork()
        if pid == 0:
            try:
                grandchild = fork_one_that_appends(a)
                os.write(writer, b"x")
                let_append(*grandchild)
                os._exit(0)
            finally:
                os._exit(1)
        os.read(reader, 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(a) == 1
    os.close(reader)
    os.close(writer)


def test_a_fork_while_the_server_takes_nothing(served, monkeypatch):
    """What was said to a stopped server fills the socket: the child has to connect by itself."""
    a = served.list()
    len(a)
    anchor = a._peer._anchor
    before = descriptors()
    with stopped(served, monkeypatch):
        with contextlib.suppress(BlockingIOError):
            while True:
                anchor._send_frame(["nothing"], (), socket.MSG_DONTWAIT)
        child = fork_one_that_appends(a)
        anchor._noted.append("nothing")  # it is not the child's anchor only that has to wait
        another = fork_one_that_appends(a)
        assert anchor._noted == ["nothing"]
    let_append(*child)
    let_append(*another)
    assert len(a) == 2
    assert descriptors() == before


def test_a_fork_while_another_thread_talks_to_the_server(served):
    a = served.list()
    anchor = a._peer._anchor
    with anchor._sending:
        child = fork_one_that_appends(a)
        assert len(anchor._noted) == 1
    a.append(0)
    anchor._say()
    let_append(*child)
    assert a[:] == [0, 1]


def test_a_fork_beside_a_server_that_has_ended(served):
    a = served.list()
    os.kill(server_of(served), signal.SIGKILL)
    served._process.join()
    pid, writer = fork_one_that_appends(a)
    os.write(writer, b"x")
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 1 << 8
    with pytest.raises(GONE):
        a.append(1)


def test_a_fork_of_a_client_over_tcp(ctx):
    with SyncManager(address=("127.0.0.1", 0), authkey=b"key", ctx=ctx) as far:
        a = far.list()
        let_append(*fork_one_that_appends(a))
        assert len(a) == 1


def test_a_fork_of_a_client_that_talks_xml():
    class Plain(SyncManager):
        pass

    with Plain(authkey=b"key", ctx=mproc.get_context("fork"), serializer="xmlrpclib") as far:
        a = far.list()
        let_append(*fork_one_that_appends(a))
        assert a.__len__() == 1


def test_nothing_is_left_of_many_clients(served):
    a = served.list()
    len(a)
    pid = server_of(served)
    descriptors, threads = len(os.listdir(f"/proc/{pid}/fd")), threads_of(pid)
    run(mproc.get_context("fork"), len, a)
    for _ in range(5):
        thread = threading.Thread(target=a.append, args=(1,))
        thread.start()
        thread.join()
    run(mproc.get_context("spawn"), managed.append_to, a, 1)
    assert wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= descriptors)
    assert wait_until(lambda: threads_of(pid) <= threads)
    assert len(a) == 6


# ---- errors of calls


def test_errors_of_methods(shop):
    counter = shop.Counter()
    with pytest.raises(ZeroDivisionError, match="by design") as caught:
        counter.fail()
    assert any("in fail\n" in note for note in caught.value.__notes__)
    with pytest.raises(RemoteError, match=r"cannot be sent(.|\n)*TwoArguments: 1"):
        counter.fail_unreadably()
    with pytest.raises(RemoteError, match="ValueError: <function"):
        counter.fail_unwritably()
    with pytest.raises(RemoteError, match="exited with 5"):
        counter.leave()
    with pytest.raises(RemoteError, match=r"Unserializable message(.|\n)*<lambda>"):
        counter.give_lambda()
    with pytest.raises(RemoteError, match=r"Unserializable message(.|\n)*not me"):
        counter.give_unprintable()
    with pytest.raises(LookupError, match="not here"):
        counter.give_unreadable()
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        counter.add(x=1)
    assert counter.add() == 1


def test_an_error_leaves_no_cycle(fast):
    q = fast.Queue()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(queue.Empty) as caught:
            q.get_nowait()
        assert caught.value.__traceback__ is not None
        frames = [frame for frame in gc.get_referrers(caught.value) if hasattr(frame, "f_code")]
        assert [frame for frame in frames if "mproc" in frame.f_code.co_filename] == []
    finally:
        gc.enable()


def test_what_cannot_be_sent_is_an_error_of_that_call(shop):
    counter = shop.Counter()
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        counter.echo(lambda: 1)
    with pytest.raises(TypeError, match="not me"):
        counter.echo(errands.Unprintable())
    with pytest.raises(RemoteError, match=r"could not be read(.|\n)*not here"):
        counter.echo(errands.Unreadable())
    assert counter.echo(1) == 1


def test_errors_of_making(shop):
    with pytest.raises(RemoteError, match="out of stock"):
        shop.Refusing()
    with pytest.raises(RemoteError, match="no type 'Nothing'"):
        shop._create("Nothing")
    assert shop._number_of_objects() == 0


def test_a_server_is_asked_for_what_it_has_only(fast):
    peer = fast._peer()
    with pytest.raises(RemoteError, match="'serve_forever' is no function"):
        peer.ask("serve_forever")
    with pytest.raises(RemoteError, match="no object 'x'"):
        peer.ask("incref", "x")
    peer._wire.send(line := peer._open_line(), "nonsense")
    kind, text = line.recv()
    assert kind == "#TRACEBACK" and "is no request" in text
    line.close()


def test_convert_to_error():
    assert isinstance(managers.convert_to_error("#ERROR", KeyError(1)), KeyError)
    assert isinstance(managers.convert_to_error("#ERROR", 1), TypeError)
    assert "text" in str(managers.convert_to_error("#TRACEBACK", "text"))
    assert "Unserializable message: x" in str(managers.convert_to_error("#UNSERIALIZABLE", "x"))
    assert isinstance(managers.convert_to_error("#X", "x"), ValueError)


# ---- errors of managers


def test_registering():
    class Own(managers.BaseManager):
        pass

    for wrong in (
        {"typeid": 3},
        {"typeid": "x", "callable": 3},
        {"typeid": "x", "proxytype": 3},
        {"typeid": "x", "exposed": (1,)},
        {"typeid": "x", "method_to_typeid": {"a": 1}},
    ):
        with pytest.raises(TypeError, match="must be"):
            Own.register(**wrong)
    assert "x" not in Own._registry
    Own.register("x", list, create_method=False)
    assert "x" in Own._registry and not hasattr(Own, "x")
    assert "x" not in managers.BaseManager._registry


def test_wrong_arguments():
    with pytest.raises(TypeError, match="authkey should be a byte string"):
        SyncManager(authkey="secret")
    with pytest.raises(KeyError, match="'yaml' is no serializer"):
        SyncManager(serializer="yaml")
    with pytest.raises(TypeError, match="initializer must be a callable"):
        SyncManager().start(3)
    with pytest.raises(TypeError, match="address type"):
        SyncManager(address=3).connect()


def test_life(ctx):
    manager = SyncManager(ctx=ctx)
    assert not hasattr(manager, "shutdown")
    with pytest.raises(AssertionError, match="not yet started"):
        manager.list()
    with pytest.raises(mproc.ProcessError, match="started no server"):
        manager.join()
    with manager as same:
        assert same is manager and manager._process.name.startswith("SyncManager-")
        for call in (manager.start, manager.get_server):
            with pytest.raises(mproc.ProcessError, match="Already started server"):
                call()
        with manager:
            pass
    assert manager._process.exitcode == 0
    for call in (manager.start, manager.get_server, manager.__enter__):
        with pytest.raises(mproc.ProcessError, match="shut down"):
            call()
    with pytest.raises(AssertionError):
        manager.list()
    manager.shutdown()
    manager.join()
    manager.join()


def test_a_proxy_after_shutdown(fast):
    used, unused = fast.list(), pickle.dumps(fast.list())
    fast.shutdown()
    for _ in range(2):
        with pytest.raises(GONE):
            used.append(1)
    with pytest.raises(GONE):
        pickle.loads(unused)


def test_initializer(ctx, fast):
    seen = fast.list()
    other = SyncManager(ctx=ctx)
    other.start(managed.remember_in, (seen,))
    assert seen[:] == [other._process.pid]
    other.shutdown()


@pytest.mark.parametrize(
    ("initializer", "error", "text"),
    [
        (managed.fail, LookupError, "not today"),
        (managed.fail_unreadably, RemoteError, "TwoArguments"),
        (managed.kill_self, EOFError, "exit code -9"),
    ],
)
def test_a_server_that_does_not_start(ctx, initializer, error, text, capfd):
    manager = SyncManager(ctx=ctx)
    with pytest.raises(error, match=text):
        manager.start(initializer)
    assert capfd.readouterr().err == ""
    manager.start()
    assert manager.list([1])[0] == 1
    manager.shutdown()


def test_an_address_that_is_taken():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        SyncManager(taken.getsockname()).start()


def test_a_wrong_key(fast):
    stranger = SyncManager(fast.address, b"wrong")
    with pytest.raises(mproc.AuthenticationError):
        stranger.connect()
    assert fast.list([1])[0] == 1


def test_a_stranger_who_says_nothing_holds_up_nobody(fast):
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(fast.address)
        other = SyncManager(fast.address)
        other.connect()
        assert other.list([1])[0] == 1


def test_nobody_there():
    with pytest.raises(ConnectionRefusedError) as caught:
        SyncManager("\0mproc-nobody-there").connect()
    assert "mproc-nobody-there" in caught.value.__notes__[0]


# ---- deaths


def test_a_dead_server_is_an_error_at_once(served):
    a, b = served.list(), served.dict()
    served._process.kill()
    served._process.join()
    for _ in range(2):
        with pytest.raises(GONE):
            a.append(1)
    with pytest.raises(GONE):
        len(b)
    with pytest.raises(GONE):
        served.list()


def test_a_dead_server_ends_calls_that_wait(served):
    q = served.Queue()
    child, ours = start(managed.say_and_call, ..., q.get)
    pid = ours.recv()
    assert wait_until(lambda: blocked(pid))
    served._process.kill()
    assert ours.poll(ENDLESS) and ours.recv() in ("EOFError", "ConnectionResetError")
    child.join()
    child.close()
    ours.close()


def test_a_dead_server_is_noticed_though_its_children_live(fast):
    with mproc.get_context("fork").Manager() as other:
        seen = other.list()
        pool = fast.Pool(1)
        result = pool.apply_async(managed.append_when, (seen, "/nonexistent", 1))
        fast._process.kill()
        with pytest.raises(GONE):
            result.get()
        with pytest.raises(GONE):
            fast.Pool(1)


def test_a_dead_client_takes_no_item(fast):
    q = fast.Queue()
    child, ours = start(managed.say_and_call, ..., q.get)
    pid = ours.recv()
    assert wait_until(lambda: blocked(pid))
    kill(child)
    q.put("item")
    assert q.get(timeout=ENDLESS) == "item"
    ours.close()


def test_an_item_that_was_not_read_is_not_lost(served):
    q = served.Queue()
    q.put("first")
    q.put("second")
    peer = served._peer()
    line = peer._open_line()
    peer._wire.send(line, (q._id, "get", (), {}))
    assert line.poll(ENDLESS)
    line.close()
    assert wait_until(lambda: q.qsize() == 2)
    assert [q.get(), q.get()] == ["first", "second"]


@pytest.mark.parametrize(
    ("address", "when"),
    [
        (None, "after"),  # no reply can be sent when the client has gone
        (None, "read"),
        (("127.0.0.1", 0), "before"),
        (("127.0.0.1", 0), "after"),
        (("127.0.0.1", 0), "read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "unix" if value is None else "tcp",
)
def test_a_server_knows_whether_the_last_reply_was_read(address, when):
    """The client goes before it comes, or after it has come, or when it has read it."""
    with Listener(address) as listener, Client(listener.address) as client:
        session = Session(listener.accept(), Holder(1))
        session.undo = int
        if when == "before":
            client.close()
        session.connection.send_bytes(b"reply")
        if when == "read":
            client.recv_bytes()
        client.close()
        with pytest.raises(EOFError if when == "read" else ConnectionResetError):
            session.receive(session.connection)
        session.close()


def test_an_item_that_was_read_is_taken(served):
    q = served.Queue()
    q.put("first")
    child, ours = start(managed.call_and_stay, ..., q.get)
    assert ours.recv() == "first"
    threads = threads_of(server_of(served))
    kill(child)
    assert wait_until(lambda: threads_of(server_of(served)) < threads)
    assert q.empty()
    ours.close()


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_the_holder_of_a_lock_dies(fast, name):
    lock = getattr(fast, name)()
    child, ours = start(managed.call_and_stay, ..., lock.acquire)
    assert ours.recv()
    pid = child.pid
    kill(child)
    with pytest.raises(mproc.OwnerDiedError) as caught:
        lock.acquire(timeout=ENDLESS)
    assert caught.value.pid == pid
    assert lock.acquire(False)
    lock.release()
    ours.close()


def test_who_has_left_a_lock_to_others(fast):
    lock = fast.Lock()
    run(mproc.get_context("fork"), lock.acquire)
    lock.release()
    with lock:
        pass


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_who_waits_for_a_lock_dies(fast, name):
    lock = getattr(fast, name)()
    lock.acquire()
    child, ours = start(managed.say_and_call, ..., lock.acquire)
    pid = ours.recv()
    assert wait_until(lambda: blocked(pid))
    kill(child)
    lock.release()
    assert lock.acquire(timeout=ENDLESS)
    ours.close()


@pytest.fixture(params=["fast", "served"])
def either(request):
    """A manager with its objects in shared memory, and one with all of them at its server."""
    return request.getfixturevalue(request.param)


def test_a_waiter_at_a_condition_dies(either):
    condition = either.Condition()
    child, ours = start(managed.wait_at, condition, ...)
    ours.recv()
    with condition:  # so the child is waiting
        kill(child)
    other, theirs = start(managed.wait_at, condition, ...)
    theirs.recv()
    with condition:
        condition.notify()  # if it is for the dead one still, it is passed on
    other.join()
    assert other.exitcode == 0
    other.close()
    ours.close()
    theirs.close()


def test_a_notified_waiter_at_a_condition_dies(either):
    condition = either.Condition()
    child, ours = start(managed.wait_at, condition, ...)
    ours.recv()
    other, theirs = start(managed.wait_at, condition, ...)
    theirs.recv()
    with condition:
        condition.notify()
        kill(child)
    other.join()
    assert other.exitcode == 0
    other.close()
    ours.close()
    theirs.close()


def test_a_party_at_a_barrier_dies(served):
    barrier = served.Barrier(2)
    child, ours = start(managed.say_and_call, ..., barrier.wait)
    assert wait_until(lambda: barrier.n_waiting == 1)
    kill(child)
    assert wait_until(lambda: barrier.broken)
    ours.close()


def test_a_party_at_a_barrier_gives_up(served):
    barrier = served.Barrier(2)
    line = served._peer()._open_line()
    served._peer()._wire.send(line, (barrier._id, "wait", (), {}))
    assert wait_until(lambda: barrier.n_waiting == 1)
    line.close()
    assert wait_until(lambda: barrier.broken)


def test_the_action_of_a_barrier(fast):
    seen = fast.list()
    barrier = fast.Barrier(1, seen.reverse, 5)
    assert barrier.wait() == 0 and not barrier.broken
    with pytest.raises(RemoteError, match="parties must be > 0"):
        fast.Barrier(0)
    failing = fast.Barrier(1, seen.pop)
    with pytest.raises(IndexError):
        failing.wait()
    assert failing.broken
    with pytest.raises(threading.BrokenBarrierError):
        failing.wait()


def test_clients_that_are_killed_anywhere(ctx):
    with managed.Served(ctx=ctx) as manager:
        kill_clients_anywhere(manager, ctx)


def kill_clients_anywhere(manager, ctx):
    shared = manager.list(), manager.Lock(), manager.Queue(), manager.dict()
    lock = shared[1]
    before = threads_of(server_of(manager))

    def begin(seed):
        child = ctx.Process(target=managed.use_all_at_random, args=(*shared, seed), daemon=True)
        child.start()
        return child

    children = [begin(seed) for seed in range(3)]
    for number in range(12):
        length = len(shared[0]), shared[2].qsize()  # something else happens meanwhile
        kill(children.pop(0))
        children.append(begin(sum(length) + number))
    for child in children:
        kill(child)
    assert wait_until(lambda: threads_of(server_of(manager)) == before)
    with contextlib.suppress(mproc.OwnerDiedError):
        assert lock.acquire(timeout=ENDLESS)
        lock.release()
    assert lock.acquire(timeout=ENDLESS)
    assert manager._number_of_objects() == len(shared)
    assert manager._debug_info().count("refcount=1\n") == len(shared)


PARENT = """
import os, signal, sys, time
import mproc

if __name__ == "__main__":
    manager = mproc.get_context(sys.argv[1]).Manager()
    a = manager.list()
    print(manager._process.pid, flush=True)
    signal.pause()
"""


def test_a_server_ends_with_its_parent(method, program):
    path = program.write("parent.py", PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(path), method], env=program.env, stdout=subprocess.PIPE, text=True
    )
    with parent, not_for_ever(parent):
        pid = int(parent.stdout.readline())
        server = os.pidfd_open(pid)
        parent.kill()
    assert mproc.connection.wait([server], ENDLESS)
    os.close(server)


INTERRUPTED = """
import signal
import mproc

if __name__ == "__main__":
    manager = mproc.Manager()
    q, a = manager.Queue(), manager.list([1])
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        q.get()
    except KeyboardInterrupt:
        q.put("item")
        print(len(a), q.get())
"""


def test_the_next_call_after_an_interrupt_gets_its_own_answer(program):
    assert program.output(program.write("interrupted.py", INTERRUPTED)) == "1 item\n"


def test_a_server_that_does_not_end_is_killed(ctx):
    manager = SyncManager(ctx=ctx, shutdown_timeout=0.05)
    manager.start()
    os.kill(manager._process.pid, signal.SIGSTOP)
    manager.shutdown()
    assert manager._process.exitcode == -signal.SIGKILL


def test_a_manager_that_is_forgotten_shuts_down(fast):
    manager = mproc.get_context("fork").Manager()
    server = os.pidfd_open(manager._process.pid)
    a = manager.list()
    del manager
    gc.collect()
    a.append(1)
    del a
    gc.collect()
    assert mproc.connection.wait([server], ENDLESS)
    os.close(server)


AT_EXIT = """
import mproc

if __name__ == "__main__":
    manager = mproc.get_context("fork").Manager()
    a = manager.list()
    child = mproc.get_context("fork").Process(target=a.append, args=(1,))
    child.start()
    child.join()
    print(a, manager._number_of_objects())
"""


def test_the_end_of_a_program(program):
    assert program.output(program.write("at_exit.py", AT_EXIT)) == "[1] 1\n"


# ---- other servers


SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from managed import Shop

if __name__ == "__main__":
    server = Shop(("127.0.0.1", 0), b"key", sys.argv[2]).get_server()
    print(server.address[1], flush=True)
    server.serve_forever()
    print("never")
"""


@pytest.mark.parametrize("serializer", ["pickle", "xmlrpclib"])
def test_a_server_of_another_program(program, serializer):
    path = program.write("server.py", SERVER)
    here = os.path.dirname(__file__)
    server = subprocess.Popen(
        [sys.executable, str(path), here, serializer],
        env=program.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server, not_for_ever(server):
        address = ("127.0.0.1", int(server.stdout.readline()))
        branch = Branch(address, b"key", serializer)
        branch.connect()
        assert branch.the_one().add(2) == 3
        run(mproc.get_context("spawn"), managed.connect_and_add, address, b"key", serializer)
        counter = branch.the_one()
        assert counter.add() == 14
        assert counter.echo([1, None, "ü", b"\0"]) == [1, None, "ü", b"\0"]
        if serializer == "xmlrpclib":
            with pytest.raises(TypeError, match="cannot marshal"):
                counter.echo(len)
            with pytest.raises(RemoteError, match="ZeroDivisionError: by design"):
                counter.fail()
        assert counter.add() == 15
        branch._peer().ask("shutdown")
        assert server.wait(ENDLESS) == 0
        assert server.stdout.read() == ""


STOCK = """
import sys
from multiprocessing.managers import SyncManager

assert "mproc" not in sys.modules
if __name__ == "__main__":
    server = SyncManager(("127.0.0.1", 0), b"key").get_server()
    print(server.address[1], flush=True)
    server.serve_forever()
"""


def test_a_server_of_the_standard_library(program, ctx):
    path = program.write("stock.py", STOCK)
    server = subprocess.Popen(
        [sys.executable, str(path)], env=program.env, stdout=subprocess.PIPE, text=True
    )
    with server, not_for_ever(server):
        far = SyncManager(("127.0.0.1", int(server.stdout.readline())), b"key", ctx=ctx)
        far.connect()
        a, q = far.list([1]), far.Queue()
        run(ctx, managed.append_to, a, 2)
        q.put(a[:])
        assert (q.get(), far._number_of_objects()) == ([1, 2], 2)
        with pytest.raises(IndexError):
            a[5]
        with pytest.raises(RemoteError, match="not in exposed"):
            a._callmethod("nothing")
        del q
        assert far._number_of_objects() == 1
        holder = [far.list([1])]
        run(ctx, managed.forget, holder, a)
        assert holder[0][:] == [1]
        with far.Lock():
            pass
        holder.clear()
        del a


def test_a_server_in_a_thread():
    manager = Shop(authkey=b"key")
    server = manager.get_server()
    ended = []

    def serve():
        try:
            server.serve_forever()
        except SystemExit as error:
            ended.append(error.code)

    thread = threading.Thread(target=serve)
    thread.start()
    client = mproc.connection.Client(server.address, authkey=b"key")
    assert managers.dispatch(client, None, "dummy") is None
    ident, exposed = managers.dispatch(client, None, "create", ("Counter", 4))
    assert "add" in exposed and managers.dispatch(client, ident, "add", (1,)) == 5
    assert managers.dispatch(client, None, "number_of_objects") == 1
    managers.dispatch(client, None, "decref", (ident,))
    assert managers.dispatch(client, None, "number_of_objects") == 0
    with pytest.raises(RemoteError):
        managers.dispatch(client, ident, "add")
    managers.dispatch(client, None, "shutdown")
    thread.join()
    assert ended == [0]
    client.close()
    assert wait_until(lambda: not server._sessions)


def serve_one(server, talk):
    """Serve one connection in this thread; a client that knows the key talks in another."""
    near, far = socket.socketpair()
    said = []

    def be_client():
        with mproc.connection.Connection(far.detach()) as client:
            authentication.greet_server(client, b"key")
            talk(client)
            said.append(True)

    thread = threading.Thread(target=be_client)
    thread.start()
    server._serve(mproc.connection.Connection(near.detach()))
    thread.join()
    assert said and not server._sessions


@pytest.mark.parametrize("length", [1 << 62, (1 << 63) - 1])
def test_a_request_of_a_made_up_length_ends_its_connection_only(length):
    server = Shop(authkey=b"key").get_server()
    header = b"\xff\xff\xff\xff" + length.to_bytes(8, "big")
    serve_one(server, lambda client: os.write(client.fileno(), header))
    serve_one(server, lambda client: managers.dispatch(client, None, "dummy"))
    server.listener.close()


def test_an_anchor_drops_what_is_an_ident():
    server = Shop(authkey=b"key").get_server()

    def talk(client):
        ident, _ = managers.dispatch(client, None, "create", ("Counter",))
        holder = managers.dispatch(client, None, "hold")
        server.give(None, holder, ident)
        server.drop(server._holders[0], [ident])
        client.send([["unhashable"], 1, {}, ident])
        client.send("bye")
        assert client.recv() == ("#RETURN", None)

    serve_one(server, talk)
    assert set(server._holders) == {0}
    server.listener.close()


def fork_over(client, *ends):
    message = pickle.dumps(peers.FORK)
    with socket.socket(fileno=os.dup(client.fileno())) as sock:
        head = len(message).to_bytes(4, "big")
        socket.send_fds(sock, [head + message], [end.fileno() for end in ends])


def test_an_anchor_of_a_child_comes_over_its_parents():
    server = Shop(authkey=b"key").get_server()

    def talk(client):
        ident, _ = managers.dispatch(client, None, "create", ("Counter",))
        holder = managers.dispatch(client, None, "hold")
        server.give(None, holder, ident)
        server.drop(server._holders[0], [ident])
        ours, theirs = socket.socketpair()
        with theirs:
            fork_over(client, theirs)
        child = mproc.connection.Connection(ours.detach())
        client.send([ident])  # what the parent drops later
        kind, number = child.recv()
        assert kind == "#RETURN"
        assert server._holders[number].counts == {ident: 1}
        client.send("bye")
        assert client.recv() == ("#RETURN", None)
        assert server.number_of_objects(None) == 1
        child.close()
        assert wait_until(lambda: server.number_of_objects(None) == 0)

    serve_one(server, talk)
    assert wait_until(lambda: set(server._holders) == {0})
    server.listener.close()


def test_an_anchor_is_not_believed(monkeypatch):
    """Descriptors that come without a fork, a fork without one, and one that cannot be served."""
    server = Shop(authkey=b"key").get_server()
    before = descriptors()

    def talk(client):
        managers.dispatch(client, None, "hold")
        client.send(peers.FORK)
        first, second = socket.socketpair()
        with first, second, socket.socket(fileno=os.dup(client.fileno())) as sock:
            message = pickle.dumps([])
            head = len(message).to_bytes(4, "big")
            for _ in range(3):
                socket.send_fds(sock, [head + message], [first.fileno(), second.fileno()])
        ours, theirs = socket.socketpair()

        def refuse(*_):
            raise RuntimeError("no more threads")

        with monkeypatch.context() as patch, ours:
            patch.setattr("mproc._managers.server._start_new_thread", refuse)
            with theirs:
                fork_over(client, theirs)
            assert ours.recv(1) == b""
        client.send("bye")
        assert client.recv() == ("#RETURN", None)

    serve_one(server, talk)
    assert set(server._holders) == {0}
    assert wait_until(lambda: descriptors() == before)
    server.listener.close()


def test_dispatch_raises_what_it_is_told():
    class Connection:
        def send(self, message):
            self.sent = message

        def recv(self):
            return "#ERROR", queue.Empty()

    connection = Connection()
    with pytest.raises(queue.Empty):
        managers.dispatch(connection, "id", "get", (1,), {"x": 2})
    assert connection.sent == ("id", "get", (1,), {"x": 2})


def test_token():
    token = Token("list", "address", "1")
    assert repr(pickle.loads(pickle.dumps(token))) == repr(token)


# ---- shared memory


def test_shared_memory_goes_with_its_manager(ctx):
    manager = SharedMemoryManager(ctx=ctx)
    with pytest.raises(ValueError, match="start or connect"):
        manager.SharedMemory(10)
    with manager:
        segment = manager.SharedMemory(size=10)
        shared = manager.ShareableList([1, "a"])
        segment.buf[0] = 7
        names = segment.name, shared.shm.name
        assert manager._peer().ask("list_segments") == [*names]
        again = shared_memory.SharedMemory(names[0])
        assert again.buf[0] == 7
        gone = manager.SharedMemory(size=10)
        manager._peer().ask("release_segment", gone.name)
        unlinked = manager.SharedMemory(size=10)
        unlinked.unlink()
    for name in (*names, gone.name, unlinked.name):
        with pytest.raises(FileNotFoundError):
            shared_memory.SharedMemory(name)
    for mine in (segment, shared.shm, again, gone, unlinked):
        mine.close()
    with pytest.raises(ValueError, match="shut down"):
        manager.ShareableList([1])


def test_a_segment_that_nobody_can_note_is_not_made(monkeypatch):
    made, make = [], shared_memory._make_filename
    monkeypatch.setattr(shared_memory, "_make_filename", lambda: made.append(make()) or made[-1])
    manager = SharedMemoryManager()
    manager.start()
    manager._process.kill()
    manager._process.join()
    with pytest.raises(GONE):
        manager.SharedMemory(10)
    assert [os.path.exists(f"/dev/shm{name}") for name in made] == [False]


# ---- the module


def test_names():
    assert {*managers.__all__} >= {"BaseManager", "SyncManager", "BaseProxy", "Token"}
    assert "Manager" in mproc.__all__ and callable(mproc.Manager)
    for name in ("Server", "SharedMemoryServer", "all_methods", "public_methods", "RebuildProxy"):
        assert getattr(managers, name).__module__ == "mproc.managers"
    with pytest.raises(AttributeError, match="nothing"):
        managers.nothing  # noqa: B018


def test_import_is_cheap(program):
    code = "import sys, mproc.managers; print([m for m in sys.modules if m in sys.argv[1:]])"
    dear = (
        "socket",
        "threading",
        "queue",
        "xmlrpc",
        "tempfile",
        "traceback",
        "random",
        "array",
        "_pickle",
    )
    assert program.output("-c", code, *dear) == "[]\n"


def test_no_descriptor_is_left(fast):
    before = descriptors()
    other = mproc.get_context("fork").Manager()
    a = other.Condition(other.Lock())
    a.acquire()
    other.shutdown()
    other._process.close()
    del a, other
    gc.collect()
    assert descriptors() == before
