"""Dicts that all processes share: a dict's own methods, keys, compound steps, other processes."""

import collections
import datetime
import decimal
import enum
import os
import pickle
import signal

import pytest
from conftest import METHODS, wait_until

import mproc
from mproc import OwnerDiedError, _mproc
from mproc.dicts import Dict

# ---- as a dict


def test_it_does_what_a_dict_does():
    shared, plain = mproc.Dict(a=1), {"a": 1}
    for d in (shared, plain):
        d["b"] = [1, 2]
        d["a"] = None
        d.update({"c": 3}, e=5)
        d.setdefault("f", 6)
        d.setdefault("c", 7)
        d |= {"g": 8}
        del d["e"]
    assert shared == plain
    assert list(shared) == list(plain) == ["a", "b", "c", "f", "g"]
    assert list(reversed(shared)) == list(reversed(plain))
    assert repr(shared) == repr(plain)
    assert len(shared) == 5
    assert shared.get("x") is None and shared.get("x", 1) == 1 and shared.get("c") == 3
    assert "a" in shared and "x" not in shared
    assert shared.pop("c") == plain.pop("c") == 3
    assert shared.pop("c", 17) == 17
    assert shared.popitem() == plain.popitem() == ("g", 8)
    assert type(shared.copy()) is dict and shared.copy() == plain
    assert shared | {"z": 1} == plain | {"z": 1}
    assert {"z": 1} | shared == {"z": 1} | plain
    shared.clear()
    assert not shared and shared == {}
    assert Dict.fromkeys("ab", 0) == {"a": 0, "b": 0}
    assert isinstance(shared, collections.abc.MutableMapping)


def test_views_are_as_a_dicts():
    plain = {"a": 1, "b": [2]}
    shared = mproc.Dict(plain)
    for name in ("keys", "values", "items"):
        view, usual = getattr(shared, name)(), getattr(plain, name)()
        assert list(view) == list(usual)
        assert list(reversed(view)) == list(reversed(usual))
        assert repr(view) == repr(usual)
        assert len(view) == 2
    assert [2] in shared.values() and 3 not in shared.values()
    assert ("a", 1) in shared.items() and ("a", 2) not in shared.items()
    assert shared.keys() & {"a", "x"} == {"a"}
    keys = shared.keys()
    shared["c"] = 3
    assert list(keys) == ["a", "b", "c"]


def test_errors_are_a_dicts():
    shared = mproc.Dict()
    for key in ("x", ("a", "tuple"), None):
        for call in (shared.__getitem__, shared.__delitem__, shared.pop):
            with pytest.raises(KeyError) as caught:
                call(key)
            assert caught.value.args == (key,)
    with pytest.raises(KeyError, match="dictionary is empty"):
        shared.popitem()
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        shared[[]] = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(shared)
    with pytest.raises(TypeError):
        shared | 5
    with pytest.raises(TypeError, match="'key'"):
        shared.get()


def test_what_is_read_is_a_copy():
    shared = mproc.Dict(a=[1])
    shared["a"].append(2)
    assert shared["a"] == [1]
    value = shared["a"]
    value.append(2)
    shared["a"] = value
    assert shared["a"] == [1, 2]


def test_a_copy_has_all_or_says_why_not():
    shared, plain = mproc.Dict(), {}
    for n in range(100):
        shared[n] = plain[n] = "x" * (n * 200)
    shared["last"] = plain["last"] = [1]
    copied = shared.copy()
    assert type(copied) is dict and copied == plain and list(copied) == list(plain)
    shared["odd"] = Unreadable()
    with pytest.raises(ValueError, match="no number"):
        shared.copy()


def test_a_value_that_cannot_be_pickled_changes_nothing():
    shared = mproc.Dict(a=1)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
        shared["a"] = [1, lambda: 0]
    assert any("value[1]" in note for note in caught.value.__notes__)
    assert shared == {"a": 1}


class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


def test_a_value_that_cannot_be_read_stays():
    shared = mproc.Dict()
    shared["a"] = Unreadable()
    for call in (shared.__getitem__, shared.pop):
        with pytest.raises(ValueError, match="no number"):
            call("a")
    assert "a" in shared
    del shared["a"]


@pytest.mark.parametrize("size", [0, 100, 8000, 9000, 100_000, 3_000_000])
def test_values_of_every_size(size):
    shared = mproc.Dict()
    shared["k"] = b"x" * size
    shared["l"] = {"deep": [b"y" * size, decimal.Decimal(1)]}
    assert shared["k"] == b"x" * size
    assert shared.popitem() == ("l", {"deep": [b"y" * size, decimal.Decimal(1)]})
    assert shared.pop("k") == b"x" * size


def test_arrays_are_copies_unless_they_are_shared():
    numpy = pytest.importorskip("numpy")
    shared = mproc.Dict()
    shared["own"] = numpy.arange(100_000)
    shared["own"][0] = 17
    assert shared["own"][0] == 0
    array = mproc.empty(100_000, dtype="i8")
    array[:] = 1
    shared["shared"] = array
    shared["shared"][5] = 17
    assert array[5] == 17
    del array
    assert shared.pop("shared")[5] == 17


# ---- keys


class Colour(enum.Enum):
    RED = 1


KEYS = (
    None, 0, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, 2**31, 2**32, 2**63 - 1, -(2**63),
    2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.5, 1.5e-300, float("inf"), "", "a", "x" * 31,
    "x" * 32, "x" * 255, "x" * 256, "x" * 5000, "\u00fc", "\ud800", b"", b"a", b"x" * 255,
    b"x" * 256, (), (1,), ("a", b"a", None), tuple(range(16)), ((1, 2), (3, (4,))),
    Colour.RED, decimal.Decimal("1.5"), datetime.date(2026, 1, 1), ("a", decimal.Decimal(1)),
)  # fmt: skip


def test_keys_come_back_and_are_apart():
    shared = mproc.Dict()
    for i, key in enumerate(KEYS):
        shared[key] = i
        assert shared[key] == i
    assert len(shared) == len(KEYS)
    assert list(shared) == list(KEYS)
    assert [type(key) for key in shared] == [type(key) for key in KEYS]
    for i, key in enumerate(KEYS):
        assert shared.pop(pickle.loads(pickle.dumps(key))) == i


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True), (1, 1.0), (0, False), (0, -0.0), (2**62, 2.0**62), (2**70, 2.0**70),
        ((1, "a"), (True, "a")), ((0, (1.0,)), (0.0, (1,))),
        ((1, decimal.Decimal(2)), (1.0, decimal.Decimal(2))),
    ],
)  # fmt: skip
def test_equal_numbers_are_one_key(one, other):
    shared = mproc.Dict()
    shared[one] = 1
    assert shared[other] == 1
    shared[other] = 2
    assert len(shared) == 1 and shared[one] == 2


def test_the_same_text_twice_is_no_other_key():
    shared, text = mproc.Dict(), "x" * 1000
    shared[text, text] = 1
    assert shared["".join(["x"] * 1000), "".join(["x"] * 1000)] == 1


class Shifty:
    """Equal to its copies, but pickled in another way each time."""

    count = 0

    def __reduce__(self):
        Shifty.count += 1
        return Shifty._made, (Shifty.count,)

    @staticmethod
    def _made(_):
        return Shifty()

    def __eq__(self, other):
        return type(other) is Shifty

    def __hash__(self):
        return 1


class Lonely:
    """Equal to itself only."""


@pytest.mark.parametrize("key", [frozenset({1}), Shifty(), Lonely(), ("a", Lonely())])
def test_keys_that_cannot_be_found_again(key):
    shared = mproc.Dict()
    for call in (shared.__getitem__, shared.get, shared.__contains__, shared.add):
        with pytest.raises(TypeError, match="cannot be a key of a shared dict"):
            call(key)
    assert len(shared) == 0


def test_a_key_that_is_too_long():
    shared = mproc.Dict()
    with pytest.raises(ValueError, match="at most 8192"):
        shared["x" * 9000] = 1
    with pytest.raises(ValueError, match="at most 8192"):
        shared[tuple("x" * 9000)] = 1


# ---- compound steps


def test_add():
    shared = mproc.Dict(f=0.5, s="a")
    assert shared.add("n") == 1
    assert shared.add("n", 5) == 6
    assert shared.add("n", -10) == -4
    assert shared.add("f", 1) == 1.5
    assert shared.add("n", 2**63) == 2**63 - 4
    assert shared.add("n", 1) == 2**63 - 3
    assert shared["n"] == 2**63 - 3
    assert shared.add("s", "b") == "ab"
    with pytest.raises(TypeError):
        shared.add("s", 1)
    assert shared["s"] == "ab"


def test_update_with():
    shared = mproc.Dict(a=[1])
    assert shared.update_with("a", lambda value: [*value, 2]) == [1, 2]
    assert shared.update_with("b", lambda value: value + 1, 10) == 11
    with pytest.raises(KeyError, match="x"):
        shared.update_with("x", len)
    with pytest.raises(ZeroDivisionError):
        shared.update_with("b", lambda value: value / 0)
    assert shared == {"a": [1, 2], "b": 11}


def test_update_with_sees_what_came_between():
    shared, calls = mproc.Dict(a=1), []

    def change(value):
        calls.append(value)
        if len(calls) == 1:
            shared["a"] = 50
        return value + 1

    assert shared.update_with("a", change) == 51
    assert calls == [1, 50]


def locked_by_another(shared, entered, leave):
    with shared.lock("k"):
        entered.set()
        leave.wait()


@pytest.mark.parametrize("method", METHODS)
def test_lock(method):
    ctx = mproc.get_context(method)
    shared, entered, leave = ctx.Dict(), ctx.Event(), ctx.Event()
    with shared.lock("k"), shared.lock("k"), shared.lock("other"):
        pass
    child = ctx.Process(target=locked_by_another, args=(shared, entered, leave))
    child.start()
    entered.wait()
    with pytest.raises(TimeoutError, match="'k'"), shared.lock("k", 0.01):
        pass
    with pytest.raises(TimeoutError), shared.lock("k", timeout=0):
        pass
    with pytest.raises(TimeoutError):
        shared.update_with("k", len, "", timeout=0)
    shared["k"] = 1  # needs no lock
    leave.set()
    with shared.lock("k"):
        pass
    child.join()
    with pytest.raises(ValueError, match="on_owner_death"):
        shared.lock("k", on_owner_death="ignore")


def test_lock_of_one_that_died():
    ctx = mproc.get_context("fork")
    shared, entered, leave = ctx.Dict(), ctx.Event(), ctx.Event()
    for recover in (False, True):
        entered.clear()
        child = ctx.Process(target=locked_by_another, args=(shared, entered, leave))
        child.start()
        entered.wait()
        os.kill(child.pid, signal.SIGKILL)
        if recover:
            with shared.lock("k", on_owner_death="recover"):
                pass
        else:
            with (
                pytest.raises(OwnerDiedError, match="died while it held") as caught,
                shared.lock("k"),
            ):
                pass
            assert caught.value.pid == child.pid
            assert "'k'" in caught.value.__notes__[0]
            assert shared.update_with("k", lambda value: value + 1, 0) == 1
        child.join()


# ---- waiting


def set_later(shared):
    shared["noise"] = 1
    shared["k"] = 1


def test_wait():
    ctx = mproc.get_context("fork")
    shared = ctx.Dict()
    assert shared.version("k") == 0
    assert shared.wait("k", timeout=0.001) is None
    assert shared.wait(timeout=0) is None
    before = shared.version()
    child = ctx.Process(target=set_later, args=(shared,))
    child.start()
    version = shared.wait("k", 0)
    assert version == shared.version("k") != 0
    assert shared["k"] == 1
    child.join()
    assert shared.wait(version=before) == shared.version()
    shared["k"] = 1
    assert shared.wait("k", version) == shared.version("k") != version


# ---- other processes


def count_words(shared, words):
    for word in words:
        shared.add(word)
    shared[os.getpid()] = words


@pytest.mark.parametrize("method", METHODS)
def test_processes_share_one(method):
    ctx = mproc.get_context(method)
    shared = ctx.Dict(a=100)
    words = ["a", "b", "a", ("t", 1)] * 20
    children = [ctx.Process(target=count_words, args=(shared, words)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert shared.pop(child.pid) == words
    assert shared == {"a": 220, "b": 60, ("t", 1): 60}


def test_it_can_be_pickled_for_a_child_only():
    shared = mproc.get_context("spawn").Dict()
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(shared)


def append(shared, n):
    for i in range(n):
        shared.update_with("list", lambda value, i=i: [*value, i], [])


def test_updates_of_one_key_do_not_get_lost():
    ctx = mproc.get_context("fork")
    shared = ctx.Dict()
    children = [ctx.Process(target=append, args=(shared, 50)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert sorted(shared["list"]) == sorted(list(range(50)) * 3)


def churn(shared):
    while True:
        for i in range(300):
            shared[i] = i
        for i in range(300):
            del shared[i]


def test_iteration_while_another_writes():
    ctx = mproc.get_context("fork")
    shared = ctx.Dict({f"stays {i}": i for i in range(50)})
    child = ctx.Process(target=churn, args=(shared,), daemon=True)
    child.start()
    for _ in range(30):
        stays = [(k, v) for k, v in shared.items() if isinstance(k, str)]
        assert stays == [(f"stays {i}", i) for i in range(50)]
    child.kill()
    child.join()
    assert wait_until(lambda: _mproc.reap() == 0)
    assert shared["stays 7"] == 7
