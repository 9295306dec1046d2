"""util: finalizers, at-fork callbacks, logging, descriptors."""

import io
import logging
import os
import sys

import pytest

import mproc
from mproc import process, util


@pytest.fixture(autouse=True)
def registry():
    """Each test has the finalizers to itself."""
    backup = util._finalizer_registry.copy()
    util._finalizer_registry.clear()
    yield
    assert not util._finalizer_registry
    util._finalizer_registry.update(backup)


class Thing:
    pass


# ---- finalizers


def test_a_finalizer_runs_when_its_object_goes():
    ran = []
    thing = Thing()
    finalizer = util.Finalize(thing, ran.append, args=(1,))
    assert finalizer.still_active()
    assert repr(finalizer) == "<Finalize object, callback=append, args=(1,), obj=Thing>"
    del thing
    assert ran == [1] and not finalizer.still_active()
    assert repr(finalizer) == "<Finalize object, dead>"


def test_a_finalizer_runs_once():
    ran = []
    thing = Thing()
    finalizer = util.Finalize(thing, lambda x, y: ran.append((x, y)) or "said", (1,), {"y": 2})
    assert finalizer() == "said"
    assert finalizer() is None
    del thing
    assert ran == [(1, 2)]


def test_a_cancelled_finalizer_never_runs():
    ran = []
    finalizer = util.Finalize(None, ran.append, args=(1,), exitpriority=1)
    finalizer.cancel()
    finalizer.cancel()
    util._run_finalizers()
    assert ran == [] and finalizer() is None


def test_bad_finalizers():
    with pytest.raises(TypeError, match=r"Exitpriority \(1.5\) must be None or int"):
        util.Finalize(Thing(), int, exitpriority=1.5)
    with pytest.raises(ValueError, match="Without object, exitpriority cannot be None"):
        util.Finalize(None, int)


def test_the_order_of_finalizers():
    ran = []
    kept = Thing()
    no_priority = util.Finalize(kept, ran.append, args=("none",))
    for name, priority in [("a", 0), ("b", 10), ("c", 0), ("d", -5), ("e", -100)]:
        util.Finalize(None, ran.append, args=(name,), exitpriority=priority)
    util._run_finalizers(0)
    assert ran == ["b", "c", "a"]
    util._run_finalizers()
    assert ran == ["b", "c", "a", "d", "e"]
    assert not no_priority.still_active()


def test_a_finalizer_that_fails_stops_no_other(capsys):
    ran = []
    util.Finalize(None, ran.append, args=(1,), exitpriority=0)
    util.Finalize(None, lambda: 1 / 0, exitpriority=1)
    util._run_finalizers()
    assert ran == [1]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_finalizers_made_and_cancelled_by_finalizers():
    ran = []
    victim = util.Finalize(None, ran.append, args=("victim",), exitpriority=1)

    def first():
        victim.cancel()
        ran.append("first")

    util.Finalize(None, first, exitpriority=2)
    util._run_finalizers()
    assert ran == ["first"]


def finalizers_of_child(connection, finalizer):
    connection.send((len(util._finalizer_registry), finalizer()))


def test_a_forked_child_has_none_of_its_parents():
    fork = mproc.get_context("fork")
    reader, writer = fork.Pipe(duplex=False)
    finalizer = util.Finalize(None, int, exitpriority=0)
    with reader, writer:
        child = fork.Process(target=finalizers_of_child, args=(writer, finalizer))
        child.start()
        assert reader.recv() == (0, None)
        child.join()
    finalizer.cancel()


# ---- after a fork


def see(connection, value):
    connection.send(value.seen)


def test_register_after_fork():
    fork = mproc.get_context("fork")
    thing, gone = Thing(), Thing()
    thing.seen = []
    before = len(util._afterfork_registry)
    util.register_after_fork(thing, lambda thing: thing.seen.append("second"))
    util.register_after_fork(thing, lambda thing: 1 / 0)
    util.register_after_fork(thing, lambda thing: thing.seen.append("third"))
    util.register_after_fork(gone, lambda thing: 1 / 0)
    assert len(util._afterfork_registry) == before + 4
    del gone
    assert len(util._afterfork_registry) == before + 3
    reader, writer = fork.Pipe(duplex=False)
    with reader, writer:
        child = fork.Process(target=see, args=(writer, thing))
        child.start()
        assert reader.recv() == ["second", "third"]
        child.join()
    assert thing.seen == []


def try_lock(connection, lock, local):
    connection.send((lock.acquire(False), vars(local)))


def test_fork_aware_things():
    fork = mproc.get_context("fork")
    lock, local = util.ForkAwareThreadLock(), util.ForkAwareLocal()
    local.x = 1
    reader, writer = fork.Pipe(duplex=False)
    with lock, reader, writer:
        assert lock.acquire(False) is False
        child = fork.Process(target=try_lock, args=(writer, lock, local))
        child.start()
        assert reader.recv() == (True, {})
        child.join()
    assert lock.acquire(False) is True
    lock.release()
    assert local.x == 1


def test_no_such_name():
    with pytest.raises(AttributeError, match=r"module 'mproc\.util' has no attribute 'nothing'"):
        _ = util.nothing
    assert os.sysconf("SC_OPEN_MAX") == util.MAXFD
    for name in util.__all__:
        assert hasattr(util, name)


# ---- logging


@pytest.fixture
def logged():
    """The package's logger, printing into a text."""
    logger = mproc.get_logger()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter("%(levelname)s %(filename)s %(processName)s %(message)s")
    )
    logger.addHandler(handler)
    level = logger.level
    yield logger, stream
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_log(logged):
    logger, stream = logged
    assert logger is mproc.get_logger() and logger.name == "multiprocessing"
    assert not logger.propagate
    logger.setLevel(util.SUBDEBUG)
    for function in (util.sub_debug, util.debug, util.info, util.sub_warning, util.warn):
        function("x%s", 1)
    here = f"{os.path.basename(__file__)} MainProcess x1"
    levels = ["Level 5", "DEBUG", "INFO", "Level 25", "WARNING"]
    assert stream.getvalue().splitlines() == [f"{level} {here}" for level in levels]


def level_of_child(connection):
    connection.send(mproc.get_logger().getEffectiveLevel())


def test_the_level_goes_to_children(ctx, logged):
    logger, _ = logged
    logger.setLevel(37)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        child = ctx.Process(target=level_of_child, args=(writer,))
        child.start()
        assert reader.recv() == 37
        child.join()


def test_log_to_stderr(program, method):
    program.write(
        "main.py",
        """
import mproc, sys
def f(): mproc.get_logger().warning('from the child')
if __name__ == '__main__':
    mproc.log_to_stderr('WARNING').warning('from the parent')
    p = mproc.get_context(sys.argv[1]).Process(target=f, name='Child'); p.start(); p.join()
""",
    )
    done = program.run("main.py", method)
    assert done.stderr == "[WARNING/MainProcess] from the parent\n[WARNING/Child] from the child\n"


# ---- places and descriptors


def test_temp_dir(program):
    program.write(
        "main.py",
        """
import mproc, os
from mproc import util
def f(): print(util.get_temp_dir(), flush=True)
if __name__ == '__main__':
    here = util.get_temp_dir()
    assert os.path.basename(here).startswith('pymp-') and here == util.get_temp_dir()
    open(os.path.join(here, 'file'), 'w').close()
    p = mproc.get_context('spawn').Process(target=f); p.start(); p.join()
    assert os.path.isdir(here)
    print(here)
""",
    )
    child, parent = program.output("main.py").split()
    assert child == parent and not os.path.exists(parent)


@pytest.mark.parametrize("length", [20, 75, 78, 79, 80, 108, 180])
def test_temp_dir_in_a_place_with_a_long_name(program, length):
    place = program.folder
    place = (
        place / ("x" * (length - len(str(place)) - 1)) if len(str(place)) < length - 1 else place
    )
    place.mkdir(exist_ok=True)
    program.write(
        "main.py",
        """
import os
from mproc import util
from mproc.connection import Client, Listener
with Listener(family='AF_UNIX') as listener:
    end = Client(listener.address)
    listener.accept().close()
    end.close()
    print(os.path.dirname(util.get_temp_dir()))
""",
    )
    # What follows is a slash, 13 bytes of the directory's name, 18 of the address, and a NUL.
    there = len(str(place)) + 1 + 13 + 18 + 1 <= util._SUN_PATH_MAX
    environment = {**program.env, "TMPDIR": str(place)}
    assert program.output("main.py", env=environment) == (f"{place}\n" if there else "/tmp\n")


def test_temp_dir_where_there_is_no_shorter_place(monkeypatch, tmp_path):
    import tempfile

    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert util._base_of_temp_dir() == "/tmp"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert util._base_of_temp_dir() is None


def test_addresses():
    assert util.abstract_sockets_supported
    assert util.is_abstract_socket_namespace("\0x") and util.is_abstract_socket_namespace(b"\0x")
    for address in ("", None, "/x", b"/x"):
        assert not util.is_abstract_socket_namespace(address)
    with pytest.raises(TypeError, match="address type of 3 unrecognized"):
        util.is_abstract_socket_namespace(3)


def test_spawnv_passfds():
    reader, writer = os.pipe()
    other, unseen = os.pipe()
    program = "import os, sys; os.write(int(sys.argv[1]), b'x'); os.fstat(int(sys.argv[2]))"
    arguments = [sys.executable, "-c", program, str(writer), str(unseen)]
    pid = util.spawnv_passfds(os.fsencode(sys.executable), arguments, [writer])
    assert os.read(reader, 10) == b"x"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1  # one was not passed
    util.close_fds(reader, writer, other, unseen)


def close_most(connection, keep):
    util.close_all_fds_except([0, 1, 2, connection.fileno(), keep])
    connection.send([fd for fd in range(100) if is_open(fd)])
    os._exit(0)


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_close_all_fds_except():
    fork = mproc.get_context("fork")
    one, other = fork.Pipe()
    with one, other:
        child = fork.Process(target=close_most, args=(other, one.fileno()))
        child.start()
        assert one.recv() == sorted([0, 1, 2, one.fileno(), other.fileno()])
        child.join()


def read_stdin(connection):
    with os.fdopen(os.dup(sys.stdin.fileno())) as copy:
        connection.send((sys.stdin.read(), copy.read(), sys.stdin.readable(), sys.stdin.isatty()))
    sys.stdin.close()


def test_stdin_of_children(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        child = ctx.Process(target=read_stdin, args=(writer,))
        child.start()
        assert reader.recv() == ("", "", True, False)
        child.join()
        assert child.exitcode == 0


class Stubborn:
    def close(self):
        raise OSError("no")


def test_close_stdin(monkeypatch):
    with open(__file__) as file:
        monkeypatch.setattr(sys, "stdin", file)
        util._close_stdin()
        assert file.closed and sys.stdin.read() == ""
    monkeypatch.setattr(sys, "stdin", Stubborn())
    util._close_stdin()
    assert sys.stdin.read() == ""
    monkeypatch.setattr(sys, "stdin", None)
    util._close_stdin()
    assert sys.stdin is None


def test_is_exiting():
    assert util.is_exiting() is False
    assert process.current_process().name == "MainProcess"
