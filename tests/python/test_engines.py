"""Pools on engines: everything but the engines, in whose place is one of this process."""

import functools
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, wait

import errands
import pytest

import mproc
from mproc import _mproc, context, engines
from mproc.engines import EngineError, WorkerLostError, node, session
from mproc.engines.cluster import Cluster, NodeInfo
from mproc.futures import BrokenProcessPool
from mproc.managers import SyncManager
from mproc.pool import TaskTimeoutError

SECONDS = 60


class Here(Cluster):
    """An engine whose nodes are names in this process; a lost one fails all its exchanges."""

    name = "here"
    ahead = 0.05

    def __init__(self, nodes=1, slots=2, lanes=2):
        self.infos = {n: NodeInfo(f"host-{n}", slots, lanes) for n in range(nodes)}
        self.calls = []
        self.gone = None

    def open(self):
        return self

    def nodes(self):
        if self.gone is not None:
            raise self.gone
        return dict(self.infos)

    def lose(self, key):
        del self.infos[key]

    def call(self, key, message):
        self.calls.append(key)
        future = Future()
        threading.Thread(target=self._answer, args=(future, message), daemon=True).start()
        return future

    def _answer(self, future, message):
        try:
            future.set_result(self.exchange(message))
        except BaseException as error:
            future.set_exception(error)

    exchange = staticmethod(node.exchange)


def square(x):
    return x * x


def fail(x):
    raise KeyError(x)


def die(x=0):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(kind):
    raise kind(3)


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def lambda_of(x):
    return lambda: x


@pytest.fixture(autouse=True)
def sessions_end(nothing_left):
    """Every pool ends its session at the nodes."""
    yield
    deadline = time.monotonic() + 10
    while node._sessions and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not node._sessions


@pytest.fixture
def here():
    return Here()


@pytest.fixture
def pool(here):
    with mproc.Pool(engine=here) as pool:
        yield pool
    pool.join()


def test_every_method_of_a_pool(pool):
    assert pool.map(square, range(100)) == [x * x for x in range(100)]
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.apply(divmod, (7, 2)) == (3, 1)
    assert list(pool.imap(square, iter(range(50)), 7)) == [x * x for x in range(50)]
    assert sorted(pool.imap_unordered(square, range(50))) == [x * x for x in range(50)]
    told = []
    result = pool.map_async(square, [3], callback=told.append)
    result.wait(SECONDS)
    assert result.successful() and told == [[9]]


def test_exception_has_its_traceback_and_the_number_of_the_item(pool):
    with pytest.raises(KeyError) as caught:
        pool.map(fail, range(5, 9), 4)
    assert "raise KeyError(x)" in str(caught.value.__cause__)
    assert any("item 0," in note for note in caught.value.__notes__)


def test_result_that_cannot_be_pickled(pool):
    with pytest.raises(mproc.pool.MaybeEncodingError):
        pool.apply(lambda_of, (1,))


def test_interrupt_while_a_result_is_read_loses_none(pool, monkeypatch):
    """It is the caller's, and what has come is booked all the same."""
    interrupts = []

    def read(message):
        if interrupts and threading.current_thread() is threading.main_thread():
            raise interrupts.pop()
        return loads(message)

    loads = _mproc.loads
    monkeypatch.setattr(_mproc, "loads", read)
    for number in (3, None):  # the second one fails
        result = pool._apply_async(square, (number,), None)  # without a helper, which would pump
        interrupts.append(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            pool._pump_until(lambda result=result: result._ready)
        assert result.ready() and result.successful() == (number == 3)
    with pytest.raises(TypeError):
        result.get(0)


def test_task_that_kills_its_worker_is_lost_alone(pool):
    results = [pool.apply_async(die if i == 3 else square, (i,)) for i in range(10)]
    with pytest.raises(WorkerLostError) as caught:
        results[3].get(SECONDS)
    error = caught.value
    assert error.host and error.pid > 0 and "SIGKILL" in error.reason
    assert error.exitcode == -signal.SIGKILL
    assert isinstance(error, mproc.pool.WorkerDiedError)
    assert [r.get(SECONDS) for i, r in enumerate(results) if i != 3] == [
        i * i for i in range(10) if i != 3
    ]


def test_options_hold_on_the_node(pool, tmp_path):
    with pytest.raises(TaskTimeoutError):
        pool.options(timeout=0.1).apply(time.sleep, (SECONDS,))
    assert pool.options(retries=2).apply(die_twice, (str(tmp_path / "tries"),)) == 3


def die_twice(path):
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        die()
    return os.path.getsize(path)


def test_one_process_does_one_task_at_a_time():
    here = Here(nodes=3)
    with mproc.Pool(1, engine=here) as pool:
        assert len(set(pool.map(nap, [0.001] * 20, 1))) == 1
    pool.join()


def test_tasks_go_to_all_nodes():
    here = Here(nodes=2)
    with mproc.Pool(engine=here) as pool:
        assert len(pool._pool) == 4
        pool.map(nap, [0.01] * 40, 1)
    pool.join()
    assert set(here.calls) == {0, 1}


def test_node_with_one_lane_gets_new_tasks_while_one_runs():
    here = Here(lanes=1)
    with mproc.Pool(engine=here) as pool:
        long = pool.apply_async(time.sleep, (SECONDS,))
        assert pool.apply_async(square, (3,)).get(SECONDS / 2) == 9
        assert not long.ready()
    pool.join()


def lose_while_running(reruns, options):
    """Lose the first node while both run a map; return what the map ended with.

    The map takes longer than the engine needs to see the loss (dispatch.WATCH).
    """
    here = Here(nodes=2, slots=1)
    here.reruns = reruns
    with mproc.Pool(engine=here) as pool:
        result = pool.options(**options).map_async(nap, [0.05] * 60, 1)
        while not {0, 1} <= set(here.calls):
            time.sleep(0.01)
        here.lose(0)
        try:
            return result.get(SECONDS)
        except WorkerLostError as error:
            return error
        finally:
            pool.terminate()
            pool.join()
            end_sessions()  # the lost node is not told


def end_sessions():
    for name, there in list(node._sessions.items()):
        node._end(name, there)


def test_tasks_of_a_lost_node_are_done_by_another_one():
    assert len(lose_while_running(3, {})) == 60


def test_retries_0_forbids_that():
    error = lose_while_running(3, {"retries": 0})
    assert isinstance(error, WorkerLostError) and error.host == "host-0"
    assert "does not list" in error.reason


def test_retries_hold_where_the_engine_has_none():
    assert isinstance(lose_while_running(0, {}), WorkerLostError)
    assert len(lose_while_running(0, {"retries": 1})) == 60


def test_engine_that_ends_fails_what_is_open(here):
    with mproc.Pool(engine=here) as pool:
        result = pool.map_async(time.sleep, [SECONDS] * 4, 1)
        here.gone = EngineError("the scheduler is gone")
        with pytest.raises(EngineError, match="is gone"):
            result.get(SECONDS)
        with pytest.raises(ValueError, match="not running"):
            pool.apply(square, (1,))
    pool.join()


def test_no_worker_left(here):
    here.patience = 0.2
    with mproc.Pool(engine=here) as pool:
        result = pool.apply_async(time.sleep, (SECONDS,))
        while not here.calls:
            time.sleep(0.01)
        here.lose(0)
        with pytest.raises((EngineError, WorkerLostError)):
            result.get(SECONDS)
        with pytest.raises((EngineError, ValueError), match=r"no worker for 0.2 s|not running"):
            pool.apply_async(square, (1,)).get(SECONDS)
    pool.join()
    end_sessions()


def test_no_worker_at_all():
    here = Here(nodes=0)
    here.patience = 0.1
    with pytest.raises(EngineError, match="no worker"):
        mproc.Pool(engine=here)


def test_node_of_another_version(here):
    def exchange(message):
        name, _, *rest = _mproc.loads(message)
        return node.exchange(_mproc.dumps((name, ("0.0", "2.7"), *rest)))

    here.exchange = exchange
    with mproc.Pool(engine=here) as pool, pytest.raises(EngineError, match=r"Python 2.7"):
        pool.apply(square, (1,))
    pool.join()


def test_node_without_mproc(here):
    def exchange(message):
        raise ModuleNotFoundError("No module named 'mproc'")

    here.exchange = exchange
    with mproc.Pool(engine=here) as pool, pytest.raises(EngineError, match="'mproc'"):
        pool.apply(square, (1,))
    pool.join()


def test_node_that_has_forgotten_the_session(here):
    here.reruns = 1
    with mproc.Pool(engine=here) as pool:
        assert pool.apply(square, (2,)) == 4
        end_sessions()
        assert pool.apply(square, (3,)) == 9
    pool.join()


def test_agent_that_dies(here):
    with mproc.Pool(engine=here) as pool:
        with pytest.raises(WorkerLostError, match="agent"):
            pool.apply(kill_parent)
        assert pool.apply(square, (3,)) == 9
    pool.join()


def kill_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(SECONDS)


def test_task_larger_than_a_message(here):
    here.limit = 1000
    with mproc.Pool(engine=here) as pool:
        with pytest.raises(ValueError, match="larger than a message"):
            pool.apply(len, (bytes(2000),))
        assert pool.apply(len, (b"x",)) == 1
    pool.join()


def test_initializer_runs_in_each_worker(here):
    with mproc.Pool(2, os.putenv, ("MPROC_TEST", "1"), engine=here) as pool:
        assert pool.apply(square, (3,)) == 9
    pool.join()


def begin_badly(path, good):
    """Succeed so often, and fail from then on."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) > good:
        raise KeyError("no model")


def test_initializer_that_fails_is_named_with_its_exception(here, tmp_path):
    """And it is not begun again and again: a pool is not to be expected."""
    path = tmp_path / "begun"
    with mproc.Pool(2, begin_badly, (path, 0), engine=here) as pool:
        with pytest.raises(
            EngineError, match=r"initializer begin_badly .*KeyError\('no model'\)"
        ) as e:
            pool.map(square, range(100))
        assert isinstance(e.value.__cause__, KeyError)
        assert "in begin_badly" in str(e.value.__cause__.__cause__)
        with pytest.raises(ValueError, match="not running"):
            pool.apply(square, (1,))
    pool.join()
    assert path.stat().st_size <= 6


def test_initializer_that_fails_later(here, tmp_path):
    """One worker has begun; those that are to take its place never do."""
    path = tmp_path / "begun"
    with mproc.Pool(1, begin_badly, (path, 1), maxtasksperchild=1, engine=here) as pool:
        assert pool.apply(square, (2,)) == 4
        with pytest.raises(EngineError, match="begin_badly"):
            pool.map(square, range(10), 1)
    pool.join()
    assert path.stat().st_size <= 1 + 8


def test_initializer_of_an_executor_that_fails(here, tmp_path):
    path = tmp_path / "begun"
    how = {"initializer": begin_badly, "initargs": (path, 0), "engine": here}
    with mproc.ProcessPoolExecutor(2, **how) as executor:
        with pytest.raises(BrokenProcessPool) as caught:
            executor.submit(square, 1).result(SECONDS)
        assert "begin_badly" in str(caught.value.__cause__)
        assert isinstance(caught.value.__cause__.__cause__, KeyError)
    assert path.stat().st_size <= 6


class UnfitError(Exception):
    def __reduce__(self):
        raise TypeError("not to be pickled")


def begin_with_what_cannot_be_pickled():
    raise UnfitError("so it is")


def test_initializer_whose_exception_cannot_be_pickled(here):
    said = r"cannot_be_pickled .*UnfitError\('so it is'\)"
    with (
        mproc.Pool(1, begin_with_what_cannot_be_pickled, engine=here) as pool,
        pytest.raises(EngineError, match=said),
    ):
        pool.apply(square, (1,))
    pool.join()


def begin_by_chance(path):
    """Fail only for a worker that takes the place of the first two."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) == 3:
        raise KeyError("once")


def test_initializer_that_fails_now_and_then(here, tmp_path):
    """As on one machine, another worker takes the place of that one."""
    path = tmp_path / "begun"
    with mproc.Pool(2, begin_by_chance, (path,), maxtasksperchild=1, engine=here) as pool:
        assert pool.map(square, range(12), 1) == [x * x for x in range(12)]
    pool.join()


def test_close_does_what_is_open(here):
    pool = mproc.Pool(engine=here)
    result = pool.map_async(nap, [0.01] * 20, 1)
    pool.close()
    pool.join()
    assert len(result.get(0)) == 20


def test_executor_that_heals(here):
    with mproc.ProcessPoolExecutor(engine=here, heal=True) as executor:
        futures = [executor.submit(die if i == 3 else square, i) for i in range(10)]
        assert not wait(futures, SECONDS).not_done
        assert [f.result() for i, f in enumerate(futures) if i != 3] == [
            i * i for i in range(10) if i != 3
        ]
        with pytest.raises(WorkerLostError):
            futures[3].result()
        assert list(executor.map(square, range(100), chunksize=9)) == [x * x for x in range(100)]
        with pytest.raises(TaskTimeoutError):
            executor.options(timeout=0.1).submit(time.sleep, SECONDS).result()


def test_executor_breaks_as_the_standard_one_does(here, tmp_path):
    all_are_there = tmp_path / "go"
    with mproc.ProcessPoolExecutor(engine=here) as executor:
        futures = [executor.submit(errands.do_when_there, all_are_there, die)]
        futures += [executor.submit(time.sleep, SECONDS) for _ in range(3)]
        all_are_there.touch()
        assert not wait(futures, SECONDS).not_done
        for future in futures:
            assert isinstance(future.exception(), BrokenProcessPool)
        assert isinstance(futures[0].exception().__cause__, WorkerLostError)
        with pytest.raises(BrokenProcessPool):
            executor.submit(square, 1)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_process_is_the_result_of_a_task_of_an_executor(here, kind):
    with mproc.ProcessPoolExecutor(engine=here) as executor:
        assert repr(executor.submit(leave, kind).exception(SECONDS)) == repr(kind(3))
        assert executor.submit(square, 3).result(SECONDS) == 9


@pytest.fixture
def everywhere(here):
    """An engine that is chosen for all pools."""
    mproc._current.choose_engine(here)
    yield here
    mproc._current.choose_engine(None)


def test_pool_of_threads_stays_here(everywhere):
    with mproc.pool.ThreadPool(1) as pool:
        assert pool.apply(os.getpid) == os.getpid()
    assert not everywhere.calls


def put(queue, x):
    queue.put(x)


def test_objects_of_a_manager_are_reached_over_tcp(everywhere):
    with mproc.Manager() as manager:
        assert manager.address[0] == "127.0.0.1"
        queue = manager.Queue()
        with mproc.Pool() as pool:
            pool.starmap(put, [(queue, 1), (queue, 2)])
        pool.join()
        assert sorted([queue.get(), queue.get()]) == [1, 2]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_objects_of_a_manager_with_a_key_of_its_own(everywhere, method):
    """In the arena, and at a server that the program has connected to."""
    ctx = mproc.get_context(method)
    for start in (True, False):
        with SyncManager(authkey=b"a key of its own", ctx=ctx) as server:
            manager = server
            if not start:
                manager = SyncManager(address=server.address, authkey=b"a key of its own")
                manager.connect()
            queue = manager.Queue()
            with mproc.Pool() as pool:
                pool.starmap(put, [(queue, 1), (queue, 2)])
            pool.join()
            assert sorted([queue.get(), queue.get()]) == [1, 2]


LOCAL = {
    "Dict": lambda: mproc.Dict(),
    "List": lambda: mproc.List(),
    "Set": lambda: mproc.Set(),
    "Namespace": lambda: mproc.Namespace(),
    "Buffer": lambda: mproc.Buffer(8),
}


@pytest.mark.parametrize("kind", LOCAL)
def test_object_of_this_machine_is_an_error_that_names_it(pool, kind):
    with pytest.raises(TypeError, match=rf"{kind} objects are in the memory of this machine"):
        pool.apply(print, (LOCAL[kind](),))


def test_shared_memory_stays_here(pool):
    memory = mproc.shared_memory.SharedMemory(create=True, size=8)
    try:
        with pytest.raises(TypeError, match="SharedMemory objects are in the memory"):
            pool.apply(print, (memory,))
    finally:
        memory.close()
        memory.unlink()


def test_initializer_is_given_nothing_of_this_machine(here):
    with pytest.raises(TypeError, match="Buffer objects are in the memory"):
        mproc.Pool(1, print, (mproc.Buffer(8),), engine=here)


def test_function_has_nothing_of_this_machine(pool):
    with pytest.raises(TypeError, match="Buffer objects are in the memory"):
        pool.apply(functools.partial(print, mproc.Buffer(8)))


def test_pipe_stays_here(pool):
    ours, theirs = mproc.Pipe()
    with ours, theirs, pytest.raises(TypeError, match="Connection objects are open on this"):
        pool.apply(print, (ours,))


def test_array_of_the_arena_stays_here(pool):
    pytest.importorskip("numpy")
    with pytest.raises(TypeError, match="in the memory of this machine"):
        pool.apply(print, (mproc.empty(8),))


def test_engine_local_is_this_machine():
    with mproc.Pool(1, engine="local") as pool:
        assert isinstance(pool._tasks, _mproc.Pool)


def test_choice_says_what_is_wrong():
    with pytest.raises(ValueError, match="dask, ray, mpi"):
        engines.Choice("spark")
    with pytest.raises(ValueError, match="at least 1"):
        engines.Choice("dask", workers=0)


@pytest.mark.parametrize(
    "name, package", [("dask", "distributed"), ("ray", "ray"), ("mpi", "mpi4py")]
)
def test_engine_that_is_not_installed(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"mproc.engines.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"mproc\[{name}\]"):
        mproc.Pool(engine=name)


def test_engine_whose_package_cannot_be_imported(tmp_path, monkeypatch):
    """It is installed, so to install it once more is no advice."""
    room = tmp_path / "mpi4py"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "MPI.py").write_text("raise ImportError('libmpi.so.12: cannot open shared object')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mpi4py"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "mproc.engines.mpi", raising=False)
    with pytest.raises(ImportError, match=r"cannot be imported: libmpi.so.12") as caught:
        mproc.Pool(engine="mpi")
    assert "pip install" not in str(caught.value)
    for name in ("mpi4py", "mpi4py.MPI"):
        sys.modules.pop(name, None)


def test_script_reaches_a_machine_that_lacks_its_files(tmp_path, monkeypatch):
    there = tmp_path / "there"
    data = {
        "files": {"script.py": b"import beside\nX = beside.X\n", "beside.py": b"X = 5\n"},
        "sys_path": list(sys.path),
        "init_main_from_path": "/no such directory/script.py",
        "dir": "/no such directory",
    }
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        session.adopt(data, str(there))
        assert sys.modules["__main__"].X == 5
    finally:
        sys.modules.clear()
        sys.modules.update(modules)


STANDARD = """
import multiprocessing
import sys
from mproc.engines import session
if sys.argv[1] == "adopt":
    assert multiprocessing.__file__ != __import__("mproc").__file__
    data = {"files": {}, "sys_path": sys.path, "installed": True}
    session.adopt(data, "")
    import multiprocessing
    print(multiprocessing.Pool.__module__)
else:
    print(session.of_program()["installed"])
"""


def test_multiprocessing_is_on_the_nodes_what_it_is_in_the_program(program):
    path = program.write("standard.py", STANDARD)
    assert program.output(path, "tell") == "False\n"
    assert program.output("-m", "mproc", path, "tell") == "True\n"
    assert program.output(path, "adopt") == "mproc.context\n"


def test_script_without_a_guard(program):
    """It is run as far as its pool: what it has defined until then is there, and nothing else."""
    source = (
        "import mproc\n"
        "def before(): pass\n"
        "try:\n"
        "    with mproc.Pool(1) as pool: print('a pool')\n"
        "except Exception: print('an exception')\n"
        "def behind(): pass\n"
        "print('behind')\n"
    )
    path = program.write(
        "unguarded.py",
        "import sys\n"
        "from mproc.engines import session\n"
        f"data = {{'files': {{'m.py': {source.encode()!r}}}, 'sys_path': sys.path,\n"
        "        'init_main_from_path': '/none/m.py'}\n"
        "session.adopt(data, sys.argv[1])\n"
        "main = sys.modules['__main__']\n"
        "assert main is sys.modules['__mp_main__']\n"
        "print(hasattr(main, 'before'), hasattr(main, 'behind'))\n",
    )
    assert program.output(path, str(program.folder / "room")) == "True False\n"


def test_what_is_pickled_in_a_child_stays_on_this_machine():
    """It has been forked while its parent pickled a task."""
    with context.Leaving():
        assert context.is_leaving()
        fork = mproc.get_context("fork")
        child = fork.Process(target=lambda: sys.exit(context.is_leaving()))
        child.start()
    child.join(60)
    assert child.exitcode == 0
