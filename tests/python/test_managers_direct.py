"""Managers without a server: objects in the arena, what they do, and when a server is started."""

import array
import copy
import decimal
import enum
import fractions
import gc
import os
import pickle
import queue
import re
import subprocess
import sys
import threading
import time
import types

import managed
import pytest
from conftest import wait_until
from managed import ENDLESS

import mproc
from mproc import managers
from mproc._managers import late, life, starting
from mproc._managers.direct import keys
from mproc.managers import RemoteError, SyncManager

KINDS = (
    "Queue", "JoinableQueue", "Event", "Lock", "RLock", "Semaphore", "BoundedSemaphore", "dict",
    "list", "set",
)  # fmt: skip


def has_server(manager):
    return "_process" in manager.__dict__


def in_child(target, *args, method="fork"):
    child = mproc.get_context(method).Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode == 0
    child.close()


# ---- the server


def test_nobody_needs_a_server(ctx):
    with ctx.Manager() as manager:
        made = [getattr(manager, kind)() for kind in KINDS]
        made += [manager.Value("i", 1), manager.Namespace(a=1), manager.Array("i", [1])]
        made += [manager.Condition(), manager.Condition(manager.RLock()), manager.Barrier(2)]
        in_child(str, made[-1], method=ctx.get_start_method())
        assert manager._number_of_objects() == len(made)
        assert not has_server(manager)


@pytest.mark.parametrize(
    "need",
    [
        lambda m: m.address,
        lambda m: m._process.pid,
        lambda m: m.Condition(m.Lock()),
        lambda m: m.Barrier(2, print),
        lambda m: m.Semaphore("many"),
        lambda m: mproc.active_children(),
    ],
)
def test_what_needs_a_server(fast, need):
    try:
        need(fast)
    except RemoteError as error:
        assert "TypeError" in str(error)
    assert has_server(fast) and fast._process in mproc.active_children()
    assert fast._process.name.startswith("SyncManager-")


def test_the_number_of_the_server_is_its_turn(fast):
    later = mproc.get_context("fork").Process(target=int)
    assert fast._process._identity[-1] == later._identity[-1] - 1


def test_managers_with_more_start_their_server():
    class Own(SyncManager):
        pass

    fork = mproc.get_context("fork")  # no other method takes a class of a function along
    with SyncManager(authkey=b"k", ctx=fork) as late, Own(ctx=fork) as own:
        assert not has_server(late) and has_server(own)
        assert own.dict(a=1)._direct is None


def test_segments_need_no_server(ctx):
    with managers.SharedMemoryManager(ctx=ctx) as manager:
        before = [manager.SharedMemory(10), manager.ShareableList([1]).shm]
        assert not has_server(manager)
        child = mproc.get_context("fork").Process(target=manager.SharedMemory, args=(10,))
        child.start()
        child.join()
        child.close()
        names = [key[1:] for key in manager._late.life.record._list_keys() if key[0] == "n"]
        assert len(names) == len(segments(names)) == 3
        assert manager.address and has_server(manager)
        assert len(manager._peer().ask("list_segments")) == 3
        after = manager.SharedMemory(10)
        names.append(after.name)
        assert len(manager._peer().ask("list_segments")) == 4
        before[0].unlink()
    assert not segments(names)
    for segment in (*before, after):
        segment.close()


def segments(names):
    return [name for name in names if os.path.exists(f"/dev/shm/{name}")]


def make_barrier(manager, pipe):
    pipe.send(manager.Barrier(3, print).parties)


@pytest.mark.parametrize("daemon", [False, True])
def test_a_child_starts_a_server_of_its_own(fast, daemon):
    ours, theirs = mproc.Pipe()
    child = mproc.get_context("fork").Process(
        target=make_barrier, args=(fast, theirs), daemon=daemon
    )
    child.start()
    assert ours.recv() == 3
    child.join()
    assert child.exitcode == 0 and not has_server(fast)
    child.close()
    ours.close()
    theirs.close()


def make_another(manager, pipe):
    late.starting = starting  # without what holds up the parent's thread
    pipe.send(manager.Barrier(2).parties)


def fork_bare(target, *args):
    pid = os.fork()
    if pid == 0:
        try:
            target(*args)
        finally:
            os._exit(0)
    return lambda: os.waitpid(pid, 0)


def fork_child(target, *args):
    child = mproc.get_context("fork").Process(target=target, args=args)
    child.start()
    return child.join


@pytest.mark.parametrize("fork", [fork_bare, fork_child])
def test_a_fork_while_a_thread_starts_the_server(ctx, fork, monkeypatch):
    with ctx.Manager() as manager:
        starts, forked = threading.Event(), threading.Event()

        def start_slowly(*args):
            starts.set()
            forked.wait()
            return starting.start_server(*args)

        slow = types.SimpleNamespace(start_server=start_slowly)
        monkeypatch.setattr(late, "starting", slow)
        thread = threading.Thread(target=manager._need_server)
        thread.start()
        starts.wait()
        ours, theirs = mproc.Pipe()
        join = fork(make_another, manager, theirs)
        try:
            assert ours.poll(ENDLESS) and ours.recv() == 2
            join()
        finally:
            forked.set()
            thread.join()
        assert manager.Barrier(3).parties == 3
        ours.close()
        theirs.close()


# ---- the beginning

AT_THE_START = """
import sys
import mproc

before = {*sys.modules}
manager = mproc.Manager()
print(sorted(name for name in sys.modules if name.startswith("mproc.") and name not in before))
manager.dict(a=1)
assert "_process" not in manager.__dict__
assert mproc.managers.SyncManager._registry["dict"][-1] is mproc.managers.DictProxy
with mproc.Manager() as another:
    assert another.dict(a=1)._direct is not None, "a look at the registry is no change of it"
"""


def test_a_manager_that_starts_imports_nothing_that_objects_need():
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_START], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "['mproc._cpython', 'mproc.managers']\n"


def use_until_it_ends(manager, pipe):
    made = manager.dict(a=1)
    pipe.send(made["a"])
    pipe.recv()
    try:
        made["a"]
    except ConnectionRefusedError:
        pipe.send("dead")


@pytest.mark.parametrize("fork", [fork_bare, fork_child])
def test_a_child_from_before_the_first_object_has_the_same_manager(ctx, fork):
    manager = ctx.Manager()
    ours, theirs = mproc.Pipe()
    join = fork(use_until_it_ends, manager, theirs)
    assert ours.recv() == 1
    manager.shutdown()
    ours.send("it has ended")
    assert ours.recv() == "dead"
    ours.close()
    theirs.close()
    join()


def test_a_manager_that_ends_while_its_first_object_is_made(ctx, monkeypatch):
    manager = ctx.Manager()
    begin = life.begin

    def begin_late(address):
        manager.shutdown()
        return begin(address)

    monkeypatch.setattr(life, "begin", begin_late)
    with pytest.raises(AssertionError, match="not yet started"):  # as after its end
        manager.dict()
    assert manager._number_of_objects() == 0


# ---- the end


def test_all_is_dead_after_shutdown(fast):
    d, q, v = fast.dict(a=1), fast.Queue(), fast.Value("i", 1)
    lock, ns, a = fast.Lock(), fast.Namespace(), fast.list([1])
    pickled = pickle.dumps(d)
    fast.shutdown()
    calls = [
        lambda: d["a"], lambda: d.__setitem__("a", 1), lambda: "a" in d, lambda: len(d),
        lambda: q.put(1), q.get, v.get, lambda: v.set(2), lock.acquire, lock.release, lambda: ns.x,
        lambda: setattr(ns, "x", 1), lambda: pickle.loads(pickled), lambda: a[0],
        lambda: a.append(1), lambda: a.__setitem__(0, 1), lambda: len(a), a.pop,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ConnectionRefusedError, match="shut down"):
            call()


def wait_in(call, pipe):
    pipe.send(None)
    try:
        pipe.send(call())
    except Exception as error:
        pipe.send(type(error).__name__)


def wait_for(condition):
    with condition:
        condition.wait()


@pytest.mark.parametrize(
    "which", ["get", "put", "join", "acquire", "down", "wait", "notified", "all"]
)
def test_shutdown_ends_calls_that_wait(fast, which):
    full, taken, none = fast.JoinableQueue(1), fast.Lock(), fast.Semaphore(0)
    condition = fast.Condition()
    full.put(1)
    taken.acquire()
    call = {
        "get": fast.Queue().get, "put": lambda: full.put(2), "join": full.join,
        "acquire": taken.acquire, "down": none.acquire, "wait": fast.Event().wait,
        "notified": lambda: wait_for(condition), "all": fast.Barrier(2).wait,
    }[which]  # fmt: skip
    ours, theirs = mproc.Pipe()
    child = mproc.get_context("fork").Process(target=wait_in, args=(call, theirs))
    child.start()
    ours.recv()
    fast.shutdown()
    assert ours.poll(ENDLESS) and ours.recv() == "ConnectionRefusedError"
    child.join()
    child.close()
    ours.close()
    theirs.close()


# ---- queues


def empty_it(q):
    assert q.full() and q.qsize() == 2
    assert (q.get(), q.get_nowait()) == (5, 6)
    q.task_done()
    q.task_done()
    assert q.empty() and not q.full()


def test_a_bound_is_known_to_children(ctx):
    with ctx.Manager() as manager:
        q = manager.JoinableQueue(2)
        q.put(5)
        q.put_nowait(6)
        in_child(empty_it, q, method=ctx.get_start_method())
        q.join()


def get_until_it_ends(q):
    with pytest.raises(queue.ShutDown):
        while True:
            q.get()
            q.task_done()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="queue.Queue has no shutdown()")
@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_a_queue_is_shut_down(fast, kind):
    q = getattr(fast, kind)(3)
    assert "shutdown" in dir(q)
    q.put(1)
    q.shutdown()
    with pytest.raises(queue.ShutDown):
        q.put(2)
    in_child(get_until_it_ends, q)
    q.join()
    q = getattr(fast, kind)(3)
    q.put(1)
    q.shutdown(immediate=True)
    q.join()
    with pytest.raises(queue.ShutDown):
        q.get()


# ---- keys


class Color(enum.IntEnum):
    RED = 1


class Word(str):
    pass


class Loose:
    """Equal to others of the same number, whatever else they have."""

    def __init__(self, number, more):
        self.number, self.more = number, more

    def __eq__(self, other):
        return isinstance(other, Loose) and self.number == other.number

    def __hash__(self):
        return hash(self.number)


SAME = [
    [True, 1, 1.0, Color.RED, decimal.Decimal(1), fractions.Fraction(1)],
    [0.5, decimal.Decimal("0.5"), fractions.Fraction(1, 2)],
    ["a", Word("a")],
    [(1, "a"), (True, Word("a"))],
    [Loose(1, "x"), Loose(1, "yy")],
    [2**70, float(2**70)],
]


@pytest.mark.parametrize("keys", SAME)
def test_equal_keys_are_one(fast, keys):
    for first in keys:
        d, like = fast.dict(z=0), {"z": 0}
        d[first] = like[first] = "first"
        for n, key in enumerate(keys):
            assert key in d and d[key] == like[key] and d.get(key) == like[key]
            assert d.setdefault(key, 7) == like[key]
            d[key] = like[key] = n
            assert next(iter(d)) == "z" and len(d) == 2
            assert type(d.keys()[1]) is type(first) and d.items() == list(like.items())
        assert d.pop(keys[-1]) == like.pop(keys[-1]) and d.copy() == {"z": 0}
        d[first] = 1
        last = d.popitem()
        assert last == (first, 1) and type(last[0]) is type(first) and d.copy() == {"z": 0}
        d[first] = 1
        del d[keys[0]]
        assert keys[0] not in d


def insert_loosely(d, keys):
    for key in keys:
        assert key in d and d.pop(key) == "first"
        d[key] = "second"


NO_TABLE_TAKES = [
    frozenset("abcdef"), "x" * 9000, b"y" * 9000, ("z" * 9000, 1), Word("w" * 9000),
    (frozenset("abcdef"), 1), Loose(frozenset("abcdef"), 1), 1 << 80000,
]  # fmt: skip


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_keys_that_no_table_takes(fast, method):
    d, like = fast.dict(a=1), {"a": 1}
    for key in NO_TABLE_TAKES:
        assert key not in d and d.get(key, 5) == 5
        with pytest.raises(KeyError):
            _ = d[key]
        d[key] = like[key] = "zeroth"
        d.update({key: "first"})
        like[key] = "first"
        assert d[key] == "first" and d.setdefault(key, 2) == "first"
        assert d.items() == list(like.items()) and d.keys() == list(d) == list(like)
    in_child(insert_loosely, d, NO_TABLE_TAKES, method=method)
    assert d.copy() == {"a": 1} | dict.fromkeys(NO_TABLE_TAKES, "second")
    assert d.popitem() == (NO_TABLE_TAKES[-1], "second")
    del d[frozenset("fedcba")]
    assert len(d) == len(NO_TABLE_TAKES) - 1
    assert not has_server(fast)


KEYS_OF_MAIN = """
import mproc, enum, collections, sys

class Color(enum.Enum):
    RED = 1

Point = collections.namedtuple("Point", "x y")

class Odd:
    def __eq__(self, other): return isinstance(other, Odd)
    def __hash__(self): return 1

KEYS = Color.RED, Point(1, 2), Odd(), (Odd(), 1)

def work(d):
    for key in KEYS:
        assert key in d
        d[key] += 1
        d[key, "child"] = 1

if __name__ == "__main__":
    ctx = mproc.get_context(sys.argv[1])
    with ctx.Manager() as manager:
        d = manager.dict(dict.fromkeys(KEYS, 1))
        for _ in range(2):
            child = ctx.Process(target=work, args=(d,))
            child.start()
            child.join()
        print(len(d), [d[key] for key in KEYS], [d[key, "child"] for key in KEYS])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_keys_of_classes_of_main(tmp_path, method):
    program = tmp_path / "keys.py"
    program.write_text(KEYS_OF_MAIN)
    done = subprocess.run(
        [sys.executable, program, method], capture_output=True, text=True, timeout=ENDLESS
    )
    assert (done.stdout, done.stderr) == ("8 [3, 3, 3, 3] [1, 1, 1, 1]\n", "")


class Same:
    """As many keys of one hash as are asked for; no table takes them, as pickles never repeat."""

    def __init__(self, number, more=0):
        self.number, self.more = number, more

    def __eq__(self, other):
        return isinstance(other, Same) and self.number == other.number

    def __hash__(self):
        return 1

    def __reduce__(self):
        return Same, (self.number, os.urandom(8))


def test_stand_ins_of_one_hash(fast):
    d = fast.dict()
    for n in range(3):
        d[Same(n)] = n
    del d[Same(0)]
    d[Same(3)] = 3
    d[Same(1)] = 5
    assert [d.get(Same(n)) for n in range(4)] == [None, 5, 2, 3] and len(d) == 3


def test_a_key_that_looks_like_a_stand_in(fast):
    key = frozenset([1, 2])
    likes = ("\0stand-in", hash(key)), ("\0stand-in",), ("\0stand-in", hash(key), 0)
    d, s = fast.dict(), fast.set()
    d[likes[0]] = s.add(likes[0])  # before the table has a stand-in, and after it
    d[key] = s.add(key)
    for n, like in enumerate(likes):
        assert (like in d) == (like in s) == (n == 0) and d.pop(like, 5) == (5 if n else None)
        d[like] = n
        s.add(like)
    assert d.copy() == {key: None, likes[0]: 0, likes[1]: 1, likes[2]: 2}
    assert s.copy() == {key, *likes}
    assert [d[like] for like in likes] == [0, 1, 2] and d[key] is None
    assert d.setdefault(likes[1], 7) == 1 and d.pop(likes[1]) == 1 and likes[1] not in d


class Strict:
    """May be compared with its like only; a dict does no more, if the hashes differ."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return self.number == other.number

    def __hash__(self):
        return hash((Strict, self.number))


class Unlike(Loose):
    """Equal to its like, and unequal, too."""

    def __ne__(self, other):
        return True


def test_keys_whose_comparisons_are_odd(fast):
    d, s = fast.dict(a=1), fast.set(["a"])
    for key, same in (((Strict(1), 1), (Strict(1), 1)), (Unlike(1, "x"), Unlike(1, "yy"))):
        d[key] = 1
        d[same] = 2
        s.update([key])
        s.add(same)
        assert d[key] == 2 and d.setdefault(same, 3) == 2 and same in s
    assert len(d) == len(s) == 3


def test_keys_that_are_never_there(fast):
    d, s = fast.dict(), fast.set()
    for n in range(3):
        d[float("nan")] = s.add(float("nan"))
        assert d.setdefault(float("nan"), n) == n and len(d) == 2 * n + 2 and len(s) == n + 1
    assert float("nan") not in d and d.pop(float("nan"), 5) == 5
    assert d.setdefault((float("nan"), 1), 7) == 7 and len(d) == 7
    s.add(1)
    s.intersection_update([1, 2])
    assert list(s) == [1]
    s.add(float("nan"))
    s &= {2}
    assert len(s) == 0


def test_a_key_that_is_equal_to_one_is_that_one(fast):
    d = fast.dict({1: "one"})
    assert d.setdefault(1.0, "other") == "one" and d.copy() == {1: "one"}
    assert not d._direct._is_odd()  # its keys are simple, and a miss looks at one of them


def test_an_odd_key_makes_no_other_dict_slow(fast, monkeypatch):
    others = fast.dict(a=1), fast.set(["a"])
    odd = fast.dict()
    odd[frozenset("ab")] = 1
    assert odd.get("x") is None and odd[frozenset("ab")] == 1

    def search(self, place):
        raise AssertionError("all keys were looked at")

    monkeypatch.setattr(keys.OnKeys, "_key_of", search)
    plain, elements = others
    plain["b"] = 2
    elements.add("b")
    assert plain.get("x") is None and plain.pop("b") == 2 and "y" not in plain
    assert "b" in elements and "y" not in elements
    with pytest.raises(AssertionError):
        odd.get("x")


class LookedBefore:
    """A manager's flags, as a process has seen them that looked before the manager ended."""

    def __init__(self, flags):
        self.flags = flags

    def __getitem__(self, place):
        return life.PLAIN

    def __setitem__(self, place, value):
        self.flags[place] = value


def test_an_odd_key_does_not_revive_a_manager():
    manager = mproc.Manager()
    direct = manager.dict()._direct
    manager.shutdown()
    direct.life.flags = LookedBefore(memoryview(direct.life.buffer))
    direct._set_odd(frozenset("ab"), 1)
    assert bytes(direct.life.buffer)[0] == life.DEAD


def test_a_plain_key_after_an_odd_one(fast):
    d = fast.dict({decimal.Decimal(3): "three"})
    d[3] = "drei"
    assert d.items() == [(decimal.Decimal(3), "drei")] and type(d.keys()[0]) is decimal.Decimal


@pytest.mark.parametrize("key", [[1], {}, {1}])
def test_keys_that_have_no_hash(fast, key):
    d = fast.dict(a=1)
    for call in (d.__getitem__, d.__contains__, d.get, d.pop, d.__delitem__, d.setdefault):
        with pytest.raises(TypeError, match="unhashable"):
            call(key)
    with pytest.raises(TypeError, match="unhashable"):
        d[key] = 1
    assert d.copy() == {"a": 1}
    for like in ({"a": 1}, {}):  # an empty one does not look at the key
        for call in (lambda d: d.pop(key), lambda d: d.pop(key, 5)):
            same_outcome("pop", call, dict(like), fast.dict(like))


def test_missing_keys(fast):
    d = fast.dict(a=1)
    for key in ("b", 1.0, Loose(1, 1)):
        for call in (d.__getitem__, d.pop, d.__delitem__):
            with pytest.raises(KeyError) as caught:
                call(key)
            assert caught.value.args == (key,)
    with pytest.raises(TypeError, match="at most 2"):
        d.pop("a", 1, 2)


def test_what_cannot_be_pickled_changes_nothing(fast):
    d, v, q, ns = fast.dict(a=1), fast.Value("i", 1), fast.Queue(), fast.Namespace(x=1)
    for call in (
        lambda: d.__setitem__("a", lambda: 0), lambda: d.update(b=1, c=lambda: 0),
        lambda: v.set(lambda: 0), lambda: q.put(lambda: 0), lambda: setattr(ns, "x", lambda: 0),
    ):  # fmt: skip
        with pytest.raises((pickle.PicklingError, AttributeError)):
            call()
    assert (d.copy(), v.value, q.empty(), ns.x) == ({"a": 1}, 1, True, 1)


def test_a_dict_that_changes_while_it_is_gone_over(fast):
    d = fast.dict(a=1, b=2)
    keys = iter(d)
    assert next(keys) == "a" and iter(keys) is keys
    d["a"] = 3
    assert next(keys) == "b"
    keys = iter(d)
    d["c"] = 1
    with pytest.raises(RuntimeError, match="changed size"):
        next(keys)


# ---- lists


def outcome(function, values):
    """What it returns or raises, and what the object is then."""
    try:
        result = function(values)
    except Exception as error:
        result = type(error), str(error)
    by_keys = set, dict, managers.SetProxy, managers.DictProxy
    after = values.copy() if isinstance(values, by_keys) else values[:]
    return [*result] if type(result) is type(reversed([])) else result, after


def add_to(values):
    values += (9, 8)


def multiply(times):
    def change(values):
        values *= times

    return change


def set_at(key, value):
    return lambda values: values.__setitem__(key, value)


def delete(key):
    return lambda values: values.__delitem__(key)


LIST_CALLS = [
    lambda a: a[0], lambda a: a[-1], lambda a: a[1:], lambda a: a[::-2], lambda a: a["0"],
    lambda a: a[7], len, lambda a: [*a], lambda a: 3 in a, lambda a: "3" in a,
    lambda a: a.__add__([1]),
    lambda a: a + a, lambda a: a * 2, lambda a: 2 * a, reversed, add_to,
    lambda a: a.__add__(1), lambda a: a.__mul__("x"), lambda a: a.__rmul__(1.5), multiply(3),
    multiply(1), multiply(0), multiply(-1), multiply(True), lambda a: a.__imul__("x"),
    set_at(0, [1]), set_at(-2, 5), set_at(9, 5), set_at("0", 5), set_at(slice(1, 3), [7] * 4),
    lambda a: set_at(slice(0, 2), iter("ab"))(a), set_at(slice(None, None, 2), [1]),
    set_at(slice(2), 5),
    set_at(slice(None, None, -1), [*range(4)]), set_at(slice(None, None, 2), 5),
    delete(0), delete(-1), delete(9), delete("0"), delete(slice(1, 3)),
    delete(slice(None, None, 2)), lambda a: a.append({"x": 1}), lambda a: a.append(),
    lambda a: a.extend("xy"), lambda a: a.extend(a), lambda a: a.extend(5),
    lambda a: a.insert(1, "x"), lambda a: a.insert(-100, "x"), lambda a: a.insert("0", 1),
    lambda a: a.insert(2**70, 1), lambda a: a.pop(), lambda a: a.pop(0), lambda a: a.pop(9),
    lambda a: a.pop("0"), lambda a: a.remove(1), lambda a: a.remove(77), lambda a: a.clear(),
    lambda a: (a.clear(), a.pop()), lambda a: a.copy(), lambda a: a.count(1),
    lambda a: a.index(1), lambda a: a.index(1, 2), lambda a: a.index(77),
    lambda a: a.index(3, 0, 1),
    lambda a: a.index(1, "x"), lambda a: a.reverse(), lambda a: a.sort(),
    lambda a: a.sort(reverse=True), lambda a: a.sort(key=str, reverse=1), lambda a: a.sort(str),
    str,
]  # fmt: skip


def test_a_list_does_what_a_list_does(fast):
    for number, call in enumerate(LIST_CALLS):
        same_outcome(number, call, [3, 1, 2, 1], fast.list([3, 1, 2, 1]))


SET_CALLS = [
    len, sorted, str, lambda s: 1 in s, lambda s: 1.0 in s, lambda s: "x" in s, lambda s: {1} in s,
    lambda s: [] in s, lambda s: s.add(7), lambda s: s.add(True), lambda s: s.add([]),
    lambda s: s.add(frozenset((1,))), lambda s: (s.add(frozenset((1,))), {1} in s),
    lambda s: (s.add(frozenset((1,))), s.remove({1})), lambda s: s.discard(1),
    lambda s: s.discard(77), lambda s: s.remove(2), lambda s: s.remove(77), lambda s: s.remove([]),
    lambda s: s.clear(), lambda s: (s.clear(), s.pop()), lambda s: s.copy(),
    lambda s: s.update([5], "ab", {6: 7}), lambda s: s.update(), lambda s: s.update(5),
    lambda s: s.update([[]]), lambda s: s.difference_update([1, 77], {2}),
    lambda s: s.difference_update(5), lambda s: s.intersection_update([1, 2, 77], (2, 3)),
    lambda s: s.intersection_update(), lambda s: s.symmetric_difference_update([1, 77, 77]),
    lambda s: s.symmetric_difference_update([[]]), lambda s: s.union([5], [6]),
    lambda s: s.intersection([1, 5]), lambda s: s.difference([1, 5], [2]),
    lambda s: s.symmetric_difference([1, 5]), lambda s: s.isdisjoint([1]),
    lambda s: s.isdisjoint([77]), lambda s: s.issubset(range(9)), lambda s: s.issuperset([1, 77]),
    lambda s: s & {1, 77}, lambda s: {1, 77} & s, lambda s: s | {77}, lambda s: {77} | s,
    lambda s: s - {1}, lambda s: {1, 77} - s, lambda s: s ^ {1, 77}, lambda s: {1, 77} ^ s,
    lambda s: s <= {1, 2, 3, 4}, lambda s: s < {1, 2, 3}, lambda s: s >= {1}, lambda s: s > {1},
    lambda s: s & [1], lambda s: s <= [1], lambda s: s | s, lambda s: s.add(), lambda s: s.pop(1),
    lambda s: [s := s.__iand__({1, 77}), s][1] and None, lambda s: s.__ior__({77}) and None,
    lambda s: s.__isub__({1}) and None, lambda s: s.__ixor__({1, 77}) and None,
]  # fmt: skip


def same_outcome(number, call, plain, shared):
    (expected, after), (found, now) = outcome(call, plain), outcome(call, shared)
    assert (number, now) == (number, after)
    if type(expected) is tuple and isinstance(expected[0], type):
        assert (number, found[0]) == (number, expected[0])
        if not any(word in expected[1] for word in ("takes", "argument", "operand", "supported")):
            assert (number, found[1]) == (number, expected[1])
    else:
        assert (number, found) == (number, expected)


def test_a_set_does_what_a_set_does(fast):
    for number, call in enumerate(SET_CALLS):
        same_outcome(number, call, {1, 2, 3}, fast.set([1, 2, 3]))
    assert not has_server(fast)


def test_elements_of_a_set_are_those_that_were_added_first(fast):
    s = fast.set([True, 2.0])
    s.update([1, 2, decimal.Decimal(1)])
    assert repr(s.copy()) == repr({True, 2.0}) and s.remove(1) is None and s.pop() == 2.0
    assert type(fast.set([decimal.Decimal(2)]).pop()) is decimal.Decimal


def test_a_set_that_changes_while_it_is_gone_over(fast):
    s = fast.set(range(3))
    going = iter(s)
    next(going)
    s.add(7)
    with pytest.raises(RuntimeError, match="Set changed size during iteration"):
        next(going)
    assert sorted(s) == [0, 1, 2, 7]


def test_what_a_set_cannot_pickle_changes_nothing(fast):
    s = fast.set([1])
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        s.update([2, lambda: 0])
    assert s.copy() == {1}


ARRAY_CALLS = [
    len, str, list, lambda a: a[0], lambda a: a[-1], lambda a: a[1:], lambda a: a[::-2],
    lambda a: a[7], lambda a: a["0"], lambda a: a[2**70], set_at(0, 5), set_at(-1, True),
    set_at(9, 5), set_at("0", 5), set_at(0, "x"), set_at(0, 2**40), set_at(0, 1.5), set_at(0, None),
    set_at(slice(1, 3), array.array("i", [7] * 4)), set_at(slice(1, 3), [7]),
    set_at(slice(1, 3), array.array("d", [7])), set_at(slice(None, None, 2), array.array("i", [7])),
    set_at(slice(None, None, 2), array.array("i", [7, 8])), set_at(slice(0, 0), 5),
    set_at(slice(None, None, 2), [7, 8]), set_at(slice(2, 0), array.array("i", [7])),
]  # fmt: skip


def test_an_array_does_what_an_array_does(fast):
    for number, call in enumerate(ARRAY_CALLS):
        same_outcome(number, call, array.array("i", [3, 1, 2]), fast.Array("i", [3, 1, 2]))
    assert fast.Array("f", [0.1])[0] == array.array("f", [0.1])[0]
    assert fast.Array("u", "abc")[1:] == array.array("u", "bc")
    assert fast.Array("i", b"\1\0\0\0")[0] == 1 and not has_server(fast)
    for wrong in (("i", ["x"]), ("?", [1]), ("i",), ("i", 5)):
        with pytest.raises((TypeError, ValueError, RemoteError)):
            fast.Array(*wrong)


def test_lists_in_lists(fast):
    outer = fast.list([fast.list([n]) for n in range(3)])
    outer[0].append("x")
    outer[1:2] = [fast.list("ab"), fast.list()]
    outer.insert(0, fast.list([7]))
    outer += [fast.list([8])]
    assert [inner[:] for inner in outer] == [[7], [0, "x"], ["a", "b"], [], [2], [8]]
    assert outer.pop(1).copy() == [0, "x"]
    assert fast._number_of_objects() == 6
    del outer[:]
    assert fast._number_of_objects() == 1


def test_a_list_that_cannot_be_made(fast):
    with pytest.raises(TypeError, match="not iterable"):
        fast.list(iter_of_nothing())
    with pytest.raises((pickle.PicklingError, AttributeError)):
        fast.list(iter([1, lambda: 0]))
    a = fast.list([1])
    for call in (
        lambda: a.append(lambda: 0), lambda: a.extend([2, lambda: 0]),
        lambda: a.insert(0, lambda: 0), lambda: a.__setitem__(0, lambda: 0),
    ):  # fmt: skip
        with pytest.raises((pickle.PicklingError, AttributeError)):
            call()
    assert a.copy() == [1]
    a.append("x")
    with pytest.raises(TypeError, match="'<' not supported"):
        a.sort()
    assert a.copy() == [1, "x"]


def iter_of_nothing():
    yield from 5


def test_containers_that_contain_themselves(fast):
    a, d = fast.list([1]), fast.dict()
    a.append(a)
    d["me"], d["list"] = d, a
    assert a[1][1][1][0] == 1 and d["me"]["me"]["list"][1][0] == 1
    a[1].append(2)
    assert len(a) == 3 and a[2] == 2
    assert str(a).startswith("[1, <ListProxy object") and str(d).startswith("{'me': <DictProxy")
    assert type(copy.deepcopy(d)["me"]) is managers.DictProxy
    with pytest.raises(RecursionError):
        copy_of_all(a)
    a[:] = []
    d.clear()


def copy_of_all(values):
    return [copy_of_all(v) if isinstance(v, managers.ListProxy) else v for v in values]


def drop_at_once(d, a, pipe):
    for i in range(100):
        d[i] = a[-1] + i
        a.append(d[i])
    pipe.send(len(a))


def test_containers_that_are_dropped_while_others_use_them(fast, ctx):
    ours, theirs = mproc.Pipe()
    d, a = fast.dict(), fast.list([0])
    children = [ctx.Process(target=drop_at_once, args=(d, a, theirs)) for _ in range(2)]
    for child in children:
        child.start()
    del d, a
    gc.collect()
    for child in children:
        child.join()
        assert child.exitcode == 0
        child.close()
    assert max(ours.recv(), ours.recv()) == 201
    ours.close()
    theirs.close()
    wait_until(lambda: fast._number_of_objects() == 0)


# ---- what proxies say


def test_copies_and_texts(fast):
    v, ns, d = fast.Value("i", 3), fast.Namespace(a=1), fast.dict(a=1)
    assert (v._getvalue().value, ns._getvalue().a, d._getvalue()) == (3, 1, {"a": 1})
    assert (str(v), str(ns), str(d)) == ("Value('i', 3)", "Namespace(a=1)", "{'a': 1}")
    assert ns._callmethod("__getattribute__", ("a",)) == 1
    assert ns._callmethod("__getattribute__", ("__class__",)) is managers.Namespace
    with pytest.raises(RemoteError, match="cannot be copied"):
        fast.Lock()._getvalue()
    with pytest.raises(RemoteError, match="not in exposed"):
        d._callmethod("no_such")
    with pytest.raises(AttributeError):
        _ = d.no_such
    with pytest.raises(AttributeError, match="no attribute 'b'"):
        _ = ns.b
    with pytest.raises(AttributeError):
        del ns.b
    assert d._token.typeid == "dict" and d._authkey == mproc.current_process().authkey


def test_wrong_arguments_are_told_of_by_the_names_of_programs(fast):
    d, q, lock = fast.dict(), fast.Queue(), fast.RLock()
    for call, text in (
        (lambda: d.get(), r"^get expected at least 1 argument, got 0$"),
        (lambda: d.update(1, 2), r"^update expected at most 1 argument, got 2$"),
        (lambda: d.get(key=1), r"^dict\.get\(\) takes no keyword arguments$"),
        (lambda: fast.list().insert(1), r"^insert expected 2 arguments, got 1$"),
        (lambda: fast.list().sort(3), r"^sort\(\) takes no positional arguments$"),
        (lambda: q.put(1, 2, 3, 4), r"^Queue\.put\(\) takes from 2 to 4"),
        (lambda: lock._callmethod("release", (1,)), r"^Lock\.release\(\) takes 1"),
    ):
        with pytest.raises(TypeError, match=text):
            call()


def test_errors_of_locks(fast):
    with pytest.raises(TypeError) as caught:  # 3.15 has words of its own
        threading.Lock().acquire(True, "long")
    words = re.escape(str(caught.value))
    for lock, text in ((fast.Lock(), "release unlocked lock"), (fast.RLock(), "un-acquired lock")):
        with pytest.raises(RuntimeError, match=text):
            lock.release()
        with pytest.raises(ValueError, match=r"must be (positive|a non-negative)"):
            lock.acquire(True, -5)
        with pytest.raises(TypeError, match=words):
            lock.acquire(True, "long")
        with pytest.raises(ValueError, match="non-blocking"):
            lock.acquire(False, 1)
    bounded = fast.BoundedSemaphore(1)
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()
    with pytest.raises(ValueError, match="non-blocking"):
        bounded.acquire(False, 1)
    with pytest.raises(ValueError, match="one or more"):
        bounded._callmethod("release", (0,))
    assert not fast.Semaphore(0).acquire(True, 0.001)
    bounded = fast.BoundedSemaphore(3)
    bounded.acquire()
    with pytest.raises(ValueError, match="released too many times"):
        bounded._callmethod("release", (2,))
    assert not bounded._direct.lock.get_value() > 2  # none of the two
    for wait in (fast.Event().wait, fast.Semaphore(0)._callmethod, fast.Barrier(2).wait):
        with pytest.raises(TypeError):
            wait("acquire", (True, "long")) if wait.__name__ == "_callmethod" else wait("long")
    fast.Queue().put(1, True, -1)  # never waits
    q = fast.Queue(1)
    q.put(1)
    for call in (lambda: q.put(1, True, -1), lambda: q.get(True, -1)):
        with pytest.raises(ValueError, match="non-negative"):
            call()
    with pytest.raises(queue.Full):
        q.put(1, True, 0.001)
    q.get()
    with pytest.raises(queue.Empty):
        q.get(True, 0.001)


# ---- conditions and barriers


def test_errors_of_conditions(fast):
    condition = fast.Condition()
    for call, verb in ((condition.wait, "wait"), (condition.notify, "notify")):
        with pytest.raises(RuntimeError, match=f"^cannot {verb} on un-acquired lock$"):
            call()
    with pytest.raises(RuntimeError, match=r"^cannot notify on un-acquired lock$"):
        condition.notify_all()
    with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
        condition.release()
    with condition:
        condition.notify("one")  # it is not looked at: nobody waits
    with condition, pytest.raises(TypeError, match="not supported between"):
        condition.wait("long")


def wait_in_turn(condition, turn, come):
    with condition:
        come.append(turn)
        while not condition.wait(ENDLESS):
            pass
        come.append(turn)


def test_a_condition_wakes_the_one_that_waited_longest(fast, method):
    lock = fast.RLock()
    condition, come = fast.Condition(lock), fast.list()
    children = []
    for turn in (0, 1, 2):
        child = mproc.get_context(method).Process(target=wait_in_turn, args=(condition, turn, come))
        child.start()
        children.append(child)
        assert wait_until(lambda n=turn: len(come) == n + 1)
    with condition:
        assert not condition.wait(0.12)  # longer than a slice
        condition.notify(1.5)  # as often as it can be counted down
    assert wait_until(lambda: len(come) == 5)
    with lock:
        condition.notify(0)
        condition.notify_all()
    for child in children:
        child.join()
        child.close()
    assert (come[:3], sorted(come[3:5]), come[5]) == ([0, 1, 2], [0, 1], 2)
    with condition:
        assert condition.wait_for(lambda: len(come)) == 6
        assert not condition.wait_for(lambda: False, 0.01)


def test_a_waiter_that_is_killed_gets_no_notification(fast):
    condition, come = fast.Condition(), fast.list()
    children = []
    for turn in (0, 1):
        child = mproc.get_context("fork").Process(target=wait_in_turn, args=(condition, turn, come))
        child.start()
        children.append(child)
        assert wait_until(lambda n=turn: len(come) == n + 1)
    with condition:
        pass  # both wait
    children[0].kill()
    children[0].join()
    with condition:
        condition.notify()
    children[1].join()
    assert come[:] == [0, 1, 1]
    for child in children:
        child.close()


def die_with(condition):
    condition.acquire()
    os._exit(0)


def test_the_owner_of_a_condition_dies(fast):
    condition = fast.Condition()
    in_child(die_with, condition)
    with pytest.raises(mproc.OwnerDiedError):
        condition.acquire()
    with condition:
        condition.notify()


def test_a_lock_is_released_after_the_end(fast):
    """A waiter whose lock another thread has gets it in the end, or it would wait for ever."""
    condition, ended = fast.Condition(), []
    condition.acquire()

    def wait():
        with pytest.raises(ConnectionRefusedError), condition:
            ended.append("waits")
            condition.wait()
        ended.append("ended")

    thread = threading.Thread(target=wait)
    thread.start()
    condition.release()
    assert wait_until(lambda: ended == ["waits"])
    condition.acquire()
    fast.shutdown()
    assert not wait_until(lambda: len(ended) == 2, 0.3)
    with pytest.raises(ConnectionRefusedError):
        condition.release()
    thread.join()
    assert ended == ["waits", "ended"]


def pass_barrier(barrier, come):
    come.append(barrier.wait())


def test_a_barrier_lets_all_pass(fast, method):
    barrier, come = fast.Barrier(3, timeout=ENDLESS), fast.list()
    children = [
        mproc.get_context(method).Process(target=pass_barrier, args=(barrier, come))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    assert wait_until(lambda: barrier.n_waiting == 2)
    assert (barrier.parties, barrier.broken) == (3, False)
    assert barrier.wait() == 2
    for child in children:
        child.join()
        child.close()
    assert sorted(come) == [0, 1]


def test_a_barrier_breaks(fast):
    barrier = fast.Barrier(2, timeout=0.01)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken and barrier.n_waiting == 0
    barrier.reset()
    assert not barrier.broken
    barrier.abort()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(ENDLESS)
    with pytest.raises(AttributeError, match="'Barrier' object has no attribute 'x'"):
        barrier._callmethod("__getattribute__", ("x",))
    with pytest.raises(RemoteError, match="parties must be > 0"):
        fast.Barrier(0)


def test_a_party_that_is_killed_breaks_the_barrier(fast):
    barrier = fast.Barrier(2)
    child = mproc.get_context("fork").Process(target=barrier.wait)
    child.start()
    assert wait_until(lambda: barrier.n_waiting == 1)
    child.kill()
    child.join()
    child.close()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(ENDLESS)


# ---- references


def used():
    gc.collect()
    return mproc._mproc.arena_stat()["used"]


def test_objects_go_at_once(fast):
    fast.dict()
    before = used()
    d = fast.dict(big="x" * 100_000)
    assert used() > before + 100_000
    del d
    assert used() == before and fast._number_of_objects() == 0


def test_nested_objects_go_with_what_holds_them(fast):
    outer = fast.dict()
    for n in range(20):
        outer["inner"] = fast.dict(value=n)
    assert outer["inner"]["value"] == outer["inner"]["value"] == 19
    assert fast._number_of_objects() == 2
    del outer["inner"]
    assert fast._number_of_objects() == 1


def give(q):
    q.put(q)


def test_a_proxy_in_bytes_keeps_its_object(fast):
    message = pickle.dumps(fast.dict(a=1))
    assert fast._number_of_objects() == 1
    again = pickle.loads(message)
    assert again["a"] == 1
    del again
    assert fast._number_of_objects() == 0
    with pytest.raises(RemoteError, match="last reference was dropped"):
        pickle.loads(message)


def load_and_add(connection):
    d = connection.recv()
    d["child"] = d["a"] + 1
    connection.send(d)


def test_a_proxy_through_a_connection(ctx):
    with ctx.Manager() as manager:
        d = manager.dict(a=1)
        ours, theirs = ctx.Pipe()
        child = ctx.Process(target=load_and_add, args=(theirs,))
        child.start()
        ours.send(d)
        assert ours.recv()["child"] == 2
        child.join()
        child.close()
        ours.close()
        theirs.close()


def test_a_buffer_that_has_gone():
    buffer = mproc.Buffer(64)
    address = buffer.address
    assert life.held_buffer(address, b"\0") is not None
    assert life.held_buffer(address, b"x") is None
    lock = mproc.Lock()
    assert life.held_buffer(lock.address, b"") is None  # it is another object by now
    assert life.held_buffer(12345, b"") is None


def test_a_keeper_that_has_gone(fast):
    message = pickle.dumps(fast.dict(a=1))
    kept = life._kept.copy()
    (ident,) = kept
    pid, started = life._keeper_of(ident)
    assert life._lives_on((pid, started)) and not life._lives_on((pid, started + 1))
    assert life._started(2**22 + 1) == 0
    assert pickle.loads(message)["a"] == 1


# ---- deaths


def use_for_ever(d, a, v, ns, lock, q, pipe):
    pipe.send(None)
    n = 0
    while True:
        n += 1
        try:
            with lock:
                d[n % 50] = d.get(n % 50, 0) + 1
        except mproc.OwnerDiedError:
            continue
        a.append((n, d))
        a[0] = n
        a.reverse()
        if len(a) > 20:
            a.pop()
            del a[1::2]
        v.value = n
        ns.x = n
        q.put((n, d))
        q.get()


def test_members_killed_in_any_call_leave_others_working(fast):
    d, v, ns = fast.dict(), fast.Value("i", 0), fast.Namespace(x=0)
    lock, q, a = fast.Lock(), fast.Queue(), fast.list([0])
    fork = mproc.get_context("fork")
    for turn in range(15):
        ours, theirs = fork.Pipe()
        child = fork.Process(target=use_for_ever, args=(d, a, v, ns, lock, q, theirs))
        child.start()
        ours.recv()
        time.sleep(turn * 0.0007)  # whatever it does by then
        child.kill()
        child.join()
        child.close()
        ours.close()
        theirs.close()
        try:
            lock.acquire()
        except mproc.OwnerDiedError:
            lock.acquire()
        d["here"] = turn
        assert d["here"] == turn and sum(v for k, v in d.items() if k != "here") >= 0
        lock.release()
        assert len(a) == len([*a]) >= 1
        a.append(turn)
        assert a[-1] == turn == a.pop()
        v.value = ns.x = -1
        assert (v.value, ns.x) == (-1, -1)
        while not q.empty():
            q.get()
    mproc._mproc.arena_check()


def test_threads_share_a_manager(fast):
    d, lock = fast.dict(n=0), fast.Lock()

    def add():
        for _ in range(200):
            with lock:
                d["n"] += 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert d["n"] == 800


def test_a_killed_creator_leaves_objects_to_those_who_have_them():
    fork = mproc.get_context("fork")
    ours, theirs = fork.Pipe()
    q = fork.Queue()
    creator = fork.Process(target=create_and_stay, args=(q, theirs))
    creator.start()
    d = q.get()
    assert d["a"] == 1
    os.kill(creator.pid, 9)
    creator.join()
    d["b"] = 2
    assert d.copy() == {"a": 1, "b": 2}
    assert wait_until(lambda: not life._lives_on(d._direct.life.keeper))
    creator.close()
    ours.close()
    theirs.close()


def create_and_stay(q, pipe):
    manager = mproc.get_context("fork").Manager()
    q.put(manager.dict(a=1))
    managed.call_and_stay(pipe, int)
