"""Futures of an executor do what those of concurrent.futures do, private names included."""

import asyncio
import concurrent.futures
import contextlib
import copy
import functools
import gc
import itertools
import logging
import pickle
import signal
import sys
import threading
import types
import weakref

import pytest
from conftest import alarmed

from mproc import _mproc, futures
from mproc._pool import future as module

LONG = 60  # seconds that no wait takes

STATES = ["PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"]


class Waiter:
    """Notes what it is told, as those of wait() do."""

    def __init__(self):
        self.told = []

    def add_result(self, future):
        self.told.append(("result", future._state))

    def add_exception(self, future):
        self.told.append(("exception", future._state))

    def add_cancelled(self, future):
        self.told.append(("cancelled", future._state))


def answer(call, *args, **kwargs):
    """What a call returns, or the type and text of what it raises; addresses are left out."""
    try:
        value = call(*args, **kwargs)
    except BaseException as error:
        return "raised", worded(error)
    return worded(value)


def worded(value):
    """Exceptions that say the same are not equal; addresses are left out."""
    if isinstance(value, BaseException):
        return type(value), str(value).split(" at 0x")[0]
    return value


def shown(future):
    """The future's repr without its address."""
    before, _, rest = repr(future).partition(" at 0x")
    return before, int(rest.split()[0], 16) == id(future), rest.split(" ", 1)[1]


def look(future):
    """All that can be seen of a future, which is not waited for."""
    return [
        shown(future),
        future.done(),
        future.running(),
        future.cancelled(),
        answer(future.result, 0),
        answer(future.result, timeout=0),
        answer(future.exception, 0),
        answer(future.exception, timeout=-1),
        future._state,
        future._result,
        worded(future._exception),
        len(future._waiters),
        len(future._done_callbacks),
    ]


# ---- what is done to a future, one after the other; each returns what is to be seen of it


def begin(future):
    return answer(future.set_running_or_notify_cancel)


def cancel(future):
    return answer(future.cancel)


def succeed(future):
    return answer(future.set_result, 5)


def succeed_with_a_name(future):
    return answer(future.set_result, result=None)


def fail(future):
    return answer(future.set_exception, KeyError("x"))


def fail_with_a_name(future):
    return answer(future.set_exception, exception=KeyError("x"))


def fail_with_a_class(future):
    return answer(future.set_exception, ValueError)


def fail_with_nothing(future):
    return answer(future.set_exception, None)


def call_back(future):
    seen = []
    first = answer(future.add_done_callback, lambda f: seen.append((f is future, f._state)))
    future.seen = seen
    return first, list(seen)


def call_back_with_a_name(future):
    return answer(future.add_done_callback, fn=lambda f: None)


def call_back_from_callback(future):
    order = []

    def outer(f):
        order.append("outer")
        f.add_done_callback(lambda f: order.append("inner"))
        order.append("outer again")

    future.add_done_callback(outer)
    future.add_done_callback(lambda f: order.append("second"))
    future.order = order
    return list(order)


def call_back_badly(future):
    def bad(f):
        raise IndexError("bad")

    return answer(future.add_done_callback, bad)


def install_waiter(future):
    future.waiter = Waiter()
    with future._condition:
        future._waiters.append(future.waiter)


def install_waiter_without_lock(future):
    future.waiter = Waiter()
    future._waiters.append(future.waiter)


def settle_by_hand(future):
    future._result = "by hand"
    future._state = "FINISHED"


def invoke(future):
    return answer(future._invoke_callbacks)


def notes(future):
    waiter = getattr(future, "waiter", None)
    return getattr(future, "seen", 0), getattr(future, "order", 0), waiter and waiter.told


MOVES = [
    begin,
    cancel,
    succeed,
    succeed_with_a_name,
    fail,
    fail_with_a_name,
    fail_with_a_class,
    fail_with_nothing,
    call_back,
    call_back_with_a_name,
    call_back_from_callback,
    call_back_badly,
    install_waiter,
    install_waiter_without_lock,
    settle_by_hand,
    invoke,
]


def play(future, moves, logged):
    logged.clear()
    seen = [(move.__name__, move(future), notes(future)) for move in moves]
    return seen, look(future), list(logged)


@pytest.fixture
def logged():
    """What concurrent.futures has logged: level, text without addresses, exception."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            text = record.msg if "%s" in record.msg else record.getMessage().split(" at 0x")[0]
            lines.append((record.levelname, text, record.exc_info and record.exc_info[1].args))

    logger, handler = logging.getLogger("concurrent.futures"), Handler()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture(params=["fresh", "with a condition"])
def make(request):
    """Make a future of a class; its condition is there, or has not been asked for yet."""

    def make(kind):
        future = kind()
        if request.param != "fresh":
            assert future._condition is future._condition
        return future

    return make


@pytest.mark.parametrize("first", MOVES)
def test_does_what_the_standard_one_does(make, logged, first):
    for moves in itertools.product([first], MOVES, [begin, cancel, succeed, fail, call_back]):
        standard = play(make(concurrent.futures.Future), moves, logged)
        assert play(make(futures.Future), moves, logged) == standard


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_is_set(state):
    seen = []
    for kind in (concurrent.futures.Future, futures.Future):
        future = kind()
        future._state, future._exception, future._result = state, OSError("x"), 3
        seen.append((look(future), future._state is state))
    assert seen[0] == seen[1]


def test_names():
    assert issubclass(futures.Future, concurrent.futures.Future)
    assert issubclass(futures.Future, _mproc.Future)
    for name in vars(concurrent.futures.Future):
        assert hasattr(futures.Future, name)
    assert futures.Future[int] == types.GenericAlias(futures.Future, (int,))
    assert type(futures.Future()._condition) is threading.Condition
    assert type(futures.Future()._waiters) is list


@pytest.mark.parametrize(
    ("name", "value"),
    [("_state", "LOST"), ("_state", 3), ("_waiters", None), ("_done_callbacks", ())],
)
def test_what_a_private_name_cannot_be(name, value):
    with pytest.raises((ValueError, TypeError)):
        setattr(futures.Future(), name, value)
    with pytest.raises((ValueError, TypeError)):
        delattr(futures.Future(), name)


def test_private_names_can_be_set():
    future, condition, waiters, callbacks = futures.Future(), threading.Condition(), [], []
    future._condition, future._waiters, future._done_callbacks = condition, waiters, callbacks
    future.add_done_callback(print)
    assert callbacks == [print]
    assert future._condition is condition
    assert future._waiters is waiters


def test_wrong_calls():
    future = futures.Future()
    for call, args, kwargs in [
        (future.result, (1, 2), {}),
        (future.result, (), {"time": 1}),
        (future.result, (1,), {"timeout": 1}),
        (future.set_result, (), {}),
        (future.set_exception, (), {}),
        (future.add_done_callback, (), {}),
        (future.set_result, (1, 2), {}),
        (future.result, ("soon",), {}),
        (futures.Future, (1, 2), {}),
    ]:
        with pytest.raises(TypeError):
            call(*args, **kwargs)
    assert future._state == "PENDING"


def test_does_not_pickle():
    for call in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="pickle"):
            call(futures.Future())


class Own(futures.Future):
    """What a program may make of it."""

    def __init__(self, name):
        super().__init__()
        self.name = name


def test_a_subclass_and_attributes_and_weak_references():
    future = Own("mine")
    future.more = future
    assert vars(future) == {"name": "mine", "more": future}
    assert repr(future).startswith("<Own at 0x")
    future.set_result(future)
    assert future.result() is future
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_a_future_begins_anew():
    future = futures.Future()
    future.set_result(3)
    future.add_done_callback(print)
    future.__init__()
    assert shown(future)[2] == "state=pending>"
    assert future._result is None


def test_what_refers_to_itself_is_freed():
    references = []
    for name in ("_result", "_exception", "_condition", "own"):
        future = futures.Future()
        setattr(future, name, future)
        references.append(weakref.ref(future))
    future = futures.Future()
    future._waiters.append(future)
    future._done_callbacks.append(future)
    references.append(weakref.ref(future))
    del future
    gc.collect()
    assert [reference() for reference in references] == [None] * 5


def test_the_exception_does_not_hold_the_future():
    future = futures.Future()
    future.set_exception(KeyError("x"))
    reference = weakref.ref(future)
    with pytest.raises(KeyError) as info:
        future.result()
    del future
    assert reference() is None
    assert info.value.args == ("x",)


def test_an_exception_is_raised_in_its_context():
    future = futures.Future()
    future.set_exception(KeyError("x"))
    with pytest.raises(KeyError) as info:
        try:
            raise OSError("before")
        except OSError:
            future.result()
    assert isinstance(info.value.__context__, OSError)


def test_what_no_exception_is_cannot_be_raised():
    future = futures.Future()
    future.set_exception("text")
    with pytest.raises(TypeError):
        future.result()


# ---- other threads


def in_thread(call, *args):
    thread = threading.Thread(target=call, args=args)
    thread.start()
    return thread


@pytest.mark.parametrize("wait", ["result", "exception"])
def test_a_thread_waits(wait):
    future, got = futures.Future(), []
    thread = in_thread(lambda: got.append(getattr(future, wait)(LONG)))
    while not getattr(future._condition, "_waiters", True):
        pass
    future.set_result(3)
    thread.join()
    assert got == [3 if wait == "result" else None]


def test_a_thread_that_waits_hears_of_a_cancel():
    future, got = futures.Future(), []
    thread = in_thread(lambda: got.append(answer(future.result)))
    while not getattr(future._condition, "_waiters", True):
        pass
    assert future.cancel()
    thread.join()
    assert got == [("raised", (concurrent.futures.CancelledError, ""))]


@pytest.mark.parametrize("settle", ["set_result", "set_exception", "cancel", "_settle"])
def test_who_holds_the_condition_keeps_the_state(settle):
    future = futures.Future()
    args = {"cancel": (), "_settle": (True, KeyError())}.get(settle, (KeyError(),))
    with future._condition:
        thread = in_thread(getattr(future, settle), *args)
        thread.join(0.05)
        assert thread.is_alive()
        assert future._state == "PENDING"
        waiter = Waiter()
        future._waiters.append(waiter)
    thread.join()
    assert future.done()
    assert len(waiter.told) == (settle != "cancel")


def test_wait_misses_no_end():
    """Futures are settled at the moment at which others begin to wait for them."""
    for _ in range(200):
        many = [futures.Future() for _ in range(10)]
        thread = in_thread(lambda many=many: [future.set_result(1) for future in many])
        done, not_done = concurrent.futures.wait(many, LONG)
        thread.join()
        assert (len(done), len(not_done)) == (10, 0)
        many = [futures.Future() for _ in range(10)]
        thread = in_thread(lambda many=many: [future._settle(False, 1) for future in many])
        assert len(list(concurrent.futures.as_completed(many, LONG))) == 10
        thread.join()


def test_two_threads_settle_one_of_them_wins():
    for _ in range(200):
        future, seen = futures.Future(), []
        future.add_done_callback(seen.append)
        threads = [in_thread(answer, future.set_result, n) for n in range(3)]
        threads.append(in_thread(future.cancel))
        for thread in threads:
            thread.join()
        assert seen == [future]


def test_asyncio():
    async def main():
        future = futures.Future()
        wrapped = asyncio.wrap_future(future)
        in_thread(future.set_result, 7).join()
        cancelled = futures.Future()
        waits = asyncio.wrap_future(cancelled)
        waits.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await wrapped, cancelled.cancelled()

    assert asyncio.run(main()) == (7, True)


# ---- engines


class Engine:
    """What a future asks of its engine."""

    def __init__(self):
        self.asked = []

    def _await(self, future, timeout):
        self.asked.append(("await", timeout))
        if timeout is None:
            future._settle(False, "collected")

    def _withdraw(self, future):
        self.asked.append(("withdraw", future._state))

    def _serve_others(self):
        self.asked.append("serve others")

    def _make_condition(self):
        return threading.Condition()

    def _make_waiters(self):
        waiters = module.Waiters()
        waiters.engine = self
        return waiters


def test_who_waits_collects():
    engine = Engine()
    future = futures.Future(engine)
    assert future._engine is engine
    for wait in (future.result, future.exception):
        assert answer(wait, 0.5) == ("raised", (TimeoutError, ""))
    assert future.result() == "collected"
    assert future._engine is None
    assert future.exception(3) is None
    assert engine.asked == [("await", 0.5), ("await", 0.5), ("await", None)]


def test_others_call_for_help():
    engine = Engine()
    first, second = futures.Future(engine), futures.Future(engine)
    first.add_done_callback(print)
    second._waiters.append(Waiter())
    assert engine.asked == ["serve others"] * 2
    waiters = second._waiters
    second._settle(False, 1)
    waiters.append(Waiter())
    first._let_go()
    first.add_done_callback(print)
    assert engine.asked == ["serve others"] * 2
    assert len(waiters) == 2


def test_a_cancelled_one_is_withdrawn():
    engine = Engine()
    future = futures.Future(engine)
    assert future.cancel() and future.cancel()
    future._let_go()
    assert future.cancel()
    running = futures.Future(engine)
    running.set_running_or_notify_cancel()
    assert not running.cancel()
    assert engine.asked == [("withdraw", "CANCELLED")] * 2


def test_what_is_settled_stays():
    future = futures.Future(Engine())
    future.set_result(1)
    future._settle(True, KeyError())
    assert future.result() == 1
    assert future._engine is None
    future = futures.Future()
    future.cancel()
    future._settle(False, 2)
    assert future.cancelled()


# ---- what interrupts


class Interrupts:
    """A waiter, a condition and a callback in which a signal handler raises, the first time."""

    def __init__(self, future, when):
        self.future, self.when, self.calls, self.real = future, when, [], threading.Condition()

    def strike(self, name):
        self.calls.append(name)
        if name == self.when and self.calls.count(name) == 1:
            raise KeyboardInterrupt(name)

    def acquire(self):
        self.strike("acquire")
        return self.real.acquire()

    def release(self):
        self.strike("release")
        self.real.release()

    def notify_all(self):
        self.strike("notify_all")
        self.real.notify_all()

    def add_result(self, future):
        self.strike("add_result")

    def __call__(self, future):
        self.strike("callback")


@pytest.mark.parametrize("when", ["acquire", "add_result", "notify_all", "release", "callback"])
def test_an_interrupt_leaves_nothing_half_done(when):
    future, last, told = futures.Future(), [], Waiter()
    future._condition = trap = Interrupts(future, when)
    future._waiters += [trap, told]
    future._done_callbacks += [trap, last.append]
    with pytest.raises(KeyboardInterrupt, match=when):
        future._settle(False, 3)
    assert future.result() == 3
    assert told.told == [("result", "FINISHED")]
    assert last == [future]
    assert not trap.real._is_owned()
    assert {"notify_all", "release", "callback"} <= set(trap.calls)


class Handler:
    def __call__(self, *_):
        sys.exit(3)

    def method(self, *_):
        sys.exit(3)


HANDLERS = [Handler(), Handler().method, functools.partial(Handler.method), lambda *_: sys.exit(3)]


@pytest.mark.parametrize("handler", HANDLERS)
def test_what_a_signals_handler_raises_in_a_callback_goes_on(handler, caplog):
    future, last = futures.Future(), []
    future._done_callbacks += [lambda _: signal.raise_signal(signal.SIGUSR1), last.append]
    old = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(SystemExit):
            future._settle(False, 3)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert last == [future]
    assert future.result() == 3
    assert not caplog.records


def test_an_exit_of_a_callback_is_logged_when_the_result_comes(caplog):
    future, last = futures.Future(), []
    future._done_callbacks += [sys.exit, last.append]
    future._settle(False, 3)
    assert last == [future]
    assert [record.exc_info[0] for record in caplog.records] == [SystemExit]


def test_an_exit_of_a_callback_is_that_of_the_program_that_sets_the_result(caplog):
    future = futures.Future()
    future.add_done_callback(sys.exit)
    with pytest.raises(SystemExit):
        future.set_result(3)
    with pytest.raises(SystemExit):
        future.add_done_callback(sys.exit)
    assert not caplog.records


def test_an_interrupt_before_a_change_leaves_all_as_it_was():
    for change in ("cancel", "set_running_or_notify_cancel", "set_result", "add_done_callback"):
        future = futures.Future()
        future._condition = Interrupts(future, "acquire")
        args = (print,) if change in ("set_result", "add_done_callback") else ()
        with pytest.raises(KeyboardInterrupt):
            getattr(future, change)(*args)
        assert shown(future)[2] == "state=pending>"
        assert future._done_callbacks == []


def test_a_wait_is_interrupted():
    future = futures.Future()
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            alarmed(0.02, future.result, LONG)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert not future._condition._is_owned()


def test_a_handler_may_use_the_future_that_is_settled():
    """At any place: a handler runs in callbacks, waiters and the condition's methods."""
    seen = []

    def handle(number, frame):
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            future.set_result("handler")
        seen.append(future.result(0))

    old = signal.signal(signal.SIGUSR1, handle)
    try:
        for move in (install_waiter, call_back):
            future = futures.Future()
            move(future)
            future.add_done_callback(lambda f: signal.raise_signal(signal.SIGUSR1))
            future.set_result("first")
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert seen == ["first", "first"]


def test_nothing_is_leaked():
    """What a future held is free when it is, whatever was done to it."""

    class Held:
        pass

    def use():
        held = [Held() for _ in range(4)]
        for n, settle in enumerate(("set_result", "set_exception", "_settle", "cancel")):
            future = futures.Future(Engine())
            args = {"_settle": (False, held[n]), "cancel": ()}.get(settle, (held[n],))
            install_waiter(future)
            future.add_done_callback(lambda f, n=n: held[n])
            getattr(future, settle)(*args)
            answer(future.result, 0)
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_result(held[n])
        return [weakref.ref(each) for each in held]

    references = use()
    gc.collect()
    assert [reference() for reference in references] == [None] * 4
