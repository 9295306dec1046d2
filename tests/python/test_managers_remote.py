"""Objects in a family's shared memory, as programs of other families use them by the server."""

import gc
import multiprocessing
import multiprocessing.managers as standard
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import wait_until
from managed import ENDLESS
from stranger import PROXIES

import mproc
from mproc import futures
from mproc.managers import RemoteError, SyncManager

HERE = os.path.dirname(os.path.abspath(__file__))
MADE = {
    "dict": ({"a": 1},), "list": ([1],), "set": ((1, 2),), "Queue": (), "JoinableQueue": (),
    "Lock": (), "RLock": (), "Semaphore": (1,), "BoundedSemaphore": (2,), "Value": ("i", 3),
    "Namespace": (), "Event": (), "Condition": (), "Barrier": (2,), "Array": ("i", [1, 2]),
}  # fmt: skip


class Stranger:
    """A program of another family that has proxies of a manager's objects."""

    def __init__(self, library, manager, objects):
        address = manager.address  # the server, if started now, must not have copies of the pipes
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "stranger.py"), library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        idents = {typeid: proxy._token.id for typeid, proxy in objects.items()}
        about = address, bytes(manager._authkey), idents
        self.process.stdin.write(pickle.dumps(about).hex() + "\n")

    def begin(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def end(self):
        return self.process.stdout.readline().rstrip("\n")

    def do(self, expression):
        self.begin(expression)
        return self.end()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(params=["own", "unix", "tcp"])
def manager(request, tmp_path):
    """A manager whose server is started when it is needed, or that has an address."""
    wanted = {"own": None, "unix": str(tmp_path / "socket"), "tcp": ("127.0.0.1", 0)}
    with SyncManager(wanted[request.param], authkey=b"secret") as manager:
        yield manager


@pytest.fixture
def objects(manager):
    made = {typeid: getattr(manager, typeid)(*args) for typeid, args in MADE.items()}
    assert all(proxy._direct is not None for proxy in made.values())
    return made


@pytest.fixture(params=["mproc", "multiprocessing"])
def stranger(request, manager, objects):
    stranger = Stranger(request.param, manager, objects)
    yield stranger
    stranger.close()


def test_what_a_stranger_reads_and_writes(stranger, objects):
    assert stranger.do("dict.update(b=[2])") == "None"
    assert objects["dict"].copy() == {"a": 1, "b": [2]}
    objects["dict"]["c"] = 3
    assert stranger.do("dict.copy()") == "{'a': 1, 'b': [2], 'c': 3}"
    assert stranger.do("(len(dict), 'a' in dict, sorted(dict), str(dict))") == (
        """(3, True, ['a', 'b', 'c'], "{'a': 1, 'b': [2], 'c': 3}")"""
    )
    assert stranger.do("dict._getvalue()") == "{'a': 1, 'b': [2], 'c': 3}"
    assert stranger.do("list.append(2)") == "None"
    assert objects["list"][:] == [1, 2]
    assert stranger.do("(list.pop(0), list[:], list.__imul__(2)[:])") == "(1, [2], [2, 2])"
    assert stranger.do("set.add(3)") == "None"
    assert objects["set"].copy() == {1, 2, 3}
    assert stranger.do("Value.set(Value.get() + 1)") == "None"
    assert objects["Value"].value == 4
    assert stranger.do("setattr(Namespace, 'x', 5)") == "None"
    assert objects["Namespace"].x == 5 and stranger.do("str(Namespace)") == "'Namespace(x=5)'"
    assert stranger.do("Array.__setitem__(0, 7)") == "None"
    assert objects["Array"][:].tolist() == [7, 2]


def test_errors_are_those_of_the_family(stranger):
    assert stranger.do("dict['none']") == "KeyError: 'none'"
    assert stranger.do("list[9]") == "IndexError: list index out of range"
    assert stranger.do("Queue.get(False)") == "Empty: "
    assert stranger.do("Lock.release()") == "RuntimeError: release unlocked lock"
    assert stranger.do("Condition.notify()") == "RuntimeError: cannot notify on un-acquired lock"
    assert "AttributeError" in stranger.do("dict._callmethod('no_such')")


def test_waiting_for_each_other(stranger, objects):
    stranger.begin("Queue.get()")
    objects["Queue"].put([1])
    assert stranger.end() == "[1]"
    assert stranger.do("Queue.put('x')") == "None"
    assert objects["Queue"].get(timeout=ENDLESS) == "x"
    stranger.begin("Event.wait(60)")
    objects["Event"].set()
    assert stranger.end() == "True"
    stranger.begin("Barrier.wait(60)")
    assert wait_until(lambda: objects["Barrier"].n_waiting == 1)
    assert objects["Barrier"].wait(ENDLESS) == 1 and stranger.end() == "0"
    stranger.begin("(Condition.acquire(), Condition.wait(60), Condition.release())")
    assert wait_until(objects["Condition"]._direct.condition._waiting)
    with objects["Condition"]:
        objects["Condition"].notify()
    assert stranger.end() == "(True, True, None)"


def test_one_lock_for_both(stranger, objects):
    for typeid in ("Lock", "RLock", "Condition", "Semaphore"):
        assert stranger.do(f"{typeid}.acquire()") == "True"
        assert not objects[typeid].acquire(False)
        assert stranger.do(f"{typeid}.release()") == "None"
        assert objects[typeid].acquire(False)
        assert stranger.do(f"{typeid}.acquire(False)") == "False"
        objects[typeid].release()


def test_what_a_stranger_had_that_is_killed_is_free(stranger, objects):
    for typeid in ("Lock", "RLock", "RLock", "Condition", "BoundedSemaphore", "BoundedSemaphore"):
        assert stranger.do(f"{typeid}.acquire()") == "True"
    assert not objects["BoundedSemaphore"].acquire(False)
    stranger.process.kill()
    for typeid in ("Lock", "RLock", "Condition", "BoundedSemaphore", "BoundedSemaphore"):
        assert objects[typeid].acquire(True, ENDLESS)


def test_a_stranger_that_is_killed_waiting_takes_nothing(stranger, objects):
    stranger.begin("(Queue.put(0), Queue.get(), Queue.get())")
    assert wait_until(objects["Queue"].empty)  # it waits, or is about to
    stranger.process.kill()
    stranger.process.wait()
    objects["Queue"].put(1)
    assert objects["Queue"].get(timeout=ENDLESS) == 1


def test_what_a_stranger_makes_is_for_the_family_too(stranger, manager, objects):
    if "multiprocessing" in stranger.process.args:
        pytest.skip("proxies of the two libraries are no arguments for each other")
    assert stranger.do("dict.__setitem__('mine', m.list([1]))") == "None"
    mine = objects["dict"]["mine"]
    mine.append(2)
    assert stranger.do("dict['mine'][:]") == "[1, 2]"


def test_a_proxy_that_is_sent_to_a_stranger(stranger, manager, objects):
    if "multiprocessing" in stranger.process.args:
        pytest.skip("proxies of the two libraries are no arguments for each other")
    nested = manager.list([5])
    objects["dict"]["nested"] = nested
    sent = pickle.dumps(objects["dict"]).hex()
    assert stranger.do(f"loads({sent!r})['nested'][:]") == "[5]"
    assert stranger.do("dict['nested'].append(6)") == "None"
    assert nested[:] == [5, 6]
    queue = pickle.dumps(objects["Queue"]).hex()
    assert stranger.do(f"loads({queue!r}).put('by a copy')") == "None"
    assert objects["Queue"].get(timeout=ENDLESS) == "by a copy"


def test_an_object_lives_as_long_as_a_stranger_has_it(stranger, manager):
    if "multiprocessing" in stranger.process.args:
        pytest.skip("proxies of the two libraries are no arguments for each other")
    before = manager._number_of_objects()
    alone = manager.list([1])
    ident = alone._id
    sent = pickle.dumps(alone).hex()
    assert stranger.do(f"m.__setattr__('kept', loads({sent!r}))") == "None"
    del alone
    gc.collect()
    assert stranger.do("m.kept[:]") == "[1]"
    assert stranger.do("m.__delattr__('kept')") == "None"
    assert wait_until(lambda: manager._number_of_objects() == before)
    token = f"type(dict._token)('list', dict._token.address, {ident!r})"
    assert "Error" in stranger.do(f"type(list)({token}, 'pickle', authkey=m._authkey)")


def test_after_the_end(stranger, manager):
    assert stranger.do("dict['a']") == "1"
    manager.shutdown()
    error = stranger.do("dict['a']").partition(":")[0]
    assert error in (
        "EOFError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "BrokenPipeError",
    )


LOAD = """
import pickle, sys
import mproc
mproc.current_process().authkey = bytes.fromhex(sys.argv[1])
proxy = pickle.load(sys.stdin.buffer)
print(eval(sys.argv[2]))
"""


def load_elsewhere(pickled, expression):
    """Return what a program of another family says of a proxy that it unpickles."""
    key = bytes(mproc.current_process().authkey).hex()
    words = [sys.executable, "-c", LOAD, key, expression]
    return subprocess.run(words, input=pickled, stdout=subprocess.PIPE, check=True).stdout.strip()


@pytest.mark.parametrize("dumps", [pickle.dumps, mproc.reduction.ForkingPickler.dumps])
def test_a_pickle_may_go_to_a_program_that_knows_no_address(ctx, dumps):
    with ctx.Manager() as manager:
        numbers, lock = manager.list([1]), manager.Lock()
        assert not manager._late.has_server()
        pickled = bytes(dumps(numbers))
        assert manager._late.has_server()
        assert load_elsewhere(pickled, "(proxy.append(2), proxy[:])") == b"(None, [1, 2])"
        assert numbers[:] == [1, 2]
        assert load_elsewhere(bytes(dumps(lock)), "proxy.acquire()") == b"True"
        assert lock.acquire(timeout=60)  # its holder has ended


def test_a_server_that_is_forked_later_keeps_nothing_alive():
    with mproc.get_context("fork").Manager() as manager:
        numbers, gone = manager.list([1]), manager.dict()
        token = gone._direct.token.address
        assert manager.address
        assert not mproc._mproc.held_elsewhere(token)
        del gone
        assert manager._number_of_objects() == 1
        assert load_elsewhere(pickle.dumps(numbers), "proxy[:]") == b"[1]"
        assert numbers[:] == [1]


class SendsAlong:
    """What pickles a proxy for somebody else while it is pickled itself."""

    def __init__(self, proxy):
        self.proxy = proxy

    def __reduce__(self):
        return bytes, (pickle.dumps(self.proxy),)


def test_a_pickle_within_a_message_may_go_elsewhere():
    with mproc.Manager() as manager:
        queue, numbers = mproc.Queue(), manager.list([1])
        queue.put(SendsAlong(numbers))
        assert load_elsewhere(queue.get(), "proxy[:]") == b"[1]"


def test_a_thread_makes_the_pickle():
    with mproc.Manager() as manager, ThreadPoolExecutor(1) as threads:
        pickled = threads.submit(pickle.dumps, manager.dict(a=1)).result()
        assert load_elsewhere(pickled, "proxy['a']") == b"1"
    assert not mproc.active_children()


def first(proxy):
    return proxy[0]


def test_what_stays_in_the_family_starts_no_server(ctx):
    near, far = ctx.Pipe()
    with ctx.Manager() as manager:
        numbers, queue, table = manager.list([1]), ctx.Queue(), mproc.Dict()
        queue.put(numbers)
        near.send(numbers)
        table["numbers"] = numbers
        assert queue.get()[:] == far.recv()[:] == table["numbers"][:] == [1]
        with ctx.Pool(1) as pool, futures.ProcessPoolExecutor(1, mp_context=ctx) as executor:
            assert pool.map(first, [numbers]) == [1]
            assert executor.submit(first, numbers).result() == 1
        assert not manager._late.has_server()


def test_this_family_is_the_stranger():
    """The other direction: the server is the standard library's, the client is mproc's."""
    fork = multiprocessing.get_context("fork")  # a fork server would outlive the test
    with standard.SyncManager(("127.0.0.1", 0), authkey=b"secret", ctx=fork) as theirs:
        words = theirs.dict(a=1)
        ours = SyncManager(theirs.address, authkey=b"secret")
        ours.connect()
        proxy = mproc.managers.DictProxy(words._token, "pickle", ours, b"secret")
        proxy["b"] = 2
        assert words.copy() == proxy.copy() == {"a": 1, "b": 2}


def test_an_address_that_is_taken():
    fork = mproc.get_context("fork")  # a fork server would outlive the test
    with SyncManager(("127.0.0.1", 0), authkey=b"secret", ctx=fork) as first:
        second = SyncManager(first.address, authkey=b"secret", ctx=fork)
        with pytest.raises(OSError, match="in use"):
            second.start()
        with pytest.raises(AssertionError, match="not yet started"):
            second.dict()
        assert not hasattr(second, "shutdown")


def test_a_token_that_names_nothing(manager, objects):
    proxy = objects["dict"]
    nonce = proxy._id.partition("-")[0]
    peer = manager._peer()
    for ident in (f"{nonce}-1-1-1", f"{nonce}-", f"{nonce}-x-y-z-0"):
        with pytest.raises(RemoteError, match="no object"):
            peer.ask("incref", ident)


def test_every_type_has_been_tried():
    assert PROXIES.keys() <= MADE.keys()
