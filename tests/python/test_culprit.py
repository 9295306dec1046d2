"""What cannot be sent is named by the path to it, wherever it is met, and a remedy is given."""

import copyreg
import functools
import io
import pickle
import threading
import urllib.error

import errands
import pytest

import mproc
from mproc import _culprit, reduction
from mproc.pool import MaybeEncodingError

LOCK = "cannot pickle '_thread.lock' object"


class Model:
    def __init__(self):
        self.lock = threading.Lock()
        self.name = "model"


class Holder:
    def __init__(self):
        self.model = Model()


class Slots:
    __slots__ = ("first", "second")

    def __init__(self, second):
        self.first = 1
        self.second = second


class Listing(list):
    pass


class Mapping(dict):
    pass


class Picky:
    """Sends something else than it has."""

    def __init__(self, sent):
        self.kept = threading.Lock()
        self.sent = sent

    def __getstate__(self):
        return {"sent": self.sent}


class Made:
    def __reduce__(self):
        return dict, (), None, None, iter([("lock", threading.Lock())])


class Failing:
    def __reduce__(self):
        raise ValueError("out of order")

    def __repr__(self):
        raise ValueError("nor a name")


class Twice(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.first = first


def echo(value):
    return value


def give_holder(_=None):
    return Holder()


def raise_lock(_=None):
    raise LookupError("lost", threading.Lock())


def raise_twice(value):
    raise Twice(value, 2) from KeyError("the reason")


def raise_http_error():
    raise urllib.error.HTTPError("http://here", 404, "Not Found", {}, None)


def fail_at(value, bad):
    if value == bad:
        raise ValueError(f"bad: {value}")
    return value


def notes(error):
    """The notes of an error but those of pickle itself, which has some from Python 3.14 on."""
    all_notes = getattr(error, "__notes__", ())
    return [note for note in all_notes if not note.startswith("when serializing ")]


def path_of(error):
    """The path that an error's first note names; the second note is the remedy."""
    path, remedy = notes(error)[:2]
    assert path.endswith(f": {error}") or isinstance(error, MaybeEncodingError)
    assert remedy.endswith(".")
    return path


def sent(value):
    with pytest.raises(Exception, match=r".") as raised:
        mproc.SimpleQueue().put(value)
    return raised.value


# ---- paths


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (Holder, "obj.model.lock"),
        (lambda: [1, Holder()], "obj[1].model.lock"),
        (lambda: (1, (2, Holder())), "obj[1][1].model.lock"),
        (lambda: {"a": 1, "b": Holder()}, "obj['b'].model.lock"),
        (lambda: {threading.Lock(): 1}, "obj[key <unlocked _thread.lock object"),
        (lambda: {threading.Lock()}, "obj{<unlocked _thread.lock object"),
        (lambda: frozenset([threading.Lock()]), "obj{<unlocked _thread.lock object"),
        (lambda: Slots({"k": [Holder()]}), "obj.second['k'][0].model.lock"),
        (lambda: Listing([1, threading.Lock()]), "obj[1]"),
        (lambda: Mapping(a=threading.Lock()), "obj['a']"),
        (lambda: Picky([threading.Lock()]), "obj.sent[0]"),
        (Made, "obj['lock']"),
        (lambda: functools.partial(echo, 1, Holder()), "obj.args[1].model.lock"),
        (lambda: functools.partial(echo, value=Holder()), "obj.keywords['value'].model.lock"),
        (lambda: functools.partial(threading.Lock().acquire), "obj.func.__self__"),
        (lambda: threading.Lock().acquire, "obj.__self__"),
        (lambda: ValueError("x", threading.Lock()), "obj.args[1]"),
        (lambda: [iter(n for n in "abc")], "obj[0]"),
    ],
)
def test_the_path(make, path):
    error = sent(make())
    assert type(error) is TypeError
    assert path_of(error).startswith(path)


def test_an_object_that_fails_itself_is_the_culprit():
    error = sent([Failing()])
    assert type(error) is ValueError
    assert path_of(error) == "obj[0]: out of order"


class Leaving:
    def __reduce__(self):
        raise SystemExit(3)


def test_the_search_does_not_leave():
    error = TypeError("no")
    _culprit.explain(error, [("obj", [Leaving()])])
    assert path_of(error) == "obj[0]: no"
    with pytest.raises(SystemExit):
        mproc.SimpleQueue().put(Leaving())


def test_a_key_without_a_repr():
    assert path_of(sent({Failing(): 1})) == "obj[key <Failing>]: out of order"


def test_a_long_key_is_cut():
    path = path_of(sent({"k" * 1000: Failing()}))
    assert len(path) < 120 and "...]" in path


def test_a_circle():
    circle = [1]
    circle.append(circle)
    circle.append(Holder())
    assert path_of(sent(circle)).startswith("obj[2].model.lock: ")


class Tree:
    """Its children know it, and so cannot be pickled either."""

    def __init__(self):
        self.children = [Child(self), Child(self)]
        self.lock = threading.Lock()


class Child:
    def __init__(self, parent):
        self.parent = parent


def test_children_are_not_blamed_for_what_their_parent_has():
    assert path_of(sent({"tree": Tree()})).startswith("obj['tree'].lock: ")


def test_the_search_ends(monkeypatch):
    monkeypatch.setattr(_culprit, "SECONDS", 0)
    assert len(notes(sent([Holder()]))) == 1  # it is the list, and that is known


def test_what_was_given_itself_is_not_named():
    assert notes(sent(threading.Lock())) == [
        "Make it in the process that uses it, or send what it is made of."
    ]


def test_a_deep_one_is_not_followed_to_the_end():
    value = threading.Lock()
    for _ in range(3 * _culprit.DEEPEST):
        value = [value]
    assert path_of(sent(value)).startswith("obj[0][0][0]")


def test_types_that_were_registered():
    class Odd:
        def __init__(self):
            self.inner = threading.Lock()

    class Even(Odd):
        pass

    reduction.register(Odd, lambda odd: (echo, (odd.inner,)))
    copyreg.pickle(Even, lambda even: (echo, (even.inner,)))
    try:
        assert path_of(sent(Odd())).startswith("obj.inner: ")
        assert path_of(sent(Even())).startswith("obj.inner: ")
    finally:
        del reduction.reducers[Odd], copyreg.dispatch_table[Even]


def test_what_can_be_sent_is_not_blamed():
    error = RuntimeError("something else")
    _culprit.explain(error, [("obj", [1])])
    _culprit.explain(MemoryError(), [("obj", threading.Lock())])
    _culprit.explain(SystemExit(), [("obj", threading.Lock())])
    assert not notes(error)


def test_what_pickle_has_told_is_not_told_again():
    error = TypeError(LOCK)
    error.add_note("when serializing list item 0")
    _culprit.explain(error, [("obj", [threading.Lock()])])
    assert len(notes(error)) == 2 and "Make it in the process" in notes(error)[1]


class Unchangeable(Exception):
    add_note = None


class Unwilling:
    def __reduce__(self):
        raise Unchangeable("not me")


def test_an_error_that_takes_no_notes(fork):
    assert str(sent([Unwilling()])) == "not me"
    with fork.Pool(1) as pool:
        assert str(raised(pool.apply, echo, (Unwilling(),))) == "not me"
        assert str(raised(pool.map, refuse, [1])) == "not me"


def refuse(_):
    raise Unchangeable("not me")


class Endless:
    """Has any attribute that it is asked for, another object of this kind."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Endless()

    def __call__(self, _):
        raise LookupError("lost")


def test_a_function_without_a_name(fork):
    with fork.Pool(1) as pool:
        error = raised(pool.map, Endless(), [1])
    assert notes(error) == ["Endless() failed at item 0, counted from 0"]


@pytest.fixture
def fork():
    return mproc.get_context("fork")


def test_parts_that_cannot_be_had():
    def parts():
        yield "obj", 1
        raise RuntimeError("no more")

    error = TypeError("as it was")
    _culprit.explain(error, parts())
    assert not notes(error)


def test_nothing_is_imported_before_something_fails(program):
    code = (
        "import sys, mproc\n"
        "mproc.get_context('fork').SimpleQueue().put({1})\n"
        "with mproc.get_context('fork').Pool(1) as pool: pool.map(len, [{1}, {2}])\n"
        "assert 'mproc._culprit' not in sys.modules\n"
    )
    assert program.output("-c", code) == ""


# ---- remedies


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: lambda: 1, "or send cloudpickle.dumps() of it"),
        (lambda: type("Local", (), {}), "or send cloudpickle.dumps() of it"),
        (lambda: (n for n in "abc"), "as a list"),
        (Holder, "__getstate__() of Model"),
        (lambda: ValueError(threading.Lock()), "send what it is made of"),
        (mproc.Lock, "initializer and initargs"),
    ],
)
def test_the_remedy(make, remedy):
    assert remedy in notes(sent([make()]))[1]


def test_an_object_of_the_standard_library():
    foreign = type("Lock", (Failing,), {"__module__": "multiprocessing.synchronize"})
    assert "not to mproc" in notes(sent([foreign()]))[1]


# ---- where things are sent


def raised(call, *args, **kwargs):
    with pytest.raises(Exception, match=r".") as caught:
        call(*args, **kwargs)
    return caught.value


def test_queues_and_connections():
    queue, (near, far) = mproc.Queue(), mproc.Pipe()
    assert path_of(raised(queue.put, Holder())) == f"obj.model.lock: {LOCK}"
    assert path_of(raised(near.send, [Holder()])) == f"obj[0].model.lock: {LOCK}"
    error = raised(queue.put_many, [1, Holder()])
    assert path_of(error) == f"obj.model.lock: {LOCK}"
    assert "at item 1, counted from 0" in notes(error)[2]
    near.close()
    far.close()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes(method):
    ctx = mproc.get_context(method)
    process = ctx.Process(target=echo, args=(1, Holder()))
    assert path_of(raised(process.start)) == f"args[1].model.lock: {LOCK}"
    process = ctx.Process(target=echo, kwargs={"value": Holder()})
    assert path_of(raised(process.start)) == f"kwargs['value'].model.lock: {LOCK}"
    process = ctx.Process(target=functools.partial(echo, Holder()))
    assert path_of(raised(process.start)) == f"target.args[0].model.lock: {LOCK}"
    process = ctx.Process(target=echo)
    process.model = Model()
    assert path_of(raised(process.start)) == f"self.model.lock: {LOCK}"


class Worker(mproc.get_context("spawn").Process):
    def __init__(self):
        super().__init__()
        self.model = Model()
        self.kept = threading.Lock()

    def __getstate__(self):
        return {"model": self.model}


def test_a_process_with_a_state_of_its_own():
    assert path_of(raised(Worker().start)) == f"the process.model.lock: {LOCK}"


def test_a_local_class_of_processes():
    class Local(mproc.get_context("spawn").Process):
        pass

    assert path_of(raised(Local().start)).startswith("the class: ")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_initializers(method):
    ctx = mproc.get_context(method)
    path = f"initargs[1].model.lock: {LOCK}"
    assert path_of(raised(ctx.Pool, 1, echo, (1, Holder()))) == path
    with mproc.ProcessPoolExecutor(1, ctx, echo, (1, Holder())) as executor:
        assert path_of(raised(executor.submit, echo, 1)) == path


def test_tasks_of_a_pool(ctx):
    with ctx.Pool(1) as pool:
        assert path_of(raised(pool.apply, echo, [Holder()])) == f"args[0].model.lock: {LOCK}"
        error = raised(pool.apply, echo, (), {"value": Holder()})
        assert path_of(error) == f"kwds['value'].model.lock: {LOCK}"
        error = raised(pool.apply, lambda: 1)
        assert path_of(error).startswith("func: ")
        assert 'pickler="cloudpickle"' in notes(error)[1]
        items = [1, 2, Holder()]
        error = raised(pool.map, echo, items, 2)
        assert path_of(error) == f"iterable[2].model.lock: {LOCK}"
        assert len(notes(error)) == 2
        assert path_of(raised(pool.map_async(echo, items).get)) == path_of(error)
        assert path_of(raised(list, pool.imap(echo, items, 2))) == path_of(error)
        assert path_of(raised(list, pool.imap_unordered(echo, iter(items)))) == path_of(error)
        path = f"iterable[0][1].model.lock: {LOCK}"
        assert path_of(raised(pool.starmap, echo, [(1, Holder())])) == path
        assert pool.apply(echo, (5,)) == 5


def test_tasks_of_an_executor(ctx):
    with mproc.ProcessPoolExecutor(1, ctx) as executor:
        error = executor.submit(echo, 1, Holder()).exception()
        assert path_of(error) == f"args[1].model.lock: {LOCK}"
        error = executor.submit(echo, value=Holder()).exception()
        assert path_of(error) == f"kwargs['value'].model.lock: {LOCK}"
        assert path_of(executor.submit(lambda: 1).exception()).startswith("fn: ")
        error = raised(list, executor.map(echo, [1, 2, 3, Holder()], chunksize=2))
        assert path_of(error) == f"iterables[0][3].model.lock: {LOCK}"
        assert executor.submit(echo, 5).result() == 5


def test_threads_have_nothing_to_pickle():
    with mproc.pool.ThreadPool(1) as pool:
        error = raised(pool.apply, echo, (threading.Lock(), 2))
        assert not notes(error)
        assert not notes(raised(pool.apply, echo, 5))


def test_results_of_a_pool(ctx):
    with ctx.Pool(1) as pool:
        error = raised(pool.apply, give_holder)
        assert type(error) is MaybeEncodingError
        assert path_of(error) == f"result.model.lock: {LOCK}"
        assert str(error).endswith(f"""Reason: 'TypeError("{LOCK}")'""")
        error = raised(pool.map, give_holder, range(4), 2)
        assert path_of(error).split(".", 1)[1] == f"model.lock: {LOCK}"
        assert path_of(error).startswith(("result[0]", "result[2]"))


def test_results_of_an_executor(ctx):
    with mproc.ProcessPoolExecutor(1, ctx) as executor:
        error = executor.submit(give_holder).exception()
        assert type(error) is TypeError
        assert path_of(error) == f"result.model.lock: {LOCK}"


# ---- exceptions of tasks


def test_an_exception_that_cannot_be_pickled(ctx):
    with ctx.Pool(1) as pool:
        error = raised(pool.apply, raise_lock)
    assert type(error) is MaybeEncodingError
    assert "LookupError('lost', <unlocked _thread.lock" in str(error)
    assert path_of(error) == f"exception.args[1]: {LOCK}"
    assert "in raise_lock" in str(error.__cause__)


def test_an_exception_for_a_future_that_cannot_be_pickled(ctx):
    with mproc.ProcessPoolExecutor(1, ctx) as executor:
        error = executor.submit(raise_lock).exception()
    assert type(error) is TypeError and str(error) == LOCK
    assert "LookupError('lost', <unlocked _thread.lock" in notes(error)[0]
    assert notes(error)[1] == f"exception.args[1]: {LOCK}"
    assert "in raise_lock" in str(error.__cause__)


def check_twice(error):
    assert type(error) is Twice
    assert str(error) == "1 and 2" and error.first == 1
    assert "the reason" in str(error.__cause__) and "in raise_twice" in str(error.__cause__)


def test_an_exception_whose_class_takes_other_arguments(ctx):
    with ctx.Pool(1) as pool:
        check_twice(raised(pool.apply, raise_twice, (1,)))
    with mproc.ProcessPoolExecutor(1, ctx) as executor:
        check_twice(executor.submit(raise_twice, 1).exception())


def test_http_errors_arrive():
    with mproc.get_context("fork").Pool(1) as pool:
        error = raised(pool.apply, raise_http_error)
    assert type(error) is urllib.error.HTTPError
    assert str(error) == "HTTP Error 404: Not Found" and error.code == 404


class Bare(Exception):
    """Its class is kept by it, and can be made of nothing that is sent."""

    def __new__(cls, first, second):
        return super().__new__(cls)

    def __init__(self, first, second):
        super().__init__("bare")
        self.kind = LookupError
        self.inner = Twice(1, 2)


def test_an_exception_with_a_new_of_its_own():
    from mproc._pool import bare

    error = Bare(1, 2)
    error.inner = None
    copy = bare.load(mproc._mproc.dumps(error))
    assert type(copy) is Bare and copy.args == ("bare",) and copy.kind is LookupError
    with pytest.raises(TypeError, match="second"):
        bare.load(mproc._mproc.dumps(Bare(1, 2)))  # what it has cannot be unpickled either
    with pytest.raises(TypeError, match="not an exception: set"):
        bare.load(mproc._mproc.dumps({1}))


# ---- where a map has failed


def test_the_item_of_a_map_is_named(ctx):
    call = functools.partial(fail_at, bad=7)
    note = "fail_at() failed at item 7, counted from 0"
    with ctx.Pool(2) as pool:
        for chunk in (1, 3, 20):
            assert note in notes(raised(pool.map, call, range(10), chunk))
            assert note in notes(raised(list, pool.imap(call, range(10), chunk)))
        error = raised(pool.starmap, fail_at, [(n, 7) for n in range(10)], 4)
        assert note in notes(error) and note in str(error.__cause__)
        assert not notes(raised(pool.apply, fail_at, (7, 7)))


def test_the_item_of_an_executors_map_is_named(ctx):
    call = functools.partial(fail_at, bad=7)
    with mproc.ProcessPoolExecutor(2, ctx) as executor:
        for options in ({}, {"chunksize": 3}, {"chunksize": 3, "buffersize": 2}):
            error = raised(list, executor.map(call, range(10), **options))
            assert notes(error) == ["fail_at() failed at item 7, counted from 0"]


# ---- programs with picklers of their own


def test_another_pickler_says_what_fails(program):
    """The path is found by the pickler in use, which pickles lambdas here."""
    code = (
        "import io, pickle, threading, mproc\n"
        "from mproc import reduction\n"
        "class Own(reduction.ForkingPickler):\n"
        "    def reducer_override(self, obj):\n"
        "        if getattr(obj, '__name__', '') == '<lambda>': return int, (5,)\n"
        "        return NotImplemented\n"
        "    @classmethod\n"
        "    def dumps(cls, obj, protocol=None):\n"
        "        file = io.BytesIO(); cls(file, protocol).dump(obj); return file.getbuffer()\n"
        "class Reducer(reduction.AbstractReducer): ForkingPickler = Own\n"
        "queue = mproc.get_context().SimpleQueue()\n"
        "mproc.get_context().reducer = Reducer()\n"
        "queue.put(lambda: 1)\n"
        "assert queue.get() == 5\n"
        "try: queue.put([lambda: 1, threading.Lock()])\n"
        "except TypeError as error: print(*error.__notes__, sep='\\n')\n"
    )
    assert f"obj[1]: {LOCK}\n" in program.output("-c", code)


def test_dumps_works_as_before():
    with pytest.raises(TypeError) as caught:
        reduction.ForkingPickler.dumps(Holder())
    assert not notes(caught.value)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        reduction.ForkingPickler(io.BytesIO()).dump(lambda: 1)
    assert errands.square(2) == 4


@pytest.mark.parametrize(
    "send",
    [
        lambda what: mproc.Queue().put(what),
        lambda what: mproc.SimpleQueue().put(what),
        lambda what: mproc.Dict().__setitem__("key", what),
        lambda what: mproc.List().append(what),
    ],
    ids=["Queue", "SimpleQueue", "Dict", "List"],
)
def test_an_interrupt_while_the_culprit_is_looked_for(monkeypatch, send):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_culprit, "explain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        send(threading.Lock())
