"""Queue and SimpleQueue: what goes in comes out, once, in order, whatever process dies."""

import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path

import pytest
from conftest import alarmed, wait_until

import mproc
from mproc import queues

LONG = 30  # seconds that no wait takes: after them something is wrong


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)

    __hash__ = None


class Refusing:
    """Does not pickle."""

    def __reduce__(self):
        raise ZeroDivisionError("not me")


def refuse():
    raise ZeroDivisionError("not here")


class Unreadable:
    """Pickles, but does not unpickle."""

    def __reduce__(self):
        return refuse, ()


VALUES = [
    None,
    True,
    0,
    -1,
    2**63,
    -(2**200),
    1.5,
    float("inf"),
    "",
    "ä\0\udc80",
    b"",
    b"\0\xff",
    bytearray(b"ab"),
    (),
    (1, "a", None),
    [],
    [[1], [2, [3]]],
    {},
    {"a": 1, 2: b"c", (1, 2): None},
    {1, 2},
    frozenset({3}),
    1 + 2j,
    range(5),
    Ellipsis,
    int,
    len,
    OrderedDict(a=1),
    Point(1, 2),
    "x" * 8191,
    b"y" * 8192,
    b"z" * 1_000_000,
    list(range(10_000)),
]

# ---- what children run


def send(q, items):
    for item in items:
        q.put(item)


def echo(source, target):
    while (item := source.get()) is not None:
        target.put(item)


def echo_many(source, target):
    items = []
    while None not in items:
        items = source.get_many(50)
        target.put_many(item for item in items if item is not None)


def put_and_die(q, items):
    send(q, items)
    os.kill(os.getpid(), signal.SIGKILL)


def get_for_ever(q, connection):
    connection.send("ready")
    q.get()


def put_for_ever(q, connection):
    connection.send("ready")
    q.put("mine")


def tell(q, connection):
    connection.send((q.qsize(), q.empty(), q.full(), q.get(timeout=LONG)))


def close_and_go(q):
    q.close()


def count_own(q, number, times):
    for i in range(times):
        q.put((number, i))


# ---- helpers


def ended(process):
    process.join(LONG)
    assert process.exitcode == 0
    process.close()


def run(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    ended(process)


def killed(process):
    process.kill()
    process.join(LONG)
    process.close()


@pytest.fixture(params=["Queue", "SimpleQueue"])
def kind(request):
    return request.param


@pytest.fixture
def q():
    return mproc.Queue()


# ---- one process


def test_module():
    assert {"Queue", "SimpleQueue"} <= set(queues.__all__)
    assert isinstance(mproc.Queue(), queues.Queue)
    assert isinstance(mproc.SimpleQueue(), queues.SimpleQueue)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20].encode().hex()[:16])
def test_what_goes_in_comes_out(kind, value):
    q = getattr(mproc, kind)()
    q.put(value)
    got = q.get()
    assert type(got) is type(value)
    assert got == value


def test_it_is_a_copy(q):
    item = [1, [2]]
    q.put(item)
    item[1].append(3)
    got = q.get()
    assert got == [1, [2]]
    assert got is not item


def test_identity_survives_inside_an_item(q):
    shared = [1]
    item = [shared, shared]
    item.append(item)
    q.put(item)
    got = q.get()
    assert got[0] is got[1]
    assert got[2] is got


def test_first_in_first_out(kind):
    q = getattr(mproc, kind)()
    for i in range(5000):
        q.put(i if i % 100 else b"b" * 20_000)
    got = [q.get() for _ in range(5000)]
    assert [i if i % 100 else b"b" * 20_000 for i in range(5000)] == got
    assert q.empty()


def test_counts(q):
    assert (q.qsize(), q.empty(), q.full()) == (0, True, False)
    q.put(1)
    q.put(2)
    assert (q.qsize(), q.empty(), q.full()) == (2, False, False)
    q.get()
    assert q.qsize() == 1


def test_maxsize():
    q = mproc.Queue(2)
    q.put(1)
    assert not q.full()
    q.put(2, True)
    assert q.full()
    with pytest.raises(queue.Full):
        q.put(3, False)
    with pytest.raises(queue.Full):
        q.put_nowait(3)
    with pytest.raises(queue.Full):
        q.put(3, timeout=0.01)
    with pytest.raises(queue.Full):
        q.put(3, True, -1)
    assert q.get() == 1
    q.put(3, block=True, timeout=LONG)
    assert [q.get(), q.get()] == [2, 3]


@pytest.mark.parametrize("maxsize", [0, -1])
def test_no_bound(maxsize):
    q = mproc.Queue(maxsize=maxsize)
    for i in range(3000):
        q.put_nowait(i)
    assert not q.full()
    assert q.qsize() == 3000


@pytest.mark.parametrize("maxsize", [-1, 0, 2, 2**31 - 1])
def test_maxsize_as_programs_look_at_it(ctx, maxsize):
    """With what `qsize() < _maxsize` asks for."""
    q = ctx.Queue(maxsize)
    looked_at = ctx.SimpleQueue()
    process = ctx.Process(target=tell_maxsize, args=(q, looked_at))
    process.start()
    assert looked_at.get() == q._maxsize == (maxsize if maxsize > 0 else 2**31 - 1)
    process.join()
    assert not q.full()


def tell_maxsize(q, answers):
    answers.put(q._maxsize)


@pytest.mark.parametrize("maxsize", ["1", 1.5, None])
def test_wrong_maxsize(maxsize):
    with pytest.raises(TypeError):
        mproc.Queue(maxsize)


def test_empty(q):
    with pytest.raises(queue.Empty):
        q.get_nowait()
    with pytest.raises(queue.Empty):
        q.get(False)
    with pytest.raises(queue.Empty):
        q.get(block=False, timeout=100)
    with pytest.raises(queue.Empty):
        q.get(True, -1)


RAISED = """
import sys, mproc
full, empty = mproc.Queue(1), mproc.Queue()
full.put(1)
def outcomes():
    for act in (empty.get_nowait, lambda: full.put_nowait(1)):
        try:
            act()
        except Exception as error:
            yield type(error).__name__, error.args
sys.modules["queue"] = None
print(*[name for name, args in outcomes()])
del sys.modules["queue"]
print(*outcomes())
print(*outcomes())
"""


def test_an_exception_that_could_not_be_imported_can_be_later(program):
    path = program.write("main.py", RAISED)
    raised = "('Empty', ()) ('Full', ())"
    lines = program.output(path).splitlines()
    assert lines == ["ModuleNotFoundError ModuleNotFoundError", raised, raised]


def test_a_timeout_passes(q):
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        q.get(timeout=0.03)
    assert time.monotonic() - began >= 0.03


@pytest.mark.parametrize("timeout", [1e100, float("inf")])
def test_an_absurd_timeout(q, timeout):
    with pytest.raises(OverflowError):
        q.get(timeout=timeout)


@pytest.mark.parametrize(
    ("method", "args", "kwargs"),
    [
        ("put", (), {}),
        ("put", (), {"block": True}),
        ("put", (1, True, None, 1), {}),
        ("put", (1,), {"obj": 2}),
        ("put", (1,), {"wait": 2}),
        ("get", (True, 1, 1), {}),
        ("get", (), {"timeout": "1"}),
        ("get", (), {"item": 1}),
        ("put_nowait", (), {}),
        ("get_nowait", (1,), {}),
    ],
)
def test_wrong_arguments(q, method, args, kwargs):
    with pytest.raises(TypeError):
        getattr(q, method)(*args, **kwargs)
    assert q.empty()


def test_keywords(q):
    q.put(obj=1, block=True, timeout=None)
    assert q.get(block=True, timeout=None) == 1
    q.put_nowait(obj=2)
    assert q.get() == 2
    for arguments in ((), (1, 2)):
        with pytest.raises(TypeError, match=r"^put_nowait\(\) "):
            q.put_nowait(*arguments)
    with pytest.raises(TypeError, match="put_nowait"):
        q.put_nowait(item=2)
    simple = mproc.SimpleQueue()
    simple.put(obj=3)
    assert simple.get() == 3


@pytest.mark.parametrize(
    "item", [lambda: 1, Refusing(), threading.Lock(), [1, Refusing()], {"a": (Refusing(),)}]
)
def test_what_does_not_pickle_is_an_error_of_put(kind, item):
    q = getattr(mproc, kind)()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError, ZeroDivisionError)):
        q.put(item)
    assert q.empty()
    q.put(1)  # nothing is stuck
    assert q.get() == 1


def test_what_does_not_pickle_takes_no_room():
    q = mproc.Queue(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError) as caught:
            q.put(Refusing())
        assert str(caught.value) == "not me"
    q.put_nowait(1)
    assert q.get() == 1


class Telling(queues.Queue):
    """Wants to know itself of what cannot be sent, as concurrent.futures' queue does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.told = []

    def _on_queue_feeder_error(self, e, obj):
        self.told.append((type(e), type(obj)))


@pytest.mark.parametrize("put", [Telling.put, Telling.put_nowait])
def test_what_cannot_be_sent_is_told_to_who_overrides_the_hook(put):
    q = Telling(maxsize=1)
    put(q, Refusing())
    assert q.told == [(ZeroDivisionError, Refusing)]
    assert q.empty()
    put(q, 1)
    with pytest.raises(queue.Full):
        q.put(2, timeout=0)
    assert q.get() == 1
    q.close()
    with pytest.raises(ValueError, match="is closed"):
        put(q, 1)
    assert len(q.told) == 1


def test_the_hook_itself_prints(capsys):
    queues.Queue._on_queue_feeder_error(ValueError("this one"), None)
    assert "ValueError: this one" in capsys.readouterr().err


def test_what_does_not_unpickle_is_an_error_of_get(kind):
    q = getattr(mproc, kind)()
    q.put(Unreadable())
    q.put(2)
    with pytest.raises(ZeroDivisionError, match=r"^not here$"):
        q.get()
    assert q.get() == 2


def test_too_large_for_the_arena(q):
    """An item that can never fit is an error at once."""
    import mmap

    from mproc import _mproc

    huge = mmap.mmap(-1, _mproc.arena_stat()["limit"] + 4096, prot=mmap.PROT_READ)
    try:
        with pytest.raises((ValueError, MemoryError)):
            q.put(pickle.PickleBuffer(huge))
    finally:
        huge.close()
    q.put(1)
    assert q.get() == 1


# ---- many at once


def test_many_go_in_and_come_out(kind):
    q = getattr(mproc, kind)()
    q.put_many(VALUES)
    got = []
    while len(got) < len(VALUES):
        got += q.get_many(len(VALUES) - len(got))
    assert got == VALUES
    assert [type(value) for value in got] == [type(value) for value in VALUES]
    assert q.empty()


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 63, 64, 65, 5000])
def test_as_many_as_are_there(kind, count):
    q = getattr(mproc, kind)()
    q.put_many(i if i % 100 else b"b" * 20_000 for i in range(count))
    q.put("last")
    assert q.get_many(count) == [i if i % 100 else b"b" * 20_000 for i in range(count)]
    assert q.get_many(7) == ["last"]
    assert q.empty()


def test_many_large_ones(q):
    items = [bytes([i]) * (1_000 + 37_000 * (i % 3)) for i in range(40)]
    q.put_many(items)
    assert q.get_many(1_000) == items


def test_none_of_many(kind):
    q = getattr(mproc, kind)()
    q.put_many([])
    assert q.empty()
    assert q.get_many(0) == []  # and does not wait


def test_nothing_for_get_many(q):
    with pytest.raises(queue.Empty):
        q.get_many(5, False)
    with pytest.raises(queue.Empty):
        q.get_many(n=5, timeout=0.01)


def test_put_many_up_to_the_bound():
    q = mproc.Queue(50)
    q.put("first")
    with pytest.raises(queue.Full) as caught:
        q.put_many(range(100), block=False)
    assert caught.value.items_put == 49
    assert caught.value.__notes__ == ["put_many(): at item 49, counted from 0; 49 items were put"]
    with pytest.raises(queue.Full) as caught:
        q.put_many(iterable=range(100), timeout=0.01)
    assert caught.value.items_put == 0
    assert q.get_many(100) == ["first", *range(49)]


@pytest.mark.parametrize("position", [0, 1, 31, 32, 70, 99])
def test_nothing_is_put_from_one_that_does_not_pickle_on(kind, position):
    q = getattr(mproc, kind)()
    items = list(range(100))
    items[position] = Refusing()
    with pytest.raises(ZeroDivisionError, match=r"^not me") as caught:
        q.put_many(items)
    assert caught.value.items_put == position
    assert f"at item {position}, counted" in caught.value.__notes__[-1]
    q.put("behind")
    assert q.get_many(200) == [*range(position), "behind"]


def test_an_error_of_the_iterator_ends_put_many(q):
    def items():
        yield from range(40)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more") as caught:
        q.put_many(items())
    assert caught.value.items_put == 40
    assert q.get_many(200) == list(range(40))


def test_an_error_comes_before_the_want_of_room():
    q = mproc.Queue(3)
    with pytest.raises(ZeroDivisionError) as caught:
        q.put_many([1, 2, 3, 4, Refusing()], timeout=0.01)
    assert caught.value.items_put == 3
    assert "at item 4, counted from 0; 3 items were put" in caught.value.__notes__[-1]
    assert q.get_many(9) == [1, 2, 3]


class Stiff(Exception):
    """Lets nothing be written to it."""

    def __setattr__(self, name, value):
        raise AttributeError(name)

    add_note = None


def test_an_error_that_cannot_be_told_more(q):
    def items():
        yield 1
        raise Stiff

    with pytest.raises(Stiff):
        q.put_many(items())
    assert q.get() == 1


def test_the_others_are_not_lost_with_one_that_does_not_unpickle(kind):
    q = getattr(mproc, kind)()
    q.put_many([*range(100), Unreadable(), 100, Unreadable(), 101])
    with pytest.raises(ZeroDivisionError, match=r"^not here") as caught:
        q.get_many(1_000)
    got = caught.value.items_got
    assert caught.value.__notes__ == ["get_many(): the other items are the error's items_got"]
    while not q.empty():
        got += q.get_many(1)
    assert got == list(range(102))


def test_put_many_of_a_queue_that_wants_to_be_told():
    q = Telling(maxsize=3)
    q.put_many([1, Refusing(), 2])
    assert q.told == [(ZeroDivisionError, Refusing)]
    with pytest.raises(queue.Full) as caught:
        q.put_many([3, 4], timeout=0)
    assert caught.value.items_put == 1
    assert q.get_many(9) == [1, 2, 3]


@pytest.mark.parametrize(
    ("method", "args"),
    [("put_many", ()), ("put_many", (1,)), ("get_many", ()), ("get_many", ("1",))],
)
def test_wrong_arguments_of_many(kind, method, args):
    q = getattr(mproc, kind)()
    with pytest.raises(TypeError):
        getattr(q, method)(*args)
    with pytest.raises(ValueError, match="n is negative"):
        q.get_many(-1)


def test_many_after_close():
    q, simple = mproc.Queue(), mproc.SimpleQueue()
    q.close()
    simple.close()
    for use in (lambda: q.put_many([1]), lambda: q.get_many(1)):
        with pytest.raises(ValueError, match="is closed"):
            use()
    for use in (lambda: simple.put_many([1]), lambda: simple.get_many(1)):
        with pytest.raises(OSError, match=r"^handle is closed$"):
            use()


def test_put_many_waits_for_room():
    q = mproc.Queue(3)
    thread = threading.Thread(target=q.put_many, args=(range(500),))
    thread.start()
    got = []
    while len(got) < 500:
        got += q.get_many(2, timeout=LONG)
    thread.join(LONG)
    assert got == list(range(500))


def test_an_interrupt_ends_put_many():
    q = mproc.Queue(40)

    def interrupt(*_):
        raise KeyboardInterrupt

    def signal_when_full():
        if wait_until(q.full):
            os.kill(os.getpid(), signal.SIGALRM)

    thread = threading.Thread(target=signal_when_full)
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            q.put_many(range(100))
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, old)
    assert caught.value.items_put == 40
    assert q.get_many(100) == list(range(40))


def test_an_interrupt_in_the_iterator_waits_for_no_room():
    q = mproc.Queue(2)

    def items():
        yield from range(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        q.put_many(items())
    assert caught.value.items_put == 2


def test_many_through_the_ends_of_a_queue(q):
    with q._reader:
        fd = q._reader.fileno()
        q.put_many([1, 2])
        assert select.select([fd], [], [], LONG)[0]
        assert q.get_many(2) == [1, 2]
        assert not select.select([fd], [], [], 0)[0]


def test_many_through_processes(ctx, kind):
    source, target = getattr(ctx, kind)(), getattr(ctx, kind)()
    process = ctx.Process(target=echo_many, args=(source, target))
    process.start()
    source.put_many([*range(1000), None])
    got = []
    while len(got) < 1000:
        got += target.get_many(1000 - len(got))
    ended(process)
    assert got == list(range(1000))


def test_join_counts_each_of_many(ctx):
    q = ctx.JoinableQueue()
    q.put_many(range(40))
    for _ in q.get_many(40):
        q.task_done()
    q.join()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_close(q):
    q.put(1)
    assert q.close() is None
    closed = r"^Queue <mproc\.queues\.Queue object at 0x[0-9a-f]+> is closed$"
    for use in (lambda: q.put(1), q.get, lambda: q.put_nowait(1), q.get_nowait):
        with pytest.raises(ValueError, match=closed):
            use()
    q.close()


def test_join_thread(q):
    with pytest.raises(AssertionError):
        q.join_thread()
    q.cancel_join_thread()
    q.close()
    q.join_thread()
    q.join_thread()


def test_simple_queue_close():
    q = mproc.SimpleQueue()
    q.put(1)
    q.close()
    for use in (lambda: q.put(1), q.get, q.empty):
        with pytest.raises(OSError, match=r"^handle is closed$"):
            use()
    q.close()


def test_simple_queue_has_no_more():
    q = mproc.SimpleQueue()
    for name in ("qsize", "full", "put_nowait", "get_nowait", "join_thread"):
        assert not hasattr(q, name)
    with pytest.raises(TypeError):
        mproc.SimpleQueue(1)


def test_generic_aliases():
    assert queues.Queue[int].__origin__ is queues.Queue
    assert queues.SimpleQueue[int].__args__ == (int,)


def test_is_not_pickled_for_nobody(kind):
    q = getattr(mproc, kind)()
    literal = f"{kind} objects should only be shared between processes through inheritance"
    with pytest.raises(RuntimeError, match=f"^{literal}$"):
        pickle.dumps(q)
    other = mproc.Queue()
    with pytest.raises(RuntimeError) as caught:
        other.put(q)
    assert str(caught.value) == literal
    assert "initializer and initargs" in caught.value.__notes__[0]


def test_threads(q):
    """Four producers and four consumers: each item once, each producer's in order."""
    got = [[] for _ in range(4)]

    def consume(items):
        while (item := q.get()) is not None:
            items.append(item)

    producers = [threading.Thread(target=count_own, args=(q, n, 500)) for n in range(4)]
    consumers = [threading.Thread(target=consume, args=(items,)) for items in got]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join(LONG)
    for _ in consumers:
        q.put(None)
    for thread in consumers:
        thread.join(LONG)
    assert sorted(item for items in got for item in items) == [
        (n, i) for n in range(4) for i in range(500)
    ]
    for items in got:
        for n in range(4):
            own = [i for number, i in items if number == n]
            assert own == sorted(own)


def test_a_waiting_get_is_woken_by_a_thread(q):
    got = []
    thread = threading.Thread(target=lambda: got.append(q.get(timeout=LONG)))
    thread.start()
    q.put("here")
    thread.join(LONG)
    assert got == ["here"]


def test_a_waiting_put_is_woken_by_a_thread():
    q = mproc.Queue(1)
    q.put(1)
    thread = threading.Thread(target=q.put, args=(2,))
    thread.start()
    assert [q.get(timeout=LONG), q.get(timeout=LONG)] == [1, 2]
    thread.join(LONG)


def test_no_thread_feeds(q):
    before = threading.active_count()
    for _ in range(100):
        q.put(b"x" * 10_000)
    assert threading.active_count() == before
    for _ in range(100):
        q.get()


def test_a_signal_handler_puts(q):
    old = signal.signal(signal.SIGALRM, lambda *_: q.put("from the handler"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert q.get(timeout=LONG) == "from the handler"
    finally:
        signal.signal(signal.SIGALRM, old)


def test_a_signal_handler_that_raises_ends_get(q):
    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            alarmed(0.05, q.get)
    finally:
        signal.signal(signal.SIGALRM, old)
    q.put(1)
    assert q.get() == 1


def test_a_queue_that_is_not_empty_leaves_nothing(kind):
    q = getattr(mproc, kind)()
    for size in (1, 5000, 500_000):
        q.put(b"x" * size)


def test_needs_no_descriptor(kind):
    before = len(os.listdir("/proc/self/fd"))
    many = [getattr(mproc, kind)() for _ in range(100)]
    many[0].put(1)
    assert len(os.listdir("/proc/self/fd")) == before


# ---- several processes


def test_from_a_child(ctx, kind):
    q = getattr(ctx, kind)()
    process = ctx.Process(target=send, args=(q, VALUES))
    process.start()
    for value in VALUES:
        assert q.get() == value
    ended(process)


def test_there_and_back(ctx, kind):
    there, back = getattr(ctx, kind)(), getattr(ctx, kind)()
    process = ctx.Process(target=echo, args=(there, back))
    process.start()
    for value in VALUES[1:]:
        there.put(value)
        assert back.get() == value
    there.put(None)
    ended(process)


def test_a_child_sees_what_we_see(ctx):
    q = ctx.Queue(1)
    q.put("it")
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        run(ctx, tell, q, writer)
        assert reader.recv() == (1, False, True, "it")
    assert q.empty()


def test_closing_is_each_process_own_business(ctx):
    q = ctx.Queue()
    run(ctx, close_and_go, q)
    q.put(1)
    assert q.get() == 1


def test_many_producers_and_consumers(ctx):
    source, target = ctx.Queue(20), ctx.Queue()
    producers = [ctx.Process(target=count_own, args=(source, n, 200)) for n in range(2)]
    consumers = [ctx.Process(target=echo, args=(source, target)) for _ in range(2)]
    for process in producers + consumers:
        process.start()
    for process in producers:
        ended(process)
    for _ in consumers:
        source.put(None)
    got = [target.get(timeout=LONG) for _ in range(400)]
    for process in consumers:
        ended(process)
    assert sorted(got) == [(n, i) for n in range(2) for i in range(200)]
    assert target.empty()


def test_join_before_get(ctx):
    q = ctx.Queue()
    run(ctx, send, q, [b"x" * 5_000_000, "last"])
    assert len(q.get()) == 5_000_000
    assert q.get() == "last"


def test_what_was_put_survives_its_producer(ctx):
    q = ctx.Queue()
    items = [1, "two", b"3" * 100_000]
    process = ctx.Process(target=put_and_die, args=(q, items))
    process.start()
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL
    assert [q.get(timeout=LONG) for _ in items] == items
    with pytest.raises(queue.Empty):
        q.get_nowait()


def test_a_killed_consumer_holds_up_nobody(ctx, kind):
    q = getattr(ctx, kind)()
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=get_for_ever, args=(q, writer))
        process.start()
        assert reader.recv() == "ready"
        killed(process)
    q.put(1)
    assert q.get() == 1


def test_a_killed_producer_holds_up_nobody(ctx):
    q = ctx.Queue(1)
    q.put(1)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=put_for_ever, args=(q, writer))
        process.start()
        assert reader.recv() == "ready"
        killed(process)
    assert q.get() == 1
    q.put(2, timeout=LONG)
    assert q.get() == 2


def test_outlives_the_one_who_made_it(ctx):
    """The parent's handles go before the child uses its own."""
    reader, writer = ctx.Pipe(duplex=False)
    q = ctx.Queue()
    q.put("left")
    with reader, writer:
        process = ctx.Process(target=tell, args=(q, writer))
        del q
        process.start()
        assert reader.recv()[-1] == "left"
        ended(process)


@pytest.mark.parametrize("made_by", ["fork", "spawn", "forkserver"])
def test_any_context_gives_it_to_any_but_forks_to_others(method, made_by):
    q = mproc.get_context(made_by).Queue()
    if made_by == "fork" and method != "fork":
        # Nothing of ours forbids it; programs rely on being told, as by the standard library.
        with pytest.raises(RuntimeError, match="created in a fork context"):
            mproc.get_context(method).Process(target=send, args=(q, [made_by])).start()
        return
    run(mproc.get_context(method), send, q, [made_by])
    assert q.get() == made_by


class Labelled(mproc.get_context("spawn").Queue().__class__):
    """A subclass with an __init__ of its own, as programs write them."""

    def __init__(self, label, *, limit):
        super().__init__(limit, ctx=mproc.get_context("spawn"))
        self.label = label


def test_a_subclass_may_take_arguments_of_its_own():
    q = Labelled("inbox", limit=1)
    q.put(1)
    assert q.full() and q.get() == 1 and q.label == "inbox"


class Forgetful(Labelled):
    def __init__(self):
        """Does not call the base's."""


def test_a_queue_whose_init_was_not_called_says_so():
    q = Forgetful()
    assert q.empty() and q.qsize() == 0
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        q.put(1)
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        q.get()


def test_a_queue_whose_init_was_not_called_says_so_when_it_is_closed_too():
    q = Forgetful()
    q.close()
    assert q.empty() and q.qsize() == 0 and not q.full()
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        q.get()
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        q._await(0)


# ---- JoinableQueue


def work_off(queue, reports):
    for _ in range(reports):
        queue.get()
        queue.task_done()


def test_join_waits_until_all_is_done(ctx):
    q = ctx.JoinableQueue()
    q.join()
    for n in range(100):
        q.put(n)
    children = [ctx.Process(target=work_off, args=(q, 50)) for _ in range(2)]
    for child in children:
        child.start()
    q.join()
    assert q.empty()
    for child in children:
        ended(child)


def test_task_done_once_too_often():
    q = mproc.JoinableQueue()
    q.put(1)
    q.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()


def test_only_a_joinable_queue_is_joined():
    assert not hasattr(mproc.Queue(), "join")
    assert not hasattr(mproc.Queue(), "task_done")


# ---- shutdown


def put_until_shut(queue, ready) -> None:
    with pytest.raises(mproc.queues.ShutDown):
        while True:
            queue.put(0)
            ready.set()


def get_until_shut(queue, ready) -> None:
    ready.set()
    with pytest.raises(mproc.queues.ShutDown):
        while True:
            queue.get()


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("run", [put_until_shut, get_until_shut], ids=["put", "get"])
def test_shutdown_ends_what_waits(run, immediate):
    ctx = mproc.get_context("fork")
    queue, ready = mproc.Queue(1), mproc.Event()
    process = ctx.Process(target=run, args=(queue, ready))
    process.start()
    ready.wait()
    queue.shutdown(immediate)
    process.join()
    assert process.exitcode == 0
    with pytest.raises(mproc.queues.ShutDown):
        queue.put_nowait(1)


def test_shutdown_leaves_what_is_there():
    queue = mproc.Queue()
    queue.put_many([1, 2, 3])
    queue.shutdown()
    assert queue.get() == 1
    assert queue.get_many(5) == [2, 3]
    for get in (queue.get, queue.get_nowait, lambda: queue.get(timeout=0.01)):
        with pytest.raises(mproc.queues.ShutDown):
            get()
    with pytest.raises(mproc.queues.ShutDown):
        queue.get_many(1)
    with pytest.raises(mproc.queues.ShutDown) as caught:
        queue.put_many([1])
    assert caught.value.items_put == 0


def test_shutdown_that_is_immediate_counts_as_done():
    queue = mproc.JoinableQueue()
    queue.put_many([1, b"x" * 20000, 3])
    assert queue.get() == 1
    queue.shutdown(immediate=True)
    assert queue.qsize() == 0
    with pytest.raises(mproc.queues.ShutDown):
        queue.get()
    queue.task_done()
    queue.join()
    with pytest.raises(ValueError, match="too many"):
        queue.task_done()


def test_shutdown_shows_at_the_reading_end():
    from mproc.connection import wait

    queue = mproc.Queue()
    assert wait([queue._reader], 0) == []
    queue.shutdown()
    assert wait([queue._reader]) == [queue._reader]


def test_shutdown_of_a_closed_queue():
    queue = mproc.Queue()
    queue.close()
    with pytest.raises(ValueError, match="closed"):
        queue.shutdown()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="queue.ShutDown is from 3.13 on")
def test_shut_down_is_the_standard_library_s():

    assert queues.ShutDown is queue.ShutDown


# ---- a bound of bytes


def get_all(queue, n, got) -> None:
    got.put(sum(len(queue.get()) for _ in range(n)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_maxbytes_holds_producers_back(method):
    ctx = mproc.get_context(method)
    bounded, got = ctx.Queue(maxbytes=1000), ctx.Queue()
    while True:
        try:
            bounded.put_nowait(b"x" * 300)
        except queue.Full:
            break
    assert bounded.full()
    assert bounded.qsize() == 4
    process = ctx.Process(target=get_all, args=(bounded, 54, got))
    process.start()
    for _ in range(50):
        bounded.put(b"x" * 300)
    assert got.get() == 54 * 300
    process.join()
    assert not bounded.full()


def test_maxbytes_lets_one_of_any_size_in():
    bounded = mproc.JoinableQueue(maxbytes=10)
    bounded.put(b"x" * 100000)
    with pytest.raises(queue.Full):
        bounded.put(b"", timeout=0.01)
    assert len(bounded.get()) == 100000
    bounded.task_done()
    bounded.put_many([b"", b""])
    assert bounded.get_many(5) == [b"", b""]


def test_maxbytes_beside_maxsize():
    bounded = mproc.Queue(1, maxbytes=1000)
    bounded.put(1)
    with pytest.raises(queue.Full):
        bounded.put_nowait(2)
    assert bounded.full()


def test_maxbytes_must_be_a_number():
    with pytest.raises(TypeError):
        mproc.Queue(maxbytes="1")
    with pytest.raises(OverflowError):
        mproc.Queue(maxbytes=2**64)


CONFINED = """
import mproc
import resource
import sys


def work(queue):
    queue = queue or mproc.Queue()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    try:
        queue.get(timeout=0.01)
    except Exception as error:
        print(type(error).__name__, flush=True)


ctx = mproc.get_context("fork")
for step in sys.argv[1]:
    queue = ctx.Queue() if step == "q" else None
    if step != "q":
        does, args = (work, (mine,)) if step == "c" else (int, ())
        child = ctx.Process(target=does, args=args)
        child.start()
        child.join()
        assert child.exitcode == 0
    mine = queue
print("queue" in sys.modules)
"""


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("p", "False"),  # no queue: nothing is imported for one
        ("qc", "Empty\nTrue"),
        ("pqc", "Empty\nTrue"),
    ],
)
def test_a_child_that_may_open_no_file_is_told_that_a_queue_is_empty(steps, said):
    where = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    command = [sys.executable, "-c", CONFINED, steps]
    done = subprocess.run(command, env=where, timeout=60, check=True, stdout=subprocess.PIPE)
    assert done.stdout.decode().strip() == said


def test_a_child_may_make_a_queue_and_open_no_file_then():
    where = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    command = [sys.executable, "-c", CONFINED.replace("(mine,)", "(None,)"), "c"]
    done = subprocess.run(command, env=where, timeout=60, check=True, stdout=subprocess.PIPE)
    assert done.stdout.decode().strip() == "Empty\nFalse"
