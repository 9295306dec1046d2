"""mproc.List: a list's behaviour, and what processes see of each other's changes."""

import copy
import operator
import pickle
import random

import pytest
from conftest import wait_until

import mproc
from mproc import _mproc
from mproc.lists import List

METHODS = ["fork", "spawn", "forkserver"]


# ---------------------------------------------------------------- a list's behaviour


def test_it_is_made_as_a_list():
    assert mproc.List() == []
    assert mproc.List("abc") == ["a", "b", "c"]
    assert mproc.List(iter([1, None, (2, [3])])) == [1, None, (2, [3])]
    assert repr(mproc.List([1, "a"])) == "[1, 'a']"
    with pytest.raises(TypeError):
        mproc.List(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(mproc.List())


def both(plain, change):
    """The same on a shared list and an ordinary one: results or errors, and what there is then."""
    shared, outcomes = mproc.List(plain), []
    plain = list(plain)
    for target in (shared, plain):
        try:
            outcomes.append(change(target))
        except (IndexError, ValueError, TypeError) as error:
            outcomes.append((type(error), str(error)))
    ours, theirs = (x.copy() if isinstance(x, (list, List)) else x for x in outcomes)
    assert shared == plain
    return ours, theirs


CHANGES = [
    lambda x: x[0],
    lambda x: x[-1],
    lambda x: x[5],
    lambda x: x[-6],
    lambda x: x[10**30],
    lambda x: x["a"],
    lambda x: x[1.0],
    lambda x: x[True],
    lambda x: x[1:3],
    lambda x: x[::-2],
    lambda x: x[3:1],
    lambda x: x[:: 10**30],
    lambda x: x[:],
    lambda x: x[::0],
    lambda x: x.__setitem__(0, "new"),
    lambda x: x.__setitem__(-5, "new"),
    lambda x: x.__setitem__(5, "new"),
    lambda x: x.__setitem__(-(10**30), "new"),
    lambda x: x.__setitem__("a", "new"),
    lambda x: x.__setitem__(slice(1, 3), "xyz"),
    lambda x: x.__setitem__(slice(1, 3), ()),
    lambda x: x.__setitem__(slice(None), range(10)),
    lambda x: x.__setitem__(slice(4, 2), [7]),
    lambda x: x.__setitem__(slice(None, None, 2), [7, 8, 9]),
    lambda x: x.__setitem__(slice(None, None, -2), [7, 8, 9]),
    lambda x: x.__setitem__(slice(1, 3), 4),
    lambda x: x.__delitem__(0),
    lambda x: x.__delitem__(2),
    lambda x: x.__delitem__(-1),
    lambda x: x.__delitem__(5),
    lambda x: x.__delitem__(slice(1, 4)),
    lambda x: x.__delitem__(slice(None, None, 2)),
    lambda x: x.__delitem__(slice(None, None, -3)),
    lambda x: x.append([1]),
    lambda x: x.insert(0, "a"),
    lambda x: x.insert(2, "a"),
    lambda x: x.insert(-1, "a"),
    lambda x: x.insert(100, "a"),
    lambda x: x.insert(-100, "a"),
    lambda x: x.insert("a", "a"),
    lambda x: x.extend((1, 2)),
    lambda x: x.extend(iter("ab")),
    lambda x: x.extend(5),
    lambda x: x.extend(x),
    lambda x: x.pop(),
    lambda x: x.pop(0),
    lambda x: x.pop(2),
    lambda x: x.pop(-5),
    lambda x: x.pop(5),
    lambda x: (x.clear(), x.pop()),
    lambda x: x.remove(3),
    lambda x: x.remove("no"),
    lambda x: x.index(3),
    lambda x: x.index(3, 1),
    lambda x: x.index(3, 4),
    lambda x: x.index(3, 0, -4),
    lambda x: x.count(3),
    lambda x: x.count("no"),
    lambda x: x.reverse(),
    lambda x: x.sort(),
    lambda x: x.sort(reverse=True),
    lambda x: x.sort(key=lambda n: n % 3),
    lambda x: x.sort(key=lambda n: n % 3, reverse=True),
    lambda x: x.sort(key=lambda n: n if n != 3 else "a"),
    lambda x: x.__iadd__("ab"),
    lambda x: x.__iadd__(5),
    lambda x: x.__imul__(3),
    lambda x: x.__imul__(0),
    lambda x: operator.add(x, [1]),
    lambda x: operator.add([1], x),
    lambda x: operator.add(x, (1,)),
    lambda x: x * 2,
    lambda x: 2 * x,
    lambda x: (3 in x, "no" in x, len(x), bool(x)),
    lambda x: (list(x), list(reversed(x))),
    lambda x: (x == [3, 1, 2, 5, 4], x != [3], x == (3, 1, 2, 5, 4), x == 3),
    lambda x: (x < [4], x <= [3], x > [3], x >= [9]),
    lambda x: x < 3,
]


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_each_call_is_as_a_lists(change):
    ours, theirs = both([3, 1, 2, 5, 4], change)
    if isinstance(theirs, tuple) and theirs and isinstance(theirs[0], type):
        assert ours[0] is theirs[0]
        if "index out of range" in theirs[1] or "x not in list" in theirs[1]:
            assert ours[1] == theirs[1]
    else:
        assert ours == theirs


def test_pop_of_an_empty_list():
    for change in (lambda x: x.pop(), lambda x: x.pop(0)):
        ours, theirs = both([], change)
        assert ours == theirs


def test_random_calls_are_as_a_lists():
    rng = random.Random(5)
    shared, plain = mproc.List(), []
    for step in range(1500):
        i, j = rng.randrange(-60, 60), rng.randrange(-60, 60)
        values = [
            rng.choice([step, "x" * rng.randrange(50), None]) for _ in range(rng.randrange(4))
        ]
        for target in (shared, plain):
            match step % 7:
                case 0:
                    target[i:j] = values
                case 1:
                    del target[i:j:2]
                case 2:
                    target.insert(i, values)
                case 3:
                    target.append(step)
                case 4:
                    target += values
                case 5:
                    target.reverse()
                case 6:
                    if len(target) > 40:
                        target.pop(i % 40)
        assert shared == plain
        assert len(shared) == len(plain)


def test_what_is_read_is_a_copy():
    shared = mproc.List([[1]])
    shared[0].append(2)
    assert shared == [[1]]
    assert shared.update_with(0, lambda value: [*value, 2]) == [1, 2]
    assert shared == [[1, 2]]
    plain = shared[:]
    plain.append(1)
    assert len(shared) == 1


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError("no")


def test_values_that_cannot_be_pickled_change_nothing():
    shared = mproc.List([1, 2])
    for change in (
        lambda: shared.append(Unpicklable()),
        lambda: shared.insert(0, Unpicklable()),
        lambda: shared.extend([3, Unpicklable()]),
        lambda: shared.__setitem__(0, Unpicklable()),
        lambda: shared.__setitem__(slice(0, 1), [4, Unpicklable()]),
    ):
        with pytest.raises(ZeroDivisionError):
            change()
        assert shared == [1, 2]


def test_it_is_pickled_for_children_only():
    shared = mproc.List([1])
    with pytest.raises(RuntimeError):
        pickle.dumps(shared)
    with pytest.raises(RuntimeError):
        copy.copy(shared)
    assert shared == [1]


def test_large_values():
    shared, text = mproc.List(), "x" * 1_000_000
    shared.extend([text, b"y" * 1_000_000, [text, 1]])
    assert shared == [text, b"y" * 1_000_000, [text, 1]]
    assert shared.pop(1) == b"y" * 1_000_000


def test_iteration_goes_over_a_copy():
    shared = mproc.List(range(5))
    for value in shared:
        shared.remove(value)
    assert shared == []


def churn(shared):
    while True:
        shared.extend(range(300))
        del shared[50:]


def test_iteration_while_another_writes():
    ctx = mproc.get_context("fork")
    shared = ctx.List(f"stays {i}" for i in range(50))
    child = ctx.Process(target=churn, args=(shared,), daemon=True)
    child.start()
    for _ in range(30):
        values = [*shared]
        assert values[:50] == [f"stays {i}" for i in range(50)]
        assert values[50:] in ([], [*range(300)])
    child.kill()
    child.join()
    assert wait_until(lambda: _mproc.reap() == 0)
    assert shared[7] == "stays 7"


def test_a_sort_that_others_disturb_is_done_again():
    shared, calls = mproc.List([3, 1, 2]), []

    def key(value):
        if not calls:
            shared.append(0)
        calls.append(value)
        return value

    shared.sort(key=key)
    assert shared == [0, 1, 2, 3]
    assert calls == [3, 1, 2, 3, 1, 2, 0]


# ---------------------------------------------------------------- several steps as one


def test_update_with_looks_again():
    shared, calls = mproc.List([1]), []

    def change(value):
        calls.append(value)
        if len(calls) == 1:
            shared[0] = 10
        return value + 1

    assert shared.update_with(0, change) == 11
    assert calls == [1, 10]
    assert shared == [11]
    with pytest.raises(IndexError):
        shared.update_with(1, change)


def test_add_and_swap():
    shared = mproc.List([1, 0.5, "a"])
    assert shared.add(0) == 2
    assert shared.add(1, 2) == 2.5
    assert shared.add(-1, "b") == "ab"
    shared.swap(0, -1)
    assert shared == ["ab", 2.5, 2]
    with pytest.raises(IndexError):
        shared.swap(0, 3)
    with pytest.raises(IndexError):
        shared.add(3)


def add_all(shared, n):
    for _ in range(n):
        shared.add(0)
        shared.append(n)


@pytest.mark.parametrize("method", METHODS)
def test_children_share_it(method):
    ctx = mproc.get_context(method)
    shared = ctx.List([0])
    children = [ctx.Process(target=add_all, args=(shared, 200)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert shared == [400] + [200] * 400
