"""The results of a map that is submitted bit by bit: order, what is taken when, what is refused."""

import gc
import threading
import weakref

import pytest

import mproc.pool
from mproc import _mproc

_mproc._add_imap()
_mproc._add_threads()

LONG = 20  # seconds that no wait takes: after them something is wrong


class Stream(_mproc.Stream):
    """Tells what it is asked for; what is to be done then is put into `then`."""

    def __init__(self, loose=False):
        self._loose = loose
        self.asked = []
        self.then = []

    def _await_next(self, timeout):
        self.asked.append(timeout)
        self.then.pop(0)()

    def _go_on(self):
        self.asked.append("go on")
        if self.then:
            self.then.pop(0)()

    def _announce(self):
        self.asked.append("ready")


def open_parts(stream, n):
    """Open some parts; the number of the first."""
    first = stream._opened
    _mproc.Books()._add_map(stream, None, False, [None] * n, 1, lambda _: None)
    return first


def stop():
    raise StopIteration


def test_results_come_in_the_order_of_their_parts():
    stream = Stream()
    assert (open_parts(stream, 2), open_parts(stream, 1)) == (0, 2)
    stream._book(2, False, ["f"])
    stream._book(1, False, ["d", "e"])
    assert not stream._at_hand and not stream._ready
    stream._book(0, False, ["a", "b", "c"])
    assert stream._at_hand and stream._ready
    stream.then = [stop]
    assert list(stream) == list("abcdef")
    assert (stream._opened, stream._taken, stream._under_way) == (3, 3, 0)


def test_or_in_the_order_in_which_they_come():
    stream = Stream(loose=True)
    open_parts(stream, 3)
    stream._book(2, False, ["f"])
    assert next(stream) == "f"
    stream._book(0, False, ["a", "b"])
    stream._book(1, False, ["c"])
    stream.then = [stop]
    assert list(stream) == ["a", "b", "c"]


@pytest.mark.parametrize("loose", [False, True])
def test_there_is_room_for_any_number(loose):
    stream = Stream(loose)
    taken, n = [], 0
    for some in (1, 63, 64, 200, 1, 1000):
        open_parts(stream, some)
        for part in range(n, n + some):
            stream._book(part, False, [part])
        n += some
        taken.extend(next(stream) for _ in range(some // 2))
    stream.then = [stop]
    assert [*taken, *stream] == list(range(n))


def test_next_waits_for_what_is_not_there():
    stream = Stream()
    open_parts(stream, 1)
    stream.then = [lambda: None, lambda: stream._book(0, False, ["late"])]
    assert stream.next(2.5) == "late"
    assert stream.asked == [2.5, 2.5]
    stream.then = [lambda: (open_parts(stream, 1), stream._book(1, False, ["x"]))]
    assert stream.next(timeout=None) == "x"


def test_next_goes_on_when_few_parts_are_left():
    stream = Stream()
    open_parts(stream, 4)
    stream._low = 2
    for part in range(4):
        stream._book(part, False, [part])
    assert (next(stream), stream.asked) == (0, [])
    assert (next(stream), stream.asked) == (1, ["go on"])


def test_an_interrupt_loses_no_result():
    stream = Stream()
    open_parts(stream, 1)
    stream._low = 2
    stream._book(0, False, [1])
    stream.then = [lambda: 1 / 0]
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert stream._at_hand
    assert next(stream) == 1


def test_a_part_that_failed_is_raised_in_its_place():
    stream = Stream()
    open_parts(stream, 3)
    stream._book(1, True, KeyError("x"))
    stream._book(0, False, [1])
    stream._book(2, True, StopIteration("mine"))
    assert next(stream) == 1
    with pytest.raises(KeyError, match="x"):
        next(stream)
    with pytest.raises(RuntimeError, match="a task raised StopIteration") as caught:
        next(stream)
    assert caught.value.__cause__.args == ("mine",)


def test_who_watches_is_told_when_there_is_something_to_be_taken():
    stream = Stream()
    open_parts(stream, 3)
    stream._watched = True
    stream._book(1, False, [1])
    assert stream.asked == []
    stream._book(0, False, [0])
    assert stream.asked == ["ready"]
    assert (next(stream), next(stream)) == (0, 1)
    assert not stream._ready
    stream._book(2, False, [2])
    assert stream.asked == ["ready", "ready"]


@pytest.mark.parametrize("loose", [False, True])
def test_what_is_no_part_is_refused(loose):
    stream = Stream(loose)
    with pytest.raises(SystemError, match="part 0 of a stream"):
        stream._book(0, False, [1])
    open_parts(stream, 1)
    for value in (1, [], (1,)):
        with pytest.raises(SystemError, match="no list"):
            stream._book(0, False, value)
    with pytest.raises(SystemError, match="failed with 7"):
        stream._book(0, True, 7)
    stream._book(0, False, [1])
    with pytest.raises(SystemError, match="comes twice"):
        stream._book(0, False, [1])
    assert next(stream) == 1
    with pytest.raises(SystemError, match="comes twice"):
        stream._book(0, False, [1])


def test_a_number_that_was_never_opened_is_refused():
    stream = Stream()
    open_parts(stream, 2)
    for part in (-1, 2, 2**62):
        with pytest.raises(SystemError, match=f"part {part} of a stream"):
            stream._book(part, False, [1])


def test_a_cycle_through_its_results_is_freed():
    stream = Stream()
    open_parts(stream, 3)
    for part in range(3):
        stream._book(part, False, [stream, stream])
    assert next(stream) is stream
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None


class Overtaken(_mproc.Stream):
    """What comes is taken at once, as by another thread."""

    def _announce(self):
        next(self)


@pytest.mark.parametrize("make", [mproc.get_context("fork").Pool, mproc.pool.ThreadPool])
def test_who_pumps_looks_again_when_another_thread_has_taken_what_came(make):
    with make(1) as pool:
        stream = Overtaken()
        stream._watched = True
        pool._tasks.submit_map(stream, *pool._message_of(abs), False, [-1], 1)
        pumping = threading.Thread(target=pool._tasks.pump, args=(stream, LONG))
        pumping.start()
        pumping.join(LONG / 2)
        assert not pumping.is_alive()
        assert stream._taken == 1
    pool.join()


# ---- items


class Submitted:
    """What has been submitted by its method, until it is to raise."""

    def __init__(self, *errors):
        self.parts = []
        self.errors = list(errors)
        self.books = _mproc.Books()

    def submit(self, stream, function, named, star, items, chunk, first, options):
        if self.errors:
            raise self.errors.pop(0)
        self.books._add_map(stream, function, star, items, chunk, self.parts.append)
        self.last = (function, named, star, items[:], chunk, first, options)

    def feed(self, stream, parts=1, chunk=2, options=None):
        return stream._feed_items(self.submit, "f", True, chunk, parts, options)

    def items(self):
        return [task.work[2] for task in self.parts]


def test_items_are_submitted_in_parts():
    stream, to = Stream(), Submitted()
    assert to.feed(stream) is False
    stream._items = iter(range(7))
    assert to.feed(stream, 2, options=(1,)) is True
    assert to.last == ("f", True, False, [0, 1, 2, 3], 2, 0, (1,))
    assert to.feed(stream, 9) is True
    assert to.last == ("f", True, False, [4, 5, 6], 2, 4, None)
    assert to.feed(stream) is False
    assert to.items() == [[0, 1], [2, 3], [4, 5], [6]]
    assert (stream._opened, stream._in_hand) == (4, [])


def test_items_stay_in_hand_when_an_interrupt_comes():
    stream, to = Stream(), Submitted(KeyboardInterrupt())
    stream._items = iter(range(5))
    with pytest.raises(KeyboardInterrupt):
        to.feed(stream, 2)
    assert (stream._opened, stream._in_hand) == (0, [0, 1, 2, 3])
    while to.feed(stream):
        pass
    assert to.items() == [[0, 1], [2, 3], [4]]


def test_parts_that_were_submitted_before_an_interrupt_are_not_in_hand():
    stream, to = Stream(), Submitted()
    stream._items = iter(range(8))

    def put(task):
        if task.part == 2:
            raise KeyboardInterrupt
        to.parts.append(task)

    def submit(stream, function, named, star, items, chunk, first, options):
        to.books._add_map(stream, function, star, items, chunk, put)

    with pytest.raises(KeyboardInterrupt):
        stream._feed_items(submit, "f", True, 2, 4, None)
    assert (stream._opened, stream._in_hand, to.books.open) == (2, [4, 5, 6, 7], 2)
    assert to.feed(stream, 4)
    assert [task.part for task in to.parts] == [0, 1, 2, 3]
    assert to.items() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_what_ends_the_items_is_returned():
    def items():
        yield 1
        raise LookupError("items")

    stream, to = Stream(), Submitted(ValueError("submit"))
    stream._items = items()
    error = to.feed(stream)
    assert isinstance(error, LookupError)
    stream._items = iter([2, 3])
    assert str(to.feed(stream)) == "submit"
    assert stream._in_hand == [1, 2]
    for parts, chunk in ((0, 1), (1, 0), (1 << 40, 1 << 40)):
        with pytest.raises(ValueError, match="parts of"):
            to.feed(stream, parts, chunk)
    with pytest.raises(TypeError):
        stream._feed_items(None)


def test_items_are_visited_by_the_collector():
    stream = Stream()
    stream._items = iter([stream])
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None
