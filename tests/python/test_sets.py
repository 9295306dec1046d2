"""mproc.Set and mproc.Namespace: a set's behaviour, shared attributes, and what children see."""

import operator
import pickle

import pytest
from conftest import wait_until

import mproc
from mproc import _mproc

METHODS = ["fork", "spawn", "forkserver"]


def test_it_is_made_as_a_set():
    assert mproc.Set() == set()
    assert mproc.Set("aab") == {"a", "b"}
    assert repr(mproc.Set()) == "set()"
    assert repr(mproc.Set([1])) == "{1}"
    assert list(mproc.Set("cab")) == ["c", "a", "b"]
    with pytest.raises(TypeError, match="unhashable"):
        hash(mproc.Set())
    with pytest.raises(TypeError):
        mproc.Set(1)


CHANGES = [
    lambda x: x.add(1),
    lambda x: x.add(9),
    lambda x: x.add([]),
    lambda x: x.discard(1),
    lambda x: x.discard(9),
    lambda x: x.remove(1),
    lambda x: x.remove(9),
    lambda x: x.clear(),
    lambda x: (x.clear(), x.pop()),
    lambda x: x.update([1, 9], "ab"),
    lambda x: x.difference_update([1], {2, 9}),
    lambda x: x.intersection_update([1, 2, 9], (1, 9)),
    lambda x: x.symmetric_difference_update([1, 1, 9]),
    lambda x: operator.ior(x, {9}),
    lambda x: operator.iand(x, {1, 9}),
    lambda x: operator.isub(x, {1, 9}),
    lambda x: operator.ixor(x, {1, 9}),
    lambda x: operator.ixor(x, x),
    lambda x: (x | {9}, x & {1, 9}, x - {1, 9}, x ^ {1, 9}),
    lambda x: ({9} | x, {1, 9} & x, {1, 9} - x, {1, 9} ^ x),
    lambda x: (x < {1, 2, 3, 4}, x <= {1}, x > {1}, x >= {9}, x.isdisjoint([9])),
    lambda x: (x.issubset([1, 2, 3, 4]), x.issuperset([1]), x.issuperset([9])),
    lambda x: (
        x.union([9]),
        x.intersection([1, 9]),
        x.difference([1]),
        x.symmetric_difference([1]),
    ),
    lambda x: (1 in x, 9 in x, 1.0 in x, len(x), bool(x), sorted(x)),
]


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_each_call_is_as_a_sets(change):
    shared, plain, outcomes = mproc.Set([1, 2, 3]), {1, 2, 3}, []
    for target in (shared, plain):
        try:
            outcome = change(target)
        except (KeyError, TypeError) as error:
            outcome = type(error)
            if isinstance(error, KeyError):
                outcome = (outcome, str(error))
        outcomes.append(outcome.copy() if isinstance(outcome, mproc.sets.Set) else outcome)
    assert outcomes[0] == outcomes[1]
    assert shared == plain


def test_pop_takes_each_once():
    shared = mproc.Set(range(20))
    assert {shared.pop() for _ in range(20)} == set(range(20))
    with pytest.raises(KeyError, match="pop from an empty set"):
        shared.pop()


def test_insert_tells_who_was_first():
    shared = mproc.Set()
    assert shared.insert("a")
    assert not shared.insert("a")


def test_it_is_pickled_for_children_only():
    with pytest.raises(RuntimeError, match="Set objects"):
        pickle.dumps(mproc.Set([1]))
    with pytest.raises(RuntimeError):
        pickle.dumps(mproc.Namespace(a=1))


def test_attributes():
    shared = mproc.Namespace(a=1, b=[2])
    assert (shared.a, shared.b) == (1, [2])
    shared.c = "new"
    shared._private = object()
    assert repr(shared) == "Namespace(a=1, b=[2], c='new')"
    assert {"a", "b", "c"} <= set(dir(shared))
    del shared.a
    for change in (lambda: shared.a, lambda: shared._no, lambda: delattr(shared, "a")):
        with pytest.raises(AttributeError):
            change()
    assert not hasattr(shared, "a")


def take_part(elements, attributes, i):
    elements.update(range(10 * i, 10 * i + 20))
    setattr(attributes, f"a{i}", i)
    if elements.insert("first"):
        attributes.first = i


@pytest.mark.parametrize("method", METHODS)
def test_children_share_them(method):
    ctx = mproc.get_context(method)
    elements, attributes = ctx.Set(), ctx.Namespace()
    children = [ctx.Process(target=take_part, args=(elements, attributes, i)) for i in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert elements == {*range(30), "first"}
    assert (attributes.a0, attributes.a1) == (0, 1)
    assert attributes.first in (0, 1)


def churn(elements):
    while True:
        elements.update(range(300))
        elements -= set(range(300))


def test_iteration_while_another_writes():
    ctx = mproc.get_context("fork")
    elements = ctx.Set(f"stays {i}" for i in range(50))
    child = ctx.Process(target=churn, args=(elements,), daemon=True)
    child.start()
    for _ in range(30):
        stays = [e for e in elements if isinstance(e, str)]
        assert stays == [f"stays {i}" for i in range(50)]
    child.kill()
    child.join()
    assert wait_until(lambda: _mproc.reap() == 0)
    assert "stays 7" in elements
