"""Contexts: which there are, how the default is chosen, and what they offer."""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import threading

import pytest

import mproc
from mproc import context, process

PUBLIC = {
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
}


@pytest.fixture(autouse=True)
def default():
    """Each test finds no start method chosen."""
    before = mproc.get_start_method(allow_none=True)
    mproc.set_start_method(None, force=True)
    yield
    mproc.set_start_method(before, force=True)


def test_the_public_names():
    assert set(mproc.__all__) - {"OwnerDiedError"} <= PUBLIC
    for name in mproc.__all__:
        assert getattr(mproc, name) is not None
    kinds = {
        name
        for name in vars(mproc)
        if not name.startswith("_") and not isinstance(getattr(mproc, name), type(os))
    }
    pytests = {"pytest_load_initial_conftests"}  # which looks for it in the module's names
    assert kinds - set(mproc.__all__) - pytests == {"SUBDEBUG", "SUBWARNING"}


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'mproc' has no attribute 'nothing'"):
        _ = mproc.nothing


def test_main_has_its_name_in_children():
    assert sys.modules["__mp_main__"] is sys.modules["__main__"]


def test_start_methods():
    methods = mproc.get_all_start_methods()
    default = "forkserver" if sys.version_info >= (3, 14) else "fork"
    assert methods[0] == default
    assert sorted(methods) == ["fork", "forkserver", "spawn"]
    assert mproc.get_start_method(allow_none=True) is None
    assert mproc.get_start_method() == default
    assert mproc.get_start_method(allow_none=True) == default


def test_choosing():
    mproc.set_start_method("spawn")
    assert mproc.get_start_method() == "spawn"
    assert type(mproc.get_context()) is context.SpawnContext
    with pytest.raises(RuntimeError, match="context has already been set"):
        mproc.set_start_method("fork")
    mproc.set_start_method("fork", force=True)
    assert mproc.get_start_method() == "fork"
    with pytest.raises(ValueError, match="cannot find context for 'thread'"):
        mproc.set_start_method("thread", force=True)
    assert mproc.get_start_method() == "fork"


def test_get_context_settles_the_default():
    assert mproc.get_context().get_start_method() == mproc.get_all_start_methods()[0]
    with pytest.raises(RuntimeError, match="context has already been set"):
        mproc.set_start_method("spawn")


def test_concrete_contexts(ctx, method):
    assert ctx.get_start_method() == ctx.get_start_method(allow_none=True) == method
    assert ctx.get_context() is ctx
    assert ctx.get_context(method) is ctx
    assert type(ctx).__name__.lower() == f"{method}context"
    assert ctx.Process.__name__.lower() == f"{method}process"
    assert ctx.Process._start_method == method
    for name in (method, None):
        with pytest.raises(ValueError, match="cannot set start method of concrete context"):
            ctx.set_start_method(name)
    with pytest.raises(ValueError, match="cannot find context for 'nothing'"):
        ctx.get_context("nothing")


def send_method(connection):
    connection.send((mproc.get_start_method(), type(mproc.current_process()).__name__))


def send_choice(connection):
    connection.send(mproc.get_start_method(allow_none=True))


def test_the_default_process_follows_the_choice(method):
    mproc.set_start_method(method)
    reader, writer = mproc.Pipe(duplex=False)
    with reader, writer:
        child = mproc.Process(target=send_method, args=(writer,))
        child.start()
        assert reader.recv() == (method, "Process")
        child.join()


def test_a_context_in_use_chooses_nothing(ctx, method):
    """Whoever uses a context of his own leaves the program's choice open; a child has its own."""
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer, contextlib.closing(ctx.Process(target=send_choice, args=(writer,))) as it:
        it.start()
        assert reader.recv() == method
        it.join()
    with ctx.Pool(1) as pool, ctx.Manager() as manager:
        assert pool.apply(abs, (-1,)) == manager.list([1])[0]
    for name in ("Queue", "Lock", "Event", "Condition"):
        getattr(ctx, name)()
    ctx.Value("i")
    assert mproc.get_start_method(allow_none=True) is None
    mproc.set_start_method("spawn")


def test_cpu_count(monkeypatch):
    assert mproc.cpu_count() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    with pytest.raises(NotImplementedError):
        mproc.cpu_count()


def test_errors():
    for name in ("BufferTooShort", "TimeoutError", "AuthenticationError"):
        error = getattr(mproc, name)
        assert issubclass(error, mproc.ProcessError)
        assert getattr(mproc.get_context("fork"), name) is error
        assert pickle.loads(pickle.dumps(error("x"))).args == ("x",)
    assert mproc.TimeoutError is not TimeoutError


def test_set_executable():
    from mproc import spawn

    before = spawn.get_executable()
    try:
        for path in ("/bin/sh", b"/bin/sh", type("P", (), {"__fspath__": lambda s: "/bin/sh"})()):
            mproc.set_executable(path)
            assert spawn.get_executable() == b"/bin/sh"
        mproc.set_executable(None)
        with pytest.raises(ValueError, match=r"sys\.executable is None"):
            spawn.get_command_line()
        with pytest.raises(TypeError):
            mproc.set_executable(3)
    finally:
        mproc.set_executable(before)


def test_freeze_support_does_nothing_here():
    assert mproc.freeze_support() is None
    assert mproc.get_start_method(allow_none=True) is None


def test_set_forkserver_preload():
    from mproc.forkserver import _forkserver

    try:
        for bad in ([1, 2, 3], ["os", None]):
            with pytest.raises(TypeError, match="module_names must be a list of strings"):
                mproc.set_forkserver_preload(bad)
        with pytest.raises(ValueError, match="on_error must be 'ignore', 'warn', or 'fail'"):
            mproc.set_forkserver_preload(["os"], on_error="never")
        mproc.set_forkserver_preload(["os"], on_error="warn")
        assert _forkserver._preload_modules == ["os"]
    finally:
        mproc.set_forkserver_preload(["__main__"])


def test_spawning_popen_is_of_one_thread():
    popen, seen = object(), []
    context.set_spawning_popen(popen)
    try:
        thread = threading.Thread(target=lambda: seen.append(context.get_spawning_popen()))
        thread.start()
        thread.join()
        assert context.get_spawning_popen() is popen
        assert context.assert_spawning(3) is None
    finally:
        context.set_spawning_popen(None)
    assert seen == [None]
    with pytest.raises(RuntimeError, match="int objects should only be shared between processes"):
        context.assert_spawning(3)


# ---- pickling


class Point:
    def __init__(self, x):
        self.x = x


def test_reducer():
    assert mproc.reducer is sys.modules["mproc.reduction"]
    assert mproc.get_context("fork").reducer is mproc.reducer
    other = type("Other", (mproc.reducer.AbstractReducer,), {})
    try:
        mproc.get_context("fork").reducer = other
        assert mproc.get_context("spawn").reducer is other
    finally:
        del context.reduction


def test_forking_pickler():
    from mproc.reduction import ForkingPickler

    ForkingPickler.register(Point, lambda point: (Point, (point.x + 1,)))
    try:
        data = ForkingPickler.dumps(Point(1))
        assert isinstance(data, memoryview)
        assert ForkingPickler.loads(data).x == 2
        file = io.BytesIO()
        mproc.reducer.dump(Point(5), file, 2)
        assert pickle.loads(file.getvalue()).x == 6
        reader, writer = mproc.Pipe(duplex=False)
        with reader, writer:
            writer.send(Point(7))
            assert reader.recv().x == 8
    finally:
        del mproc._mproc.reducers[Point]


def test_methods_and_partials_are_picklable():
    from functools import partial

    from mproc.reduction import ForkingPickler

    for function in ([1, 2].index, list.append, partial(int, base=2), int.__add__):
        copy = ForkingPickler.loads(ForkingPickler.dumps(function))
        assert type(copy) is type(function)


# ---- the cost of an import


def test_importing_starts_and_loads_next_to_nothing():
    program = """
import os, sys
before = set(sys.modules)
fds = os.listdir('/proc/self/fd')
import mproc
assert os.listdir('/proc/self/fd') == fds
heavy = {'threading', 'pickle', 'socket', 'logging', 'tempfile', 'subprocess', 'struct',
         'selectors', 'weakref', 'signal', 'ctypes', 'mproc._mproc', 'mproc.queues'}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    folder = os.path.dirname(os.path.dirname(mproc.__file__))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"


def test_original_dir():
    assert os.getcwd() == process.ORIGINAL_DIR or os.path.isabs(process.ORIGINAL_DIR)
