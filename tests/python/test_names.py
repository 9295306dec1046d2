"""Names that other packages import or use, and that do what they do in the standard library."""

import copyreg
import importlib
import multiprocessing
import pkgutil
import queue
from typing import ClassVar

import pytest

import mproc
from mproc import _mproc, context, queues, reduction, shared_memory, spawn
from mproc.reduction import ForkingPickler

# ---- modules


def test_submodules_are_there_without_an_import(program):
    program.write(
        "main.py",
        """
import sys
import mproc
before = {name for name in sys.modules if name.startswith("mproc.")}
for name in sorted(mproc._SUBMODULES):
    assert getattr(mproc, name) is sys.modules["mproc." + name]
print(sorted(before & {"mproc.reduction", "mproc.pool", "mproc.util"}))
try:
    mproc.nothing
except AttributeError as error:
    print(error)
""",
    )
    assert program.output("main.py") == "[]\nmodule 'mproc' has no attribute 'nothing'\n"


def test_submodules_by_the_other_name(program):
    program.write(
        "main.py",
        """
import mproc
mproc.install()
import multiprocessing.queues
import multiprocessing as mp
print(mp.connection.wait([], 0), mp.util.is_exiting(), mp.context.reduction is mp.reduction)
""",
    )
    assert program.output("main.py") == "[] False True\n"


DEFINED = ("multiprocessing", "concurrent.futures")  # in which packages


@pytest.mark.parametrize("name", [*sorted(mproc._SUBMODULES - {"dummy"}), "context"])
def test_dir_lists_what_is_imported_late(name):
    ours = importlib.import_module(f"mproc.{name}")
    theirs = importlib.import_module(f"multiprocessing.{name}")
    listed = dir(ours)
    assert sorted(listed) == listed
    for known in dir(theirs):
        module = getattr(getattr(theirs, known), "__module__", None) or ""
        if module.startswith(DEFINED) and hasattr(ours, known):
            assert known in listed


def test_dir_of_the_package():
    assert set(mproc.__all__) | {"install", "Program", "reducer"} <= set(dir(mproc))
    for name in dir(mproc):
        assert hasattr(mproc, name), name


def test_all_modules_of_the_standard_library_are_there():
    standard = {module.name for module in pkgutil.iter_modules(multiprocessing.__path__)}
    assert standard - {"context", "popen_spawn_win32"} == mproc._SUBMODULES


NOT_EVERYWHERE = ("__main__", "_mproc", "popen_spawn_win32")


def test_each_module_beside_the_package_says_what_it_exports():
    for module in pkgutil.iter_modules(mproc.__path__):
        if not module.ispkg and module.name not in NOT_EVERYWHERE:
            exported = importlib.import_module(f"mproc.{module.name}").__all__
            assert isinstance(exported, list), module.name


def test_each_module_beside_the_package_is_imported_without_extras(program):
    program.write(
        "main.py",
        """
import importlib, pathlib, sys
sys.modules["cloudpickle"] = sys.modules["joblib"] = None  # as if they were not installed
import mproc
folder = pathlib.Path(mproc.__file__).parent
names = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__", "popen_spawn_win32"}
print(sorted(name for name in names if not importlib.import_module(f"mproc.{name}")))
""",
    )
    assert program.output("main.py") == "[]\n"


def test_spawn_knows_that_this_is_not_windows():
    assert spawn.WINEXE is spawn.WINSERVICE is False


# ---- queues


def test_exceptions_of_queues():
    from mproc.queues import Empty, Full, _sentinel

    assert (Empty, Full) == (queue.Empty, queue.Full)
    assert queues._sentinel is _sentinel is not None
    q = mproc.Queue(1)
    with pytest.raises(Empty):
        q.get_nowait()
    q.put(1)
    with pytest.raises(Full):
        q.put_nowait(2)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        queues.nothing  # noqa: B018


def test_queues_have_what_their_subclasses_use():
    assert queues._ForkingPickler is ForkingPickler
    for name in ("Finalize", "debug", "info", "is_exiting", "register_after_fork"):
        assert getattr(queues, name) is getattr(mproc.util, name)


def test_queues_do_not_import_queue(program):
    program.write("main.py", "import sys, mproc\nmproc.Queue()\nprint('queue' in sys.modules)\n")
    assert program.output("main.py") == "False\n"


# ---- shared memory


def test_the_mmap_of_a_segment():
    shm = shared_memory.SharedMemory(create=True, size=5000)
    try:
        assert len(shm._mmap) == shm.size
        shm._mmap[:3] = b"abc"
        assert bytes(shm.buf[:3]) == b"abc"
        shm.buf[3] = 100
        assert shm._mmap is shm._mmap and shm._mmap[3] == 100
        view = memoryview(shm._mmap)
        with pytest.raises(BufferError):
            shm.close()
        view.release()
        shm.close()
        assert shm._mmap is None
        other = shared_memory.SharedMemory(shm.name)
        assert other._mmap[:4] == b"abcd"
        other.close()
    finally:
        shm.unlink()


# ---- pickling


class Thing:
    pass


@pytest.fixture
def plain_pickling():
    kept = dict(_mproc.reducers)
    yield
    mproc.get_context().reducer = reduction
    _mproc.reducers.clear()
    _mproc.reducers.update(kept)


def test_extra_reducers_are_what_was_registered(plain_pickling):
    ForkingPickler.register(Thing, lambda thing: (int, (5,)))
    assert Thing in ForkingPickler._extra_reducers
    ours, theirs = mproc.Pipe()
    ours.send(Thing())
    assert theirs.recv() == 5
    ForkingPickler._extra_reducers[Thing] = lambda thing: (int, (6,))
    ours.send(Thing())
    assert theirs.recv() == 6
    assert ForkingPickler.loads(ForkingPickler.dumps(Thing())) == 6
    ForkingPickler._extra_reducers.pop(Thing)
    ours.send(Thing())
    assert type(theirs.recv()) is Thing
    assert Thing not in copyreg.dispatch_table
    ours.close()
    theirs.close()


class OwnPickler(ForkingPickler):
    """Sends things as their classes' names, which a reader can tell."""

    told: ClassVar[list[str]] = []

    @classmethod
    def dumps(cls, obj, protocol=None):
        cls.told.append(type(obj).__name__)
        return super().dumps(obj, 2)

    @staticmethod
    def loads(data, **options):
        OwnPickler.told.append("loads")
        return ForkingPickler.loads(data, **options)


class OwnReducer(reduction.AbstractReducer):
    ForkingPickler = OwnPickler
    register = OwnPickler.register


def test_a_reducer_pickles_all_messages(plain_pickling):
    ctx = mproc.get_context("fork")
    ctx.reducer = OwnReducer()
    assert type(context.reduction) is OwnReducer
    assert type(mproc.reducer) is OwnReducer is type(mproc.get_context("spawn").reducer)
    OwnPickler.told.clear()
    ours, theirs = mproc.Pipe()
    ours.send(Thing())
    assert theirs.recv_bytes()[:2] == b"\x80\x02"  # the reducer's protocol
    ours.send(Thing())
    assert type(theirs.recv()) is Thing
    q = ctx.Queue()
    q.put((1, Thing()))
    assert type(q.get()[1]) is Thing
    assert OwnPickler.told == ["Thing", "Thing", "loads", "tuple", "loads"]
    ctx.reducer = reduction
    ours.send(Thing())
    assert type(theirs.recv()) is Thing and len(OwnPickler.told) == 5
    assert context.reduction is reduction
    ours.close()
    theirs.close()


def answer(end):
    end.send(Thing())


@pytest.mark.parametrize(("method", "told"), [
    ("fork", []), ("spawn", ["SpawnProcess"]), ("forkserver", ["ForkServerProcess"]),
])  # fmt: skip
def test_a_reducer_pickles_processes(plain_pickling, method, told):
    ctx = mproc.get_context(method)
    ctx.reducer = OwnReducer()
    OwnPickler.told.clear()
    ours, theirs = ctx.Pipe()
    process = ctx.Process(target=answer, args=(theirs,))
    process.start()
    protocol = ours.recv_bytes()[1]
    process.join()
    assert process.exitcode == 0
    assert OwnPickler.told == told
    # A forked child goes on with its parent's reducer, others set their own.
    assert (protocol == 2) == (method == "fork")
    ours.close()
    theirs.close()


def test_another_dumps_and_loads(plain_pickling, monkeypatch):
    told = []

    def dumps(obj, protocol=None):
        told.append("dumps")
        return b"whatever"

    def loads(data):
        told.append(bytes(data))
        return 7

    ours, theirs = mproc.Pipe()
    with monkeypatch.context() as patched:
        patched.setattr(ForkingPickler, "dumps", dumps)
        patched.setattr(ForkingPickler, "loads", loads)
        ours.send(Thing())
        assert theirs.recv() == 7
        q = mproc.Queue()
        q.put(Thing())
        assert q.get() == 7
    assert told == ["dumps", b"whatever"] * 2
    ours.send(Thing())
    assert type(theirs.recv()) is Thing and len(told) == 4
    ours.close()
    theirs.close()


def test_a_dumps_that_fails(plain_pickling, monkeypatch):
    def dumps(obj, protocol=None):
        raise LookupError("not this one")

    ours, theirs = mproc.Pipe()
    with monkeypatch.context() as patched:
        patched.setattr(ForkingPickler, "dumps", dumps)
        with pytest.raises(LookupError, match="not this one"):
            ours.send(Thing())
        patched.setattr(ForkingPickler, "dumps", lambda obj, protocol=None: 5)
        with pytest.raises(TypeError, match="bytes-like object is required"):
            ours.send(Thing())
    ours.send(Thing())
    patched_loads = lambda data: 1 / 0  # noqa: E731
    with monkeypatch.context() as patched:
        patched.setattr(ForkingPickler, "loads", patched_loads)
        with pytest.raises(ZeroDivisionError):
            theirs.recv()
    ours.close()
    theirs.close()


def test_a_reducer_without_a_pickler_is_refused(plain_pickling):
    with pytest.raises(AttributeError, match="ForkingPickler"):
        mproc.get_context().reducer = Thing()
    assert context.reduction is reduction
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        context.nothing  # noqa: B018


# ---- private names that programs use


def test_what_programs_call_to_send_bytes_without_checks():
    reader, writer = mproc.Pipe(duplex=False)
    with reader, writer:
        writer._check_closed()
        writer._check_writable()
        writer._send_bytes(ForkingPickler.dumps([1, 2]))
        assert reader._poll(60.0)
        reader._check_readable()
        file = reader._recv_bytes()
        assert ForkingPickler.loads(file.getbuffer()) == [1, 2]
        with pytest.raises(OSError, match="read-only"):
            reader._check_writable()
        with pytest.raises(OSError, match="write-only"):
            writer._check_readable()
        with pytest.raises(OSError, match="write-only"):
            writer._recv_bytes()
    for end in (reader, writer):
        end._check_readable()
        end._check_writable()
        with pytest.raises(OSError, match="closed"):
            end._check_closed()


def test_modules_have_the_names_that_programs_import():
    from mproc import connection, managers, util

    assert connection._ForkingPickler is ForkingPickler
    assert util._exiting is False
    assert managers.BaseProxy._address_to_local == {}
    assert managers.listener_client == {
        "pickle": (connection.Listener, connection.Client),
        "xmlrpclib": (connection.XmlListener, connection.XmlClient),
    }


def test_a_program_replaces_how_managers_connect(monkeypatch):
    from mproc import managers

    monkeypatch.setattr(managers, "listener_client", {"pickle": ("listener", "client")})
    manager = managers.BaseManager()
    assert (manager._Listener, manager._Client) == ("listener", "client")


def test_chunks_of_an_executor():
    from mproc import futures

    chunks = list(futures._get_chunks([1, 2, 3], "abcd", chunksize=2))
    assert chunks == [((1, "a"), (2, "b")), ((3, "c"),)]
    assert futures._process_chunk(lambda x, y: y * x, chunks[0]) == ["a", "bb"]
    assert list(futures._chain_from_iterable_of_lists([[1, 2], [], [3]])) == [1, 2, 3]
    assert list(futures._get_chunks(chunksize=3)) == []


def test_workers_of_an_executor_that_are_started_early(method):
    from mproc import ProcessPoolExecutor

    with ProcessPoolExecutor(3, mproc.get_context(method)) as executor:
        seen = []
        for _ in range(4):
            executor._adjust_process_count()
            seen.append(len(executor._processes))
        executor._start_executor_manager_thread()
        assert seen == ([3, 3, 3, 3] if method == "fork" else [1, 2, 3, 3])
        assert executor._executor_manager_thread.is_alive()
        early = set(executor._processes)
        assert list(executor.map(abs, range(-6, 0))) == [6, 5, 4, 3, 2, 1]
        assert set(executor._processes) == early
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor._adjust_process_count()
