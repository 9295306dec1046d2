"""What an executor has submitted and no worker has: room, order, failures, interrupts."""

import gc
import random
import threading
import time
import weakref

import pytest

from mproc import _mproc, futures

_mproc._add_threads()  # for tasks of its own

SEATS = 2
EXTRA = 1
MOST = 512


class Job(_mproc.Job):
    """What books the result of a future; its interrupts come when an error is made."""

    interrupts = ()

    def _error(self, value):
        if self.interrupts:
            raise self.interrupts.pop()
        return LookupError(value)


class Tasks:
    """Tasks of workers that take and do nothing, unless they are told to."""

    def __init__(self):
        self.real = []
        self.jobs, self.waiting, self.open, self.trouble = [], 0, 0, None
        self.options = []

    def submit(self, job, message, named, arguments, options=None):
        self.options.append(options)
        self._take(job, (message, named, arguments))

    def submit_map(self, job, message, named, star, items, size, first, options=None):
        self.options.append(options)
        assert star and size == len(items)
        self._take(job, (message, named, items, first))

    def _take(self, job, task):
        if self.trouble is not None:
            raise self.trouble
        self.jobs.append((job._future, task))
        self.real.append(job)
        self.waiting += 1
        self.open += 1


class Engine:
    """What a backlog asks of an engine."""

    def __init__(self):
        self._tasks = Tasks()
        self.told = 0
        self.asked = []

    def _tell(self):
        self.told += 1

    def _message_of(self, function):
        self.asked.append(function)
        return function.__name__.encode(), function is not nameless

    def _instead_of(self, error, fn, args, kwargs, first):
        return LookupError(error, fn, args, kwargs, first)

    def _withdraw(self, future):
        self.asked.append(future)


def nameless():
    """Stands for a function with a state of its own."""


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def backlog():
    return _mproc.Backlog(futures.Future, Job, SEATS)


def fill(backlog, engine, n):
    """Submit n calls, of which as many wait as there is no room for."""
    return [backlog.put(engine, print, (k,), {}) for k in range(n)]


def test_there_is_room_for_one_more_than_workers(backlog, engine):
    many = fill(backlog, engine, 10)
    handed = [future for future, _ in engine._tasks.jobs]
    assert handed == many[: SEATS + EXTRA]
    assert backlog.futures() == many[SEATS + EXTRA :]
    assert len(backlog) == 7
    assert backlog.submitted == 10
    assert [future.running() for future in many] == [True] * 3 + [False] * 7


def test_a_result_makes_room(backlog, engine):
    many = fill(backlog, engine, 10)
    engine._tasks.open -= 2
    backlog.feed(engine)
    assert [future for future, _ in engine._tasks.jobs] == many[:5]


def test_a_result_that_nobody_collects_makes_room_too(backlog, engine):
    many = fill(backlog, engine, 10)
    engine._tasks.waiting = 1  # the workers have two
    backlog.feed(engine)
    assert len(backlog) == 7
    engine._tasks.waiting = 0
    backlog.feed(engine)
    assert [future for future, _ in engine._tasks.jobs] == many[:4]


def test_the_window_follows_the_speed(backlog, engine):
    assert backlog.window == SEATS + EXTRA
    fill(backlog, engine, 5000)
    for _ in range(50):  # as fast as this loop
        engine._tasks.waiting = 0
        backlog.feed(engine)
    assert SEATS + EXTRA < backlog.window <= SEATS + MOST


def test_a_large_window_holds_for_a_while_only(backlog, engine):
    fill(backlog, engine, 5000)
    while len(backlog) > 0:  # as fast as this loop
        engine._tasks.waiting = engine._tasks.open = 0
        backlog.feed(engine)
    for _ in range(2):  # the first look sees what has been finished since the one before
        time.sleep(0.01)  # longer than that
        engine._tasks.waiting = engine._tasks.open = 0
        fill(backlog, engine, 1)
    many = fill(backlog, engine, 50)
    assert backlog.window == SEATS + EXTRA
    assert backlog.futures() == many[SEATS + EXTRA - 1 :]


def test_what_is_with_workers_is_not_finished(backlog, engine):
    fill(backlog, engine, 100)
    for waiting in (3, 2, 1):
        engine._tasks.waiting = waiting
        backlog.feed(engine)
        assert backlog.window == SEATS + EXTRA
        assert len(engine._tasks.jobs) == SEATS + EXTRA


def test_calls_arrive_as_they_are(backlog, engine):
    backlog.put(engine, print, (1, 2), {})
    backlog.put(engine, print, (), {"x": 3})
    backlog.put_chunk(engine, nameless, [(1,), (2,)], 7)
    assert [task for _, task in engine._tasks.jobs] == [
        (b"print", True, ((1, 2), None)),
        (b"print", True, ((), {"x": 3})),
        (b"nameless", False, [(1,), (2,)], 7),
    ]


def test_a_name_is_asked_for_once(backlog, engine):
    engine._tasks.open = -100
    for function in (print, print, nameless, nameless, print):
        backlog.put(engine, function, (), {})
    assert engine.asked == [print, nameless, nameless]


def test_a_cancelled_one_is_not_handed_on(backlog, engine):
    many = fill(backlog, engine, 6)
    assert many[3].cancel()
    assert engine.asked[-1] is many[3]
    engine._tasks.open = 0
    backlog.feed(engine)
    assert [future for future, _ in engine._tasks.jobs] == many[:3] + many[4:]
    assert many[3]._state == "CANCELLED_AND_NOTIFIED"
    assert many[3]._engine is None


def test_one_is_taken_out(backlog, engine):
    many = fill(backlog, engine, 8)
    for n, rest in ((5, [3, 4, 6, 7]), (3, [4, 6, 7]), (7, [4, 6]), (4, [6]), (6, [])):
        assert backlog.remove(many[n])
        assert not backlog.remove(many[n])
        assert backlog.futures() == [many[k] for k in rest]
        assert len(backlog) == len(rest)
    assert not backlog.remove(many[0])
    assert not backlog.remove(futures.Future())
    with pytest.raises(TypeError):
        backlog.remove(3)
    assert backlog.pop() is None


def test_another_backlog_does_not_take_it_out(backlog, engine):
    many = fill(backlog, engine, 8)
    assert not _mproc.Backlog(futures.Future, Job, SEATS).remove(many[5])
    assert len(backlog) == 5


def test_the_oldest_comes_first(backlog, engine):
    many = fill(backlog, engine, 6)
    assert [backlog.pop() for _ in range(4)] == [*many[3:], None]


def test_the_urgent_ones_first(backlog, engine):
    fill(backlog, engine, 3)
    calls = [backlog.put(engine, print, (n,), {}, (n % 3, None)) for n in range(9)]
    chunk = backlog.put_chunk(engine, print, [(1,)], 0, (1, None))
    plain = backlog.put(engine, print, (), {})
    ranked = [*calls[2::3], *calls[1::3], chunk, *calls[0::3], plain]
    assert backlog.futures() == ranked
    engine._tasks.open = -100
    backlog.feed(engine)
    assert [future for future, _ in engine._tasks.jobs[3:]] == ranked


def test_the_order_is_kept_whatever_is_taken_out(backlog, engine):
    """As a sorted list would, with calls put, removed and popped at random."""
    dice, model = random.Random(5), []
    fill(backlog, engine, 3)
    for n in range(3000):
        throw = dice.random()
        if throw < 0.5 or not model:
            priority = dice.choice([0, 0, 0, 1, -1, dice.randrange(-5, 5)])
            future = backlog.put(engine, print, (), {}, (priority, None))
            model.append((-priority, n, future))
            model.sort(key=lambda entry: entry[:2])
        elif throw < 0.75:
            _, _, future = model.pop(dice.randrange(len(model)))
            assert backlog.remove(future)
        else:
            assert backlog.pop() is model.pop(0)[2]
        assert backlog.futures() == [future for _, _, future in model]


def test_options_go_with_their_task(backlog, engine):
    backlog.put(engine, print, (1,), {}, (0, (5, 6, 7)))
    backlog.put_chunk(engine, print, [(1,)], 4, (0, (7, 8, 9)))
    assert engine._tasks.options == [(5, 6, 7), (7, 8, 9)]


@pytest.mark.parametrize("options", [5, (1,), ("1", None), (1 << 40, None)])
def test_refuses_options(backlog, engine, options):
    for put in (
        lambda: backlog.put(engine, print, (), {}, options),
        lambda: backlog.put_chunk(engine, print, [], 0, options),
    ):
        with pytest.raises((TypeError, OverflowError)):
            put()
    assert len(backlog) == 0 and backlog.submitted == 0


def test_what_cannot_be_handed_on_fails_alone(backlog, engine):
    many = fill(backlog, engine, 3)
    engine._tasks.open = 0
    engine._tasks.trouble = trouble = ValueError("no")
    bad = backlog.put(engine, print, (1,), {"x": 2})
    worse = backlog.put_chunk(engine, print, [(1,)], 4)
    engine._tasks.trouble = None
    good = backlog.put(engine, print, (), {})
    assert bad.exception(0).args == (trouble, print, (1,), {"x": 2}, 0)
    assert worse.exception(0).args == (trouble, print, [(1,)], None, 4)
    assert engine.told == 2
    assert [future for future, _ in engine._tasks.jobs] == [*many, good]


def test_an_explanation_that_fails_is_done_without(backlog, engine):
    engine._tasks.trouble = trouble = ValueError("no")
    engine._instead_of = None
    assert backlog.put(engine, print, (), {}).exception(0) is trouble


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_fails_the_call_and_comes_through(backlog, engine, interrupt):
    many = fill(backlog, engine, 6)
    engine._tasks.open = 0
    engine._tasks.trouble = interrupt()
    with pytest.raises(interrupt):
        backlog.feed(engine)
    engine._tasks.trouble = None
    assert type(many[3].exception(0)) is interrupt
    assert backlog.futures() == many[4:]
    backlog.feed(engine)
    assert len(backlog) == 0


def test_who_submits_and_is_interrupted_has_submitted(backlog, engine):
    fill(backlog, engine, 4)
    engine._tasks.open = 0
    engine._tasks.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        backlog.put(engine, nameless, (), {})
    engine._tasks.trouble = None
    assert len(backlog) == 1
    backlog.feed(engine)
    assert engine._tasks.jobs[-1][1] == (b"nameless", False, ((), None))


def test_a_future_that_runs_already_is_refused(backlog, engine):
    future = fill(backlog, engine, 4)[3]
    future.set_running_or_notify_cancel()
    engine._tasks.open = 0
    with pytest.raises(RuntimeError, match="unexpected state"):
        backlog.feed(engine)
    assert len(backlog) == 0


def test_what_tasks_cannot_say_is_an_error(backlog, engine):
    engine._tasks.open = None
    with pytest.raises(TypeError):
        backlog.put(engine, print, (), {})
    assert len(backlog) == 1
    del engine._tasks
    for call in (lambda: backlog.feed(engine), lambda: backlog.put(engine, print, (), {})):
        with pytest.raises(AttributeError):
            call()


def test_a_call_submits_another_while_it_is_handed_on(backlog, engine):
    """As what is pickled may do."""
    submit, inner = engine._tasks.submit, []

    def reenter(*task):
        engine._tasks.submit = submit
        inner.append(backlog.put(engine, print, ("inner",), {}))
        submit(*task)

    engine._tasks.submit = reenter
    outer = backlog.put(engine, print, ("outer",), {})
    assert [future for future, _ in engine._tasks.jobs] == [*inner, outer]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda backlog, engine: backlog.put(engine, print, [], {}),
        lambda backlog, engine: backlog.put(engine, print, (), None),
        lambda backlog, engine: backlog.put(engine, print),
        lambda backlog, engine: backlog.put_chunk(engine, print, (), 0),
        lambda backlog, engine: _mproc.Backlog(int, Job, 1),
        lambda backlog, engine: _mproc.Backlog(futures.Future, int, 1),
        lambda backlog, engine: backlog.put_chunks(engine, print, [()], 1, 0, 1),
        lambda backlog, engine: _mproc.Backlog(futures.Future, Job),
    ],
)
def test_wrong_calls(backlog, engine, wrong):
    with pytest.raises(TypeError):
        wrong(backlog, engine)
    assert len(backlog) == 0


class Held:
    """What a call refers to."""


def submitted(backlog, engine):
    """Submit six calls, cancel the fifth; return references to what they hold."""
    held = [Held() for _ in range(6)]
    many = [backlog.put(engine, print, (each,), {"x": each}) for each in held]
    assert backlog.remove(many[4])
    return [weakref.ref(each) for each in held]


def test_nothing_is_kept(engine):
    backlog = _mproc.Backlog(futures.Future, Job, SEATS)
    references = submitted(backlog, engine)
    engine._tasks.jobs.clear()
    engine._tasks.real.clear()
    gc.collect()
    assert [reference() is None for reference in references] == [
        True,
        True,
        True,
        False,
        True,
        False,
    ]
    del backlog
    assert [reference() for reference in references] == [None] * 6


def test_a_backlog_in_a_circle_is_freed():
    engine = Engine()
    engine.backlog = _mproc.Backlog(futures.Future, Job, SEATS)
    references = submitted(engine.backlog, engine)
    del engine
    gc.collect()
    assert [reference() for reference in references] == [None] * 6


# ---- what comes of them


def jobs_of(backlog, engine, n):
    many = fill(backlog, engine, n)
    return list(zip(many, engine._tasks.real, strict=True))


def test_all_that_wait_fail(backlog, engine):
    waiting = [backlog.put(engine, print, (), {}) for _ in range(30)]
    waiting = [future for future in waiting if future in backlog.futures()]
    assert len(waiting) > 3
    made = []

    def make():
        made.append(LookupError(len(made)))
        if len(made) == 2:
            raise KeyboardInterrupt
        return made[-1]

    with pytest.raises(KeyboardInterrupt):
        backlog.fail_all(make)
    assert len(backlog) == 0
    assert waiting[0].exception(0) is made[0]
    assert isinstance(waiting[1].exception(0), KeyboardInterrupt)
    assert [future.exception(0) for future in waiting[2:]] == made[2:]
    backlog.fail_all(make)


def test_a_job_settles_its_future(backlog, engine):
    (good, job), (bad, failed), (both, double) = jobs_of(backlog, engine, 3)
    _mproc.Task(job, print, ((), None))
    job._book(0, False, "result")
    assert (good.result(0), job._ready) == ("result", True)
    failed._fail(KeyError("x"))
    assert isinstance(bad.exception(0), LookupError)
    assert isinstance(bad.exception(0).args[0], KeyError)
    both.set_result("early")
    double._fail(KeyError("x"))
    assert both.result(0) == "early"


def test_a_job_is_a_map_as_well(backlog, engine):
    future = backlog.put_chunk(engine, print, [(1,), (2,)], 0)
    job = engine._tasks.real[0]
    books = _mproc.Books()
    books._add_map(job, print, True, [(1,), (2,)], 2, lambda _: None)
    assert books.open == 1
    job._book(0, False, [1, 2])
    assert future.result(0) == [1, 2]


def test_an_interrupt_of_an_error_is_raised_when_the_future_has_it(backlog, engine):
    ((future, job),) = jobs_of(backlog, engine, 1)
    job.interrupts = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        job._fail(KeyError("x"))
    assert isinstance(future.exception(0), LookupError)


def test_an_error_that_cannot_be_made_is_the_one_there_was(backlog, engine):
    ((future, job),) = jobs_of(backlog, engine, 1)
    job.interrupts = [MemoryError(), MemoryError()]
    with pytest.raises(MemoryError):
        job._fail(KeyError("x"))
    assert isinstance(future.exception(0), KeyError)


# ---- the chunks of a map


class MapEngine(Engine):
    """What a map asks of its engine."""

    def __init__(self, backlog):
        super().__init__()
        self.backlog, self._refuses, self.checked = backlog, False, 0

    def _submit_chunk(self, fn, chunk, first):
        self.asked.append((fn, chunk, first))
        return self.backlog.put_chunk(self, fn, chunk, first)

    def _check(self):
        self.checked += 1
        if self._refuses:
            raise RuntimeError("over")


def test_chunks(backlog):
    engine = MapEngine(backlog)
    items = zip(range(7))
    some = backlog.put_chunks(engine, print, items, 2, 0, 3)
    assert engine.asked == [(print, [(0,), (1,)], 0), print]
    assert [task[2:] for _, task in engine._tasks.jobs] == [
        ([(0,), (1,)], 0),
        ([(2,), (3,)], 2),
        ([(4,), (5,)], 4),
    ]
    more = backlog.put_chunks(engine, print, items, 2, 6, 3)
    assert backlog.futures() == more
    assert (len(some), len(more), backlog.submitted, engine.checked) == (3, 1, 4, 1)
    engine._tasks.open = 0
    backlog.feed(engine)
    assert engine._tasks.jobs[-1] == (more[0], (b"print", True, [(6,)], 6))
    assert backlog.put_chunks(engine, print, items, 2, 8, 3) == []


def test_a_map_of_nothing_asks_nothing(backlog):
    engine = MapEngine(backlog)
    engine._refuses = True
    assert backlog.put_chunks(engine, print, iter(()), 2, 0, 3) == []
    assert (engine.asked, engine.checked) == ([], 0)


def test_a_map_that_is_refused_in_the_midst(backlog):
    engine = MapEngine(backlog)

    def items():
        yield (0,)
        yield (1,)
        engine._refuses = True
        yield (2,)

    with pytest.raises(RuntimeError, match="over"):
        backlog.put_chunks(engine, print, items(), 1, 0, 9)
    assert backlog.submitted == 2


def test_items_that_fail(backlog):
    engine = MapEngine(backlog)

    def items():
        yield (0,)
        yield (1,)
        raise OSError("items")

    with pytest.raises(OSError, match="items"):
        backlog.put_chunks(engine, print, items(), 2, 0, 9)
    assert [task[2] for _, task in engine._tasks.jobs] == [[(0,), (1,)]]


def test_threads_submit_and_cancel(backlog, engine):
    """Each call is handed on or cancelled, and no link is lost."""
    done = []

    def use():
        mine = [backlog.put(engine, print, (k,), {}) for k in range(300)]
        for future in mine[::2]:
            if backlog.remove(future):
                future.cancel()
        done.extend(mine)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine._tasks.open = -10000
    backlog.feed(engine)
    assert len(backlog) == 0
    handed = {id(future) for future, _ in engine._tasks.jobs}
    assert len(handed) == len(engine._tasks.jobs)
    assert all(future.cancelled() != (id(future) in handed) for future in done)
    assert len(done) == 1200
