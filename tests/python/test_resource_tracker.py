"""resource_tracker: registered names are removed when all processes are dead, others are not."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import mproc
from mproc import resource_tracker
from mproc.shared_memory import SharedMemory

PLACE = Path("/dev/shm")
NEWLINES = sys.version_info >= (3, 14)  # a tracker takes names that have one

PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    from mproc import resource_tracker
    from mproc.shared_memory import SharedMemory
    name = sys.argv[1]
    other = SharedMemory(create=True, size=1)  # what is removed in any case
    {what}
    print(other.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run(what, name):
    """Run a program that does so much and is killed; return what its watcher says in the end."""
    code = textwrap.dedent(PROGRAM).format(what=what)
    environment = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code, name],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert not (PLACE / result.stdout.strip()).exists()
    return result.stderr


@pytest.fixture
def name():
    """A name in /dev/shm that mproc has not made."""
    name = f"mproc_tracked_{os.getpid()}_{time.monotonic_ns()}"
    (PLACE / name).write_bytes(b"x")
    yield name
    (PLACE / name).unlink(missing_ok=True)


def test_what_was_registered_is_removed(name):
    err = run("resource_tracker.register('/' + name, 'shared_memory')", name)
    assert not (PLACE / name).exists()
    assert f"'/{name}'" in err


def test_what_was_not_registered_stays(name):
    run("resource_tracker.ensure_running()", name)
    assert (PLACE / name).exists()


def test_what_was_unregistered_stays(name):
    what = (
        "resource_tracker.register(name, 'shared_memory');"
        "resource_tracker.unregister(name, 'shared_memory');"
        "resource_tracker.unregister(name, 'shared_memory')"
    )
    run(what, name)
    assert (PLACE / name).exists()


def test_a_semaphore(name):
    file = PLACE / f"sem.{name}"
    file.write_bytes(b"x")
    run("resource_tracker.register('/' + name, 'semaphore')", name)
    assert not file.exists()
    assert (PLACE / name).exists()


def test_unregistering_what_mproc_made_does_no_harm():
    run("resource_tracker.unregister(other._name, 'shared_memory')", "")  # which is removed


def test_unregistering_after_attaching_does_no_harm():
    shm = SharedMemory(create=True, size=1)
    other = SharedMemory(shm.name)
    resource_tracker.unregister(other._name, "shared_memory")
    other.close()
    shm.close()
    shm.unlink()


def test_unregistering_what_is_gone(name):
    resource_tracker.register(name, "shared_memory")
    (PLACE / name).unlink()
    resource_tracker.unregister(name, "shared_memory")


# ---- trackers with a process of their own


def in_program(text, *arguments):
    """Run a program of some lines; return what it prints, and what it and its tracker complain."""
    environment = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def test_a_tracker_removes_what_is_left(name):
    out, err = in_program(
        """
        import sys
        from mproc.resource_tracker import ResourceTracker
        tracker = ResourceTracker()
        tracker.register("/" + sys.argv[1], "shared_memory")
        pid = tracker._pid
        tracker.ensure_running()
        assert tracker._check_alive() and tracker._pid == pid and tracker._exitcode is None
        tracker._stop()
        print(tracker._exitcode, tracker._fd, tracker._pid, tracker._check_alive())
        """,
        name,
    )
    assert out == "1 None None False\n"
    assert (
        f"There appear to be 1 leaked shared_memory objects to clean up at shutdown: {{'/{name}'}}"
        in err
    )
    assert not (PLACE / name).exists()


def test_a_tracker_keeps_what_was_unregistered(name):
    out, err = in_program(
        """
        import sys
        from mproc.resource_tracker import ResourceTracker
        tracker = ResourceTracker()
        tracker.register(sys.argv[1], "shared_memory")
        tracker.register("noop:with:colons", "noop")
        tracker.unregister(sys.argv[1], "shared_memory")
        tracker.unregister("noop:with:colons", "noop")
        tracker._stop()
        print(tracker._exitcode)
        """,
        name,
    )
    assert (out, err) == ("0\n", "")
    assert (PLACE / name).exists()


def test_a_tracker_outlives_the_death_of_its_starter(name):
    (PLACE / f"sem.{name}").write_bytes(b"x")
    _, err = in_program(
        """
        import os, signal, subprocess, sys
        if len(sys.argv) == 2:
            code = subprocess.run([sys.executable, "-c", sys.orig_argv[2], sys.argv[1], "x"])
            assert code.returncode == -signal.SIGKILL
        else:
            from mproc.resource_tracker import ResourceTracker
            tracker = ResourceTracker()
            tracker.register("/" + sys.argv[1], "semaphore")
            os.kill(tracker._pid, signal.SIGINT)
            os.kill(tracker._pid, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        name,
    )
    assert "1 leaked semaphore objects" in err  # whose end is that of the tracker's stderr
    assert not (PLACE / f"sem.{name}").exists()


def test_what_a_tracker_cannot_do(name):
    out, err = in_program(
        """
        import os, sys
        from mproc.resource_tracker import ResourceTracker
        codes = []
        for message in (b"REGISTER:mproc_no_such_name:shared_memory", b"REGISTER:x:socket",
                        b"UNREGISTER:x:noop", b"HELLO:x:noop", b"nothing"):
            tracker = ResourceTracker()
            os.write(tracker.getfd(), message + bytes([10]))
            tracker._stop()
            codes.append(tracker._exitcode)
        print(codes)
        """,
        name,
    )
    assert out == "[2, 3, 3, 3, 3]\n"
    assert "'mproc_no_such_name': [Errno 2]" in err
    assert "unknown resource type 'socket'; there are noop, semaphore, shared_memory" in err
    assert "unrecognized command 'HELLO'" in err


def test_a_tracker_that_was_killed_is_started_again(name):
    out, _ = in_program(
        """
        import os, signal, sys, warnings
        from mproc.resource_tracker import ResourceTracker
        tracker = ResourceTracker()
        fd, pid = tracker.getfd(), tracker._pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tracker.register(sys.argv[1], "shared_memory")
        print(len(caught), "died unexpectedly, relaunching" in str(caught[0].message))
        assert tracker._pid != pid
        tracker._stop()
        print(tracker._exitcode)
        """,
        name,
    )
    assert out == "1 True\n1\n"
    assert not (PLACE / name).exists()


def test_forked_children_and_strangers_use_a_tracker(name):
    out, err = in_program(
        """
        import os, subprocess, sys
        import mproc
        from mproc import resource_tracker

        def work(name):
            tracker.register(name, "shared_memory")
            tracker._stop()  # closes the child's descriptor only

        tracker = resource_tracker.ResourceTracker()
        fd = tracker.getfd()
        child = mproc.get_context("fork").Process(target=work, args=(sys.argv[1],))
        child.start(); child.join()
        stranger = "import os, sys; os.write(int(sys.argv[1]), sys.argv[2].encode() + bytes([10]))"
        message = f"UNREGISTER:{sys.argv[1]}:shared_memory"
        command = [sys.executable, "-c", stranger, str(fd), message]
        subprocess.run(command, pass_fds=[fd], check=True)
        assert child.exitcode == 0 and tracker._check_alive()
        tracker._stop()
        print(tracker._exitcode)
        """,
        name,
    )
    assert (out, err) == ("0\n", "")
    assert (PLACE / name).exists()


def test_the_modules_tracker_has_a_process_for_strangers_only(name):
    out, _ = in_program(
        """
        import os, sys
        from mproc import resource_tracker
        tracker = resource_tracker._resource_tracker
        assert isinstance(tracker, resource_tracker.ResourceTracker)
        resource_tracker.register(sys.argv[1], "shared_memory")
        resource_tracker.unregister(sys.argv[1], "shared_memory")
        assert tracker._fd is None and tracker._pid is None
        fd = resource_tracker.getfd()
        assert fd == tracker._fd and tracker._pid > 0
        os.write(fd, b"REGISTER:%s:shared_memory" % sys.argv[1].encode() + bytes([10]))
        tracker._stop()
        print(tracker._exitcode)
        """,
        name,
    )
    assert out == "1\n"
    assert not (PLACE / name).exists()


def test_the_process_for_strangers_is_there_for_those_who_ensure_that_it_runs():
    out, _ = in_program(
        """
        from mproc.resource_tracker import _resource_tracker as tracker, ensure_running
        ensure_running()
        assert tracker._process is None  # it is started when somebody looks
        fd, pid = tracker._fd, tracker._pid
        assert fd > 2 and pid > 0
        ensure_running()
        assert (tracker._fd, tracker._pid) == (fd, pid) and tracker._check_alive()
        tracker._stop()
        print(tracker._exitcode, tracker._fd)
        """
    )
    assert out == "0 None\n"


def test_nothing_is_started_for_those_who_do_not_look():
    out, _ = in_program(
        """
        import os
        from mproc import resource_tracker
        resource_tracker.ensure_running()
        def start(*args): print("started")
        resource_tracker._start_process = start
        """
    )
    assert out == ""


class OwnTracker(resource_tracker.ResourceTracker):
    """As programs derive them: with a pipe of their own, and commands of their own."""

    _use_simple_format = True

    def ensure_running(self):
        with self._lock:
            if self._fd is None:
                self.reader, self._fd = os.pipe()

    def maybe_unlink(self, name, rtype):
        self._send("MAYBE_UNLINK", name, rtype)


def test_a_derived_tracker():
    tracker = OwnTracker()
    tracker.register("a name", "folder")
    tracker.maybe_unlink("a name", "folder")
    assert tracker._check_alive()
    assert os.read(tracker.reader, 100) == (
        b"REGISTER:a name:folder\nMAYBE_UNLINK:a name:folder\nPROBE:0:noop\n"
    )
    os.close(tracker.reader)
    assert not tracker._check_alive()
    tracker._stop()
    assert tracker._fd is None


class NewerTracker(resource_tracker.ResourceTracker):
    """One that knows the methods which the standard library has had since 3.13.7."""

    _use_simple_format = True

    def ensure_running(self):
        return self._ensure_running_and_write()

    def _ensure_running_and_write(self, msg=None):
        with self._lock:
            if self._fd is None:
                self._launch()
            if msg is not None:
                self._write(msg)

    def _launch(self):
        self.reader, self._fd = os.pipe()

    def _write(self, msg):
        assert os.write(self._fd, msg) == len(msg)


class OnlyLaunches(resource_tracker.ResourceTracker):
    _use_simple_format = True
    launched = 0

    def _launch(self):
        self.reader, self._fd = os.pipe()
        self.launched += 1

    def _teardown_dead_process(self):
        os.close(self._fd)
        self._fd = None


def test_a_derived_tracker_with_newer_methods():
    tracker = NewerTracker()
    tracker.register("a name", "folder")
    tracker._ensure_running_and_write(b"more\n")
    assert os.read(tracker.reader, 100) == b"REGISTER:a name:folder\nmore\n"
    os.close(tracker.reader)
    tracker._stop()


def test_a_derived_tracker_with_a_process_of_its_own():
    tracker = OnlyLaunches()
    tracker.register("first", "folder")
    os.close(tracker.reader)
    tracker.register("second", "folder")  # the process has died
    assert tracker.launched == 2
    assert os.read(tracker.reader, 100) == b"REGISTER:second:folder\n"
    tracker._ensure_running_and_write(b"more\n")
    assert os.read(tracker.reader, 100) == b"PROBE:0:noop\nmore\n"
    os.close(tracker.reader)
    tracker._stop()


def test_a_tracker_that_cannot_be_started(monkeypatch):
    from mproc import util

    def fail(*arguments):
        raise OSError("no more processes")

    monkeypatch.setattr(util, "spawnv_passfds", fail)
    tracker = resource_tracker.ResourceTracker()
    for _ in range(2):
        with pytest.raises(OSError, match="no more processes"):
            tracker.register("x", "noop")
    assert tracker._fd is None


def test_a_tracker_that_is_used_while_it_is_started(monkeypatch):
    from mproc import util

    tracker = resource_tracker.ResourceTracker()
    monkeypatch.setattr(util, "spawnv_passfds", lambda *arguments: tracker.register("x", "noop"))
    with pytest.raises(resource_tracker.ReentrantCallError, match="is being started"):
        tracker.ensure_running()


@pytest.mark.parametrize(("simple", "most"), [(True, 512), (False, 255)])
def test_names_that_no_tracker_takes(simple, most):
    tracker = OwnTracker()
    tracker._use_simple_format = simple
    with pytest.raises(ValueError, match=f"a name has at most {most} bytes"):
        tracker.register("x" * (most + 1), "noop")
    assert tracker._fd is None


@pytest.mark.skipif(NEWLINES, reason="from Python 3.14 on it is taken")
def test_a_name_with_a_newline():
    tracker = OwnTracker()
    with pytest.raises(ValueError, match="a name has no newline"):
        tracker.register("two\nlines", "noop")
    assert tracker._fd is None


@pytest.mark.parametrize("simple", [True, False])
def test_both_forms_of_messages(name, simple):
    """A tracker's process understands them, whichever the version's default is."""
    text = """
        import sys
        from mproc.resource_tracker import ResourceTracker
        tracker = ResourceTracker()
        tracker._use_simple_format = sys.argv[2] == "True"
        for name in sys.argv[1], *sys.argv[3:]:
            tracker.register(name, "shared_memory")
        tracker.register("kept:\\\"", "noop")
        tracker.unregister("kept:\\\"", "noop")
        assert tracker._check_alive()
        tracker._stop()
        print(tracker._exitcode)
        """
    names = [name, f"{name}\n\xe4"] if NEWLINES else [name]
    for one in names:
        (PLACE / one).write_bytes(b"x")
    out, err = in_program(text, name, str(simple), *names[1:])
    assert out == "1\n"
    assert f"There appear to be {len(names)} leaked" in err
    assert not any((PLACE / one).exists() for one in names)


def test_the_form_is_that_of_the_version():
    tracker = resource_tracker.ResourceTracker()
    assert tracker._use_simple_format == (sys.version_info < (3, 15))
    tracker._use_simple_format = False
    reader, tracker._fd = os.pipe()
    tracker.unregister("a name", "kind")
    assert json.loads(os.read(reader, 1000).splitlines()[-1]) == {
        "cmd": "UNREGISTER", "rtype": "kind", "base64_name": "YSBuYW1l"
    }  # fmt: skip
    os.close(reader)
    tracker._stop()


def test_bad_input():
    with pytest.raises(ValueError, match="'socket'; there are shared_memory, semaphore"):
        resource_tracker.register("x", "socket")
    with pytest.raises(ValueError, match="'socket'"):
        resource_tracker.unregister("x", "socket")
    with pytest.raises(FileNotFoundError, match="mproc_nobody"):
        resource_tracker.register("mproc_nobody", "shared_memory")
