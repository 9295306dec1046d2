"""Objects in a family's shared memory, as programs of other families use them by the server."""

import gc
import multiprocessing.managers as standard
import os
import pickle
import subprocess
import sys
import time

import pytest
from conftest import wait_until
from managed import ENDLESS
from stranger import PROXIES

import mproc
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
    time.sleep(0.5)  # the server looks several times a second
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


def test_this_family_is_the_stranger():
    """The other direction: the server is the standard library's, the client is mproc's."""
    with standard.SyncManager(("127.0.0.1", 0), authkey=b"secret") as theirs:
        words = theirs.dict(a=1)
        ours = SyncManager(theirs.address, authkey=b"secret")
        ours.connect()
        proxy = mproc.managers.DictProxy(words._token, "pickle", ours, b"secret")
        proxy["b"] = 2
        assert words.copy() == proxy.copy() == {"a": 1, "b": 2}


def test_an_address_that_is_taken():
    with SyncManager(("127.0.0.1", 0), authkey=b"secret") as first:
        second = SyncManager(first.address, authkey=b"secret")
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
