"""Process: its life, its end, its parent and children, under each start method."""

import os
import signal
import sys
import threading
import time
import warnings

import pytest
from conftest import alarmed, descriptors

import mproc
from mproc import _mproc, popen_fork
from mproc import process as process_module
from mproc.connection import wait

# ---- what children run


def exit_with(code):
    sys.exit(code)


def fail():
    raise ZeroDivisionError("the child's own")


def stay(connection=None):
    if connection is not None:
        connection.send(os.getpid())
    while True:  # the signal of an ended thread of the parent's ends a pause, too
        signal.pause()


def tell(connection, function, *args):
    connection.send(function(*args))


def whereabouts():
    process, parent = mproc.current_process(), mproc.parent_process()
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "own": (process.pid, process.name, process.daemon, bytes(process.authkey)),
        "parent": (parent.pid, parent.name, parent.is_alive()),
        "method": mproc.get_start_method(),
        "children": mproc.active_children(),
        "stdin": sys.stdin.read(),
        "repr": repr(process),
    }


def ask(ctx, function, *args, **options):
    """What the function returns in a child."""
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=tell, args=(writer, function, *args), **options)
        process.start()
        answer = reader.recv()
        process.join()
        assert process.exitcode == 0
        process.close()
    return answer


def started(ctx, **options):
    """A child that stays until it is told otherwise, and has begun to."""
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=stay, args=(writer,), **options)
        process.start()
        assert reader.recv() == process.pid
    return process


def ended(process):
    process.kill()
    process.join()
    process.close()


# ---- the end


@pytest.mark.parametrize(
    ("target", "args", "code"),
    [
        (int, (), 0),
        (exit_with, (None,), 0),
        (exit_with, (7,), 7),
        (exit_with, (True,), 1),
        (exit_with, (False,), 0),
        (exit_with, (-1,), 255),
        (os._exit, (3,), 3),
        (os.abort, (), -signal.SIGABRT),
    ],
)
def test_exit_code(ctx, target, args, code):
    process = ctx.Process(target=target, args=args)
    assert process.exitcode is None
    process.start()
    process.join()
    assert process.exitcode == code
    assert not process.is_alive()
    process.close()


def test_without_a_target(ctx):
    process = ctx.Process()
    process.start()
    process.join()
    assert process.exitcode == 0


def test_an_exception_is_reported(ctx, capfd):
    process = ctx.Process(target=fail, name="Unlucky")
    process.start()
    process.join()
    assert process.exitcode == 1
    report = capfd.readouterr().err
    assert report.startswith("Process Unlucky:\nTraceback")
    assert report.endswith("ZeroDivisionError: the child's own\n")


def test_a_message_to_exit_with_is_reported(ctx, capfd):
    process = ctx.Process(target=exit_with, args=("no more",))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert capfd.readouterr().err == "no more\n"


@pytest.mark.parametrize(
    ("verb", "code"), [("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL), ("interrupt", 1)]
)
def test_signals(ctx, capfd, verb, code):
    process = started(ctx)
    getattr(process, verb)()
    process.join()
    assert process.exitcode == code
    getattr(process, verb)()  # to nobody
    process.close()
    if verb == "interrupt":
        assert "KeyboardInterrupt" in capfd.readouterr().err


def test_signals_need_a_started_process(ctx):
    for verb in ("terminate", "kill", "interrupt"):
        with pytest.raises(AttributeError, match="has not been started"):
            getattr(ctx.Process(), verb)()


def test_somebody_else_took_the_status(ctx):
    process = ctx.Process(target=exit_with, args=(3,))
    process.start()
    os.waitpid(process.pid, 0)
    process.join()
    assert process.exitcode == 3
    assert not process.is_alive()
    process.close()


LOOKS_BEFORE_FORK = """
import os
import mproc

seen = []
os.register_at_fork(before=lambda: seen.extend(child.pid for child in mproc.active_children()))
for _ in range(2):  # the first start fetches what makes further ones quick
    child = mproc.get_context("fork").Process()
    child.start()
    child.join()
print(seen, child.pid > 0)
"""


def test_a_process_that_is_being_forked_has_no_pid(program):
    # 0, as a pid, stands for all processes of a group: who kills that kills itself
    answer = program.output(program.write("looks.py", LOOKS_BEFORE_FORK))
    assert answer == "[None, None] True\n"


STARTS = """
import os, signal, sys
import mproc as mp


def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    ctx = mp.get_context("METHOD")
    signal.signal(signal.SIGCHLD, HANDLER)
    codes = []
    for _ in range(40):
        process = ctx.Process(target=sys.exit, args=(3,))
        process.start()
        process.join()
        assert not process.is_alive()
        codes.append(process.exitcode)
        process.close()
    assert codes == [3] * 40, codes
    assert mp.active_children() == []
    with ctx.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    print("right")
"""


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "reap"])
def test_starts_while_others_take_the_status(program, method, handler):
    text = STARTS.replace("METHOD", method).replace("HANDLER", handler)
    assert program.output(program.write("starts.py", text)) == "right\n"


CLOSED = """
import os
import mproc as mp

if __name__ == "__main__":
    lock = mp.Lock()
    os.closerange(3, 256)
    os.open("/dev/null", os.O_RDONLY)
    for method in "spawn", "forkserver":
        try:
            mp.get_context(method).Process(target=print, args=("child",)).start()
        except OSError as error:
            print(method, error)
    process = mp.get_context("fork").Process(target=lock.acquire)
    process.start()
    process.join()
    print("fork", process.exitcode)
"""


def test_a_start_after_all_descriptors_were_closed(program):
    said = "the program has closed the descriptor of the family's arena"
    answer = program.output(program.write("closed.py", CLOSED))
    for line, method in zip(answer.splitlines(), ("spawn", "forkserver"), strict=False):
        assert line.startswith(method)
        assert line.endswith(said)
    assert answer.endswith("\nfork 0\n")


def test_a_sentinel_whose_number_is_used_again(ctx):
    process = started(ctx)
    number = process.sentinel
    os.dup2(0, number)
    process.join(0)
    assert process.is_alive()
    assert process.exitcode is None
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    process.close()
    os.close(number)


# ---- waiting


def test_join_with_a_timeout(ctx):
    process = started(ctx)
    assert process.join(0) is None
    assert process.join(-1) is None
    assert process.join(0.01) is None
    assert process.is_alive()
    assert process.exitcode is None
    ended(process)


@pytest.mark.parametrize(
    ("timeout", "error"), [("1", TypeError), (float("nan"), ValueError), (1e300, OverflowError)]
)
def test_join_with_a_bad_timeout(timeout, error):
    process = started(mproc.get_context("fork"))
    with pytest.raises(error):
        process.join(timeout)
    ended(process)


def test_a_signal_handler_runs_during_join():
    process = started(mproc.get_context("fork"))
    ran = []

    def handler(number, frame):
        ran.append(number)
        process.kill()

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        process.join()
    finally:
        signal.signal(signal.SIGALRM, old)
    assert ran == [signal.SIGALRM]
    assert process.exitcode == -signal.SIGKILL


def test_a_signal_handler_that_raises_ends_join():
    process = started(mproc.get_context("fork"))

    def handler(number, frame):
        raise InterruptedError("enough")

    old = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(InterruptedError, match="enough"):
            alarmed(0.05, process.join)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert process.is_alive()
    ended(process)


def test_calls_that_do_not_wait_are_not_interrupted(ctx):
    seen = []
    reader, writer = ctx.Pipe(duplex=False)
    process = started(ctx)
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(None))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        while len(seen) < 2000:
            process.join(0)
            assert process.is_alive()
            assert process.exitcode is None
            assert process._popen.wait(0) is None
            assert not reader.poll(0)
            with pytest.raises(ValueError, match="still running"):
                process.close()
        process.terminate()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        reader.close()
        writer.close()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    process.close()


def test_a_start_is_not_interrupted(ctx):
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(None))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(10):
            process = ctx.Process(target=int)
            process.start()
            process.join()
            assert process.exitcode == 0
            process.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen


def test_sentinel(ctx):
    process = ctx.Process(target=stay)
    with pytest.raises(ValueError, match="process not started"):
        _ = process.sentinel
    process.start()
    assert wait([process.sentinel], timeout=0) == []
    process.kill()
    assert wait([process.sentinel], timeout=30) == [process.sentinel]
    process.join()
    assert wait([process.sentinel], timeout=0) == [process.sentinel]
    process.close()
    with pytest.raises(ValueError, match="process object is closed"):
        _ = process.sentinel


def test_one_descriptor_per_process(ctx):
    first = started(ctx)
    before = len(os.listdir("/proc/self/fd"))
    second = started(ctx)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    ended(first)
    ended(second)


def test_a_forked_child_has_the_descriptors_of_its_parent():
    fork = mproc.get_context("fork")
    reader, writer = fork.Pipe(duplex=False)
    with reader, writer:
        before = descriptors()
        process = fork.Process(target=tell, args=(writer, descriptors))
        process.start()
        assert reader.recv() == before
        process.join()


# ---- what start() takes from the object


def test_a_start_that_fails_can_be_repeated(ctx):
    import resource

    ask(ctx, os.getpid)  # what is imported, and a template, are there
    process = ctx.Process(target=exit_with, kwargs={"code": 7})
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, old[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            process.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)
    assert process.pid is None
    assert process not in mproc.active_children()
    process.start()
    process.join()
    assert process.exitcode == 7


def test_a_start_without_what_is_to_be_run():
    process = mproc.get_context("fork").Process(target=exit_with, args=(3,))
    del process._kwargs
    with pytest.raises(AttributeError, match="_kwargs"):
        process.start()
    assert process not in mproc.active_children()
    assert not hasattr(process, "_kwargs")
    process._kwargs = {}
    process.start()
    process.join()
    assert process.exitcode == 3


class OwnPopen(popen_fork.Popen):
    """Of a class of one's own: started by a call of it, as ever."""

    def __init__(self, process):
        super().__init__(process)
        self.seen = self.pid


class OwnProcess(mproc.get_context("fork").Process):
    _Popen = staticmethod(OwnPopen)


class Counting:
    """A target whose exit code tells how many references the child's objects have."""

    def __call__(self, thing, other, **more):
        process = mproc.current_process()
        assert process._popen is None
        assert process._args == (thing, other)
        assert process._kwargs == more
        counted = (self, thing, process._args, *more.values())
        os._exit(sum(map(sys.getrefcount, counted)))


@pytest.mark.parametrize("more", [{}, {"more": ["thing"]}])
@pytest.mark.parametrize("shared", [True, False])
def test_no_reference_is_lost(more, shared):
    target, thing, other = Counting(), ["thing"], ["other"]
    ours = (target, thing, other, *more.values())
    codes = set()
    before = [sys.getrefcount(one) for one in ours]
    for kind in (mproc.get_context("fork").Process, OwnProcess) * 5:
        args = (thing, other)
        process = kind(target=target, args=args, kwargs=more)
        if not shared:
            del args
        process.start()
        process.join()
        assert not {"_target", "_args", "_kwargs"} & set(vars(process))
        codes.add(process.exitcode)
    assert len(codes) == 1
    assert codes.pop() > 5
    args = process = None
    assert [sys.getrefcount(one) for one in ours] == before


def test_a_start_of_somebody_elses(program):
    program.write(
        "main.py",
        """
import mproc
from mproc.process import BaseProcess
plain = BaseProcess.start
def start(self):
    print('starting', self.name, flush=True)
    plain(self)
BaseProcess.start = start
for _ in range(2):
    p = mproc.get_context('fork').Process(target=print, args=('run',), name='it')
    p.start(); p.join()
""",
    )
    assert program.output("main.py") == "starting it\nrun\n" * 2


def test_a_foreign_class_of_popen_objects():
    class Strange(mproc.get_context("fork").Process):
        what: object = int

        def _begin(self, may_leave):
            return self.what

    for what in (int, 5):
        process = Strange()
        process.what = what
        with pytest.raises(TypeError, match="is no class of popen objects"):
            process.start()


def test_importing_the_popen_objects_does_not_choose_the_start(program):
    program.write(
        "main.py",
        """
import mproc
from mproc.process import BaseProcess
plain = BaseProcess.start
import mproc.popen_fork, mproc.popen_spawn_posix, mproc.popen_forkserver
assert BaseProcess.start is plain
p = mproc.get_context('fork').Process(target=int)
p.start(); p.join()
print(BaseProcess.start is plain, p.exitcode)
""",
    )
    assert program.output("main.py") == "False 0\n"


def tell_variables(end):
    end.send(known_variables())


def known_variables():
    return (
        process_module._current_process.name,
        process_module._current_process is mproc.current_process(),
        process_module._parent_process is mproc.parent_process(),
        len(process_module._children),
        repr(process_module._process_counter),
    )


def test_variables_that_programs_know(ctx):
    ours, theirs = mproc.Pipe()
    process = ctx.Process(target=tell_variables, args=(theirs,), name="child")
    process.start()
    assert ours.recv() == ("child", True, True, 0, "count(1)")
    assert process in process_module._children
    process.join()
    assert process not in process_module._children
    assert known_variables()[:3] == ("MainProcess", True, True)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        process_module.nothing  # noqa: B018
    ours.close()
    theirs.close()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_is_known_though_a_signal_comes_as_it_starts(method, monkeypatch):
    """As it were: what follows the launch raises, as a signal's handler may."""

    def raise_once(self):
        close(self)
        raise KeyboardInterrupt

    close = popen_fork.Popen._close_given
    process = mproc.get_context(method).Process(target=exit_with, args=(3,))
    with monkeypatch.context() as patch:
        patch.setattr(popen_fork.Popen, "_close_given", raise_once)
        with pytest.raises(KeyboardInterrupt):
            process.start()
    assert process in mproc.active_children() or process.exitcode is not None
    process.join()
    assert process.exitcode == 3
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        process.start()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_is_not_known_whose_start_fails(method):
    process = mproc.get_context(method).Process(target=exit_with, args=(threading.Lock(),))
    with pytest.raises(TypeError, match="pickle"):
        process.start()
    assert process._popen is None
    assert process not in mproc.active_children()


def test_make_start_wants_a_class():
    with pytest.raises(TypeError, match="cls must be a class, not int"):
        _mproc.make_start(5)


def test_own_popen_objects():
    process = OwnProcess(target=exit_with, args=(4,))
    process.start()
    process.join()
    assert process._popen.seen == process.pid
    assert process.exitcode == 4


def test_a_look_at_the_children_before_a_fork(program):
    program.write(
        "main.py",
        """
import os
import mproc
fork = mproc.get_context('fork')
p = fork.Process(target=int); p.start(); p.join()
p = fork.Process(target=int)
def look():
    assert mproc.active_children() == [p]
    assert p._popen.poll() is None and p._popen.pid == 0 and p._popen.sentinel == -1
os.register_at_fork(before=look)
p.start(); p.join()
print(p.exitcode)
""",
    )
    assert program.output("main.py") == "0\n"


# ---- the rules


def test_start_twice(ctx):
    process = ctx.Process()
    process.start()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        process.start()
    process.join()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        process.start()


def test_join_before_start(ctx):
    with pytest.raises(AssertionError, match="can only join a started process"):
        ctx.Process().join()


def test_the_group_is_for_later(ctx):
    with pytest.raises(AssertionError, match="group argument"):
        ctx.Process(group=1)


def verbs_of_a_stranger():
    said = []
    for verb in ("start", "join", "is_alive"):
        try:
            getattr(strange, verb)()
        except AssertionError as error:
            said.append(str(error))
    return [*said, repr(strange)]


def test_strangers():
    """Only the process that has made a Process may start, join and ask it."""
    global strange
    fork = mproc.get_context("fork")
    strange = fork.Process(name="Strange")
    parent = os.getpid()
    *said, text = ask(fork, verbs_of_a_stranger)
    assert said == [
        "can only start a process object created by current process",
        "can only join a child process",
        "can only test a child process",
    ]
    assert text == f"<ForkProcess name='Strange' parent={parent} unknown>"
    strange = started(fork)
    said = ask(fork, verbs_of_a_stranger)
    assert said[-2:-1] == ["can only test a child process"]
    ended(strange)


def test_close(ctx):
    process = started(ctx)
    with pytest.raises(ValueError, match="still running"):
        process.close()
    process.kill()
    process.join()
    process.close()
    process.close()
    for use in (process.start, process.join, process.is_alive, process.kill):
        with pytest.raises(ValueError, match="process object is closed"):
            use()
    for name in ("pid", "exitcode", "sentinel"):
        with pytest.raises(ValueError, match="process object is closed"):
            getattr(process, name)
    assert "closed" in repr(process)


def test_close_while_another_thread_closes_it():
    """Both have seen that it can be closed."""
    process = mproc.get_context("fork").Process(target=int)
    process.start()
    popen, calls = process._popen, []

    class Seen:
        """Its popen object, which the other thread closes behind each answer."""

        def __getattr__(self, name):
            return getattr(popen, name)

        def poll(self):
            calls.append(popen.wait())
            if len(calls) == 2:
                process.close()
            return popen.returncode

    process._popen = Seen()
    assert process.exitcode == 0
    process.close()
    assert calls == [0, 0, 0]
    process.close()
    with pytest.raises(ValueError, match="process object is closed"):
        process.kill()


def test_close_without_start(ctx):
    process = ctx.Process()
    process.close()
    with pytest.raises(ValueError, match="process object is closed"):
        process.start()


def test_a_dropped_process_leaves_nothing(ctx):
    ctx.Process(target=int)
    process = ctx.Process(target=int)
    process.start()
    process.join()


def try_to_have_a_child():
    try:
        mproc.Process(target=int).start()
    except AssertionError as error:
        return str(error)


def test_daemons_have_no_children(ctx):
    said = ask(ctx, try_to_have_a_child, daemon=True)
    assert said == "daemonic processes are not allowed to have children"


def test_daemon_is_settled_by_the_start(ctx):
    process = ctx.Process()
    assert process.daemon is False
    process.daemon = True
    process.start()
    with pytest.raises(AssertionError, match="process has already started"):
        process.daemon = False
    process.join()


# ---- parents, children and names


def test_a_child_knows_where_it_is(ctx, method):
    here = mproc.current_process()
    answer = ask(ctx, whereabouts, name="Somebody", daemon=True)
    pid = answer["pid"]
    assert answer["own"] == (pid, "Somebody", True, here.authkey)
    assert answer["ppid"] == os.getpid()
    assert answer["parent"] == (os.getpid(), "MainProcess", True)
    assert answer["method"] == method
    assert answer["children"] == []
    assert answer["stdin"] == ""
    assert f"name='Somebody' parent={os.getpid()} started daemon" in answer["repr"]


def test_the_main_process():
    main = mproc.current_process()
    assert mproc.parent_process() is None
    assert (main.name, main.pid, main.ident) == ("MainProcess", os.getpid(), os.getpid())
    assert main.is_alive() and not main.daemon and main.exitcode is None
    assert isinstance(main.authkey, bytes) and len(main.authkey) == 32
    main.close()
    assert main.is_alive()


def test_active_children(ctx):
    process = ctx.Process(target=stay)
    assert process not in mproc.active_children()
    process.start()
    assert mproc.active_children() == [process]
    process.kill()
    assert wait([process.sentinel], timeout=30)
    assert mproc.active_children() == []
    assert process.exitcode == -signal.SIGKILL


def name_of_grandchild():
    return mproc.Process().name


def test_names(ctx):
    process = ctx.Process()
    kind = type(process).__name__
    number = process.name.removeprefix(f"{kind}-")
    assert number.isdigit()
    assert ctx.Process().name == f"{kind}-{int(number) + 1}"
    assert ask(ctx, name_of_grandchild).startswith("Process-")
    process.name = "Other"
    assert process.name == "Other"
    with pytest.raises(AssertionError, match="name must be a string"):
        process.name = 1
    for name in ("\0", "ä" * 100, "\udc80"):
        process = ctx.Process(name=name)
        process.start()
        process.join()
        assert process.exitcode == 0 and process.name == name


def test_repr(ctx):
    process = ctx.Process(target=stay, name="P", daemon=True)
    kind, parent = type(process).__name__, os.getpid()
    assert repr(process) == f"<{kind} name='P' parent={parent} initial daemon>"
    process.start()
    process.kill()
    process.join()
    begin = f"<{kind} name='P' pid={process.pid} parent={parent} stopped "
    assert repr(process) == f"{begin}exitcode=-SIGKILL daemon>"


class Shouting(mproc.get_context("fork").Process):
    def __init__(self, connection, text):
        super().__init__()
        self.connection = connection
        self.text = text

    def run(self):
        self.connection.send(self.text.upper())


class SpawnShouting(mproc.get_context("spawn").Process):
    run = Shouting.run

    def __init__(self, connection, text):
        mproc.get_context("spawn").Process.__init__(self)
        self.connection = connection
        self.text = text


@pytest.mark.parametrize("kind", [Shouting, SpawnShouting])
def test_subclass(kind):
    reader, writer = mproc.Pipe(duplex=False)
    with reader, writer:
        process = kind(writer, "hello")
        process.start()
        assert reader.recv() == "HELLO"
        process.join()


def test_arguments(ctx):
    big = bytes(3_000_000)
    assert ask(ctx, dict, [(1, "one"), ("big", big)]) == {1: "one", "big": big}


def test_keyword_arguments(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        arguments = {"connection": writer, "function": int}
        process = ctx.Process(target=tell, kwargs=arguments)
        process.start()
        assert reader.recv() == 0
        process.join()


def test_authkey():
    process = mproc.Process()
    process.authkey = b"secret"
    assert process.authkey == b"secret"
    import pickle

    with pytest.raises(TypeError, match="disallowed for security reasons"):
        pickle.dumps(process.authkey)


# ---- what cannot be pickled


class Stubborn:
    def __reduce__(self):
        raise ValueError("never")

    def __repr__(self):
        return "<the stubborn one>"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"target": lambda: None}, "target: Can't pickle <function"),
        ({"target": int, "args": (1, Stubborn())}, "args[1]: never"),
        ({"target": int, "kwargs": {"x": Stubborn()}}, "kwargs['x']: never"),
    ],
)
def test_the_culprit_is_named(method, options, culprit):
    process = mproc.get_context(method).Process(name="Mule", **options)
    with pytest.raises(Exception, match=r".") as raised:
        process.start()
    assert any(culprit in note for note in raised.value.__notes__)
    assert process.pid is None and mproc.active_children() == []


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_after_a_failed_start(method):
    """The descriptors that were already meant for the child stay the parent's; it can go on."""
    ctx = mproc.get_context(method)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=tell, args=(writer, Stubborn()))
        with pytest.raises(ValueError, match="never"):
            process.start()
        process._args = (writer, int)
        process.start()
        assert reader.recv() == 0
        process.join()


def explode():
    raise ValueError("exploded")


class Mine:
    def __reduce__(self):
        return explode, ()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_arguments_that_cannot_be_unpickled(method, capfd):
    process = mproc.get_context(method).Process(target=int, args=(Mine(),))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert "ValueError: exploded" in capfd.readouterr().err


# ---- parents and orphans


def watch_parent(connection):
    parent = mproc.parent_process()
    connection.send((os.getpid(), parent.is_alive()))
    parent.join(30)
    connection.send(parent.is_alive())
    signal.pause()


def have_a_child(connection, daemon):
    process = mproc.Process(target=watch_parent, args=(connection,), daemon=daemon)
    process.start()
    signal.pause()


def test_children_survive_their_parents_death(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    parent = ctx.Process(target=have_a_child, args=(writer, False))
    parent.start()
    writer.close()
    pid, alive = reader.recv()
    assert alive
    orphan = os.pidfd_open(pid)
    ended(parent)
    assert reader.recv() is False
    signal.pidfd_send_signal(orphan, signal.SIGKILL)
    assert wait([orphan], timeout=30)
    os.close(orphan)
    reader.close()


def test_daemons_end_with_their_parent(ctx):
    reader, writer = ctx.Pipe(duplex=False)
    parent = ctx.Process(target=have_a_child, args=(writer, True))
    parent.start()
    writer.close()
    pid, _ = reader.recv()
    orphan = os.pidfd_open(pid)
    ended(parent)
    assert wait([orphan], timeout=30)
    os.close(orphan)
    reader.close()


def test_daemons_outlive_the_thread_that_started_them(ctx):
    process = None

    def start():
        nonlocal process
        process = started(ctx, daemon=True)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    reader, writer = ctx.Pipe()
    with reader, writer:
        assert wait([process.sentinel], timeout=0.1) == []
    ended(process)


def test_exit_waits_for_children_and_ends_daemons(program, method):
    program.write(
        "main.py",
        """
import mproc, os, signal, time
def slow(main_done): main_done.wait(); time.sleep(0.2); print('slow done', flush=True)
def forever(): signal.pause()
if __name__ == '__main__':
    ctx = mproc.get_context(__import__('sys').argv[1])
    main_done = ctx.Event()
    ctx.Process(target=slow, args=(main_done,)).start()
    ctx.Process(target=forever, daemon=True).start()
    print('main done', flush=True)
    main_done.set()
""",
    )
    assert program.output("main.py", method) == "main done\nslow done\n"


# ---- the child's end


def leave_traces(connection):
    import atexit

    from mproc import util

    atexit.register(connection.send, "atexit")
    util.Finalize(None, connection.send, args=("finalizer",), exitpriority=1)
    threading.Thread(target=lambda: (time.sleep(0.05), connection.send("thread"))).start()
    print("buffered", end="")


def test_what_runs_at_the_end_of_a_child(ctx, method, capfd):
    reader, writer = ctx.Pipe(duplex=False)
    process = ctx.Process(target=leave_traces, args=(writer,))
    process.start()
    writer.close()
    process.join()
    told = []
    with pytest.raises(EOFError):
        while True:
            told.append(reader.recv())
    reader.close()
    assert capfd.readouterr().out == "buffered"
    expected = {"finalizer", "thread"}
    if method == "spawn" or sys.version_info >= (3, 13):
        expected.add("atexit")
    assert set(told) == expected


def test_a_forked_child_runs_nothing_of_its_parents_end(program):
    program.write(
        "main.py",
        """
import atexit, os, sys
import mproc
from mproc import util
pid = os.getpid()
def say(what): print(what, 'in the', 'parent' if os.getpid() == pid else 'child', flush=True)
atexit.register(say, 'atexit')
util.Finalize(None, say, args=('finalizer',), exitpriority=0)
print('once', end=' ')
p = mproc.get_context('fork').Process(target=int); p.start(); p.join()
""",
    )
    lines = "once finalizer in the parent\natexit in the parent\n"
    assert sorted(program.output("main.py").split()) == sorted(lines.split())


USES = (
    "Lock()", "Queue()", "Pipe()", "RawValue('i')", "Pool(1).terminate()", "Manager()",
    "get_logger()", "set_executable(sys.executable)", "Process(target=int).start()",
)  # fmt: skip
MODULES = (
    "util", "pool", "managers", "connection", "queues", "synchronize", "shared_memory", "heap",
    "sharedctypes", "resource_tracker", "popen_fork", "spawn", "forkserver", "futures",
)  # fmt: skip


@pytest.mark.parametrize(
    "use", [f"mproc.{use}" for use in USES] + [f"import mproc.{module}" for module in MODULES]
)
def test_where_among_exit_functions_children_are_joined(program, use):
    """Where the first use is: as the standard library, which registers its own one then."""
    program.write(
        "main.py",
        f"""
import atexit, sys, time
import mproc
if __name__ == "__main__":
    atexit.register(lambda: print("before:", len(mproc.active_children())))
    mproc.cpu_count(), mproc.current_process(), mproc.parent_process(), mproc.active_children()
    mproc.set_start_method("fork")
    {use}
    atexit.register(lambda: print("after:", len(mproc.active_children()) > 0))
    mproc.Process(target=time.sleep, args=(0.2,)).start()
""",
    )
    assert program.output("main.py") == "after: True\nbefore: 0\n"


@pytest.mark.parametrize("earlier", ["", "multiprocessing.Lock()"])
def test_what_an_exit_function_starts_is_joined(program, method, earlier):
    program.write(
        "main.py",
        f"""
import atexit, time
import multiprocessing
def child(): time.sleep(0.1); print("child")
def start(): multiprocessing.get_context({method!r}).Process(target=child).start()
if __name__ == "__main__":
    atexit.register(start)
    {earlier}
    atexit.register(print, "end", flush=True)
""",
    )
    assert program.output("-m", "mproc", "main.py") == "end\nchild\n"


def test_the_log_tells_once_of_the_end(program):
    program.write(
        "main.py",
        "import mproc\nif __name__ == '__main__':\n    mproc.log_to_stderr(10)\n    mproc.Lock()\n",
    )
    said = program.run("main.py").stderr
    assert said.count("running all") == said.count("running the remaining") == 1, said


@pytest.mark.parametrize("name", [None, ""])
def test_no_name_is_a_name_of_ours(ctx, name):
    class Worker(mproc.Process):
        pass

    process = Worker(name=name)
    assert process.name == f"Worker-{process._identity[-1]}"


def test_broken_streams(ctx, monkeypatch):
    for stream in ("stdout", "stderr", "stdin"):
        monkeypatch.setattr(sys, stream, None)
    process = ctx.Process(target=fail)
    process.start()
    process.join()
    monkeypatch.undo()
    assert process.exitcode == 1


def test_the_callers_frames_are_not_kept(ctx):
    import gc
    import weakref

    class Target:
        def __call__(self):
            pass

    if ctx.get_start_method() != "fork":
        pytest.skip("a local class cannot be pickled")
    target = Target()
    seen = weakref.ref(target)
    process = ctx.Process(target=target)
    del target
    process.start()
    gc.collect()
    assert seen() is None
    process.join()


@pytest.mark.parametrize("target", ["leave_a_thread", "leave_a_child"])
def test_where_children_run_exit_functions(program, method, target):
    program.write(
        "main.py",
        """
import atexit, sys, threading
import mproc
from mproc import _current
_current.fetch()
_current.CHILDREN_RUN_EXIT_FUNCTIONS = True  # as from Python 3.13 on

def leave_a_thread(end, go):
    def work():
        go.recv()
        end.send('thread')
    threading.Thread(target=work).start()
    atexit.register(end.send, 'exit function')
    end.send('run')

def leave_a_child(end, go):
    ours, theirs = ctx().Pipe()
    ctx().Process(target=theirs.recv).start()
    def stop():
        go.recv()
        ours.send('end')
        end.send('child was stopped')
    atexit.register(stop)
    end.send('run')

def ctx():
    return mproc.get_context(sys.argv[1])

if __name__ == '__main__':
    reader, writer = mproc.Pipe(False)
    go, start = mproc.Pipe(False)
    p = ctx().Process(target=globals()[sys.argv[2]], args=(writer, go))
    p.start()
    print(reader.recv())
    start.send(None)
    p.join()
    print(p.exitcode, reader.recv(), reader.poll() and reader.recv())
""",
    )
    said = {
        "leave_a_thread": "run\n0 thread exit function\n",
        "leave_a_child": "run\n0 child was stopped False\n",
    }
    assert program.output("main.py", method, target) == said[target]


def test_a_thousand_processes():
    fork = mproc.get_context("fork")
    for _ in range(1000):
        process = fork.Process()
        process.start()
        process.join()
        assert process.exitcode == 0


def test_many_at_once(ctx, method):
    count = 6 if method == "spawn" else 60
    processes = [ctx.Process(target=exit_with, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == list(range(count))


def test_started_by_several_threads(ctx, method):
    codes = []

    def start_some():
        for _ in range(2 if method == "spawn" else 10):
            process = ctx.Process(target=exit_with, args=(5,))
            process.start()
            process.join()
            codes.append(process.exitcode)

    threads = [threading.Thread(target=start_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {5}


def test_a_bare_fork_of_a_child(ctx):
    assert ask(ctx, fork_and_ask) == ("True", "MainProcess")


def fork_and_ask():
    """What a bare fork of a started child thinks of its parent."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        parent = mproc.parent_process()
        os.write(writer, f"{parent.is_alive()} {parent.name}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    said = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    return tuple(said.split())


def test_a_bare_fork_has_no_children_yet():
    process = mproc.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert mproc.active_children() == []
            own = mproc.get_context("fork").Process(target=abs, args=(1,))
            own.start()
            own.join()
            code = own.exitcode
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mproc.active_children() == [process]
    process.kill()
    process.join()


def test_the_key_is_the_standard_librarys_where_a_program_uses_that_too(program):
    text = "import multiprocessing; multiprocessing.current_process().authkey = b'the key'\n"
    text += "import mproc; print(mproc.current_process().authkey)\n"
    program.write("main.py", text)
    assert program.output("main.py") == "b'the key'\n"


# ---- exit codes


def leave_by(text):
    exec(text, {"sys": sys, "os": os})


EXITS = [
    "sys.exit()",
    "sys.exit(None)",
    "sys.exit(True)",
    "sys.exit(-1)",
    "sys.exit(300)",
    "sys.exit(2**32 + 4)",
    "sys.exit(2**63)",
    "sys.exit(-2**70)",
    "sys.exit('')",
    "sys.exit(2.5)",
    "raise SystemExit(1, 2)",
    "raise BaseException",
    "os._exit(7)",
]


def test_exit_codes_are_the_interpreters(ctx, program, capfd):
    processes = [ctx.Process(target=leave_by, args=(text,)) for text in EXITS]
    for process in processes:
        process.start()
    for process, text in zip(processes, EXITS, strict=True):
        process.join()
        code = program.run("-c", "import os, sys; " + text).returncode
        assert process.exitcode == code, text
    capfd.readouterr()


def test_an_interrupted_child(ctx, capfd):
    """KeyboardInterrupt is an error as another: the exit code is 1, as on the standard library."""
    process = ctx.Process(target=leave_by, args=("raise KeyboardInterrupt",))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert "KeyboardInterrupt" in capfd.readouterr().err


# ---- threads beside a fork


@pytest.mark.skipif(sys.version_info < (3, 12), reason="os.fork() says nothing before 3.12")
def test_a_fork_beside_threads_is_warned_of(recwarn):
    """As os.fork() does, which drops a warning that is an error before 3.15."""
    ctx, stop = mproc.get_context("fork"), threading.Event()
    thread = threading.Thread(target=stop.wait)
    process = ctx.Process(target=exit_with, args=(0,))
    process.start()
    process.join()
    assert not recwarn.list
    thread.start()
    for _ in range(2):
        process = ctx.Process(target=exit_with, args=(0,))
        with pytest.warns(DeprecationWarning, match=r"This process \(pid=\d+\) is multi-threaded"):
            process.start()
        process.join()
        assert process.exitcode == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process = ctx.Process(target=exit_with, args=(0,))
        if sys.version_info >= (3, 15):
            with pytest.raises(DeprecationWarning):
                process.start()
            assert mproc.active_children() == [] and process.pid is None
        else:
            process.start()
            process.join()
            assert process.exitcode == 0
    stop.set()
    thread.join()


# ---- a fork of a program with an event loop

LOOP = """
import asyncio, signal, sys, time
import mproc as mp

def tell(writer):
    writer.send([signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)])
    writer.send(signal.set_wakeup_fd(-1))
    time.sleep(3600)

def own(*_):
    pass

async def main(heard):
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, heard.append, 'terminated')
    loop.add_signal_handler(signal.SIGINT, heard.append, 'interrupted')
    reader, writer = mp.Pipe(duplex=False)
    process = mp.Process(target=tell, args=(writer,), daemon=True)
    process.start()
    dispositions = await loop.run_in_executor(None, reader.recv)
    assert dispositions == [signal.SIG_DFL, signal.default_int_handler, own], dispositions
    assert await loop.run_in_executor(None, reader.recv) == -1
    process.terminate()
    await loop.run_in_executor(None, process.join)
    assert process.exitcode == -signal.SIGTERM, process.exitcode
    assert heard == [], heard
    signal.raise_signal(signal.SIGTERM)  # the parent's own still come
    while not heard:
        await asyncio.sleep(0.01)
    return heard

if __name__ == '__main__':
    mp.set_start_method(sys.argv[1])
    signal.signal(signal.SIGUSR1, own)
    print(asyncio.run(main([])))
"""


def test_a_forked_child_leaves_the_event_loops_signals(program):
    """What it is sent ends it, and runs no handlers of the parent's loop; its own handlers stay."""
    program.write("loop.py", LOOP)
    done = program.run("-W", "ignore::DeprecationWarning", "loop.py", "fork")
    assert (done.stdout, done.returncode) == ("['terminated']\n", 0), done.stderr
