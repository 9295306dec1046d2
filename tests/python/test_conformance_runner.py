"""Tests of the conformance runner: what it must notice, it notices.

A little suite of the shape of the interpreter's own is run on little packages made here; one test
runs the interpreter's own suite on a copy of the standard package under the name mproc.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1] / "conformance"
sys.path.insert(0, str(HERE))

import interpreter  # noqa: E402
import processes  # noqa: E402
import selection  # noqa: E402
from abreast import abreast  # noqa: E402
from interpreter import Interpreter, NotFound, ask, find  # noqa: E402
from report import Report  # noqa: E402
from run import check_expected, check_names  # noqa: E402
from shadow import Shadow  # noqa: E402
from trial import Outcome  # noqa: E402

WATCHDOG = 240  # s

# Loads the standard extensions under other names, as the real package has them in its own.
EXTENSION = """\
import glob, importlib.machinery, importlib.util, sysconfig

__all__ = []


def load(name):
    path = glob.glob(sysconfig.get_path("stdlib") + f"/lib-dynload/{name}.*.so")[0]
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.machinery.ModuleSpec(name, loader, origin=path)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


synchronize, memory = load("_multiprocessing"), load("_posixshmem")
SemLock, sem_unlink, flags = synchronize.SemLock, synchronize.sem_unlink, synchronize.flags
shm_open, shm_unlink = memory.shm_open, memory.shm_unlink
"""

SUITE = """\
import multiprocessing, multiprocessing.managers, os, signal, subprocess, sys, time, unittest
from multiprocessing.managers import BaseManager

class Derived(BaseManager): pass
Derived.register('thing', callable=int)

class TestGood(unittest.TestCase):
    def test_good(self): pass
    def test_process(self):
        process = multiprocessing.Process(target=int)
        process.start()
        process.join()
        self.assertEqual(process.exitcode, 0)

class TestBad(unittest.TestCase):
    def test_bad(self): self.assertEqual(1, 2, 'one is not two')
    def test_worse(self): raise KeyError('culprit')
    def test_sub(self):
        for n in range(2):
            with self.subTest(n=n): self.assertEqual(n, 0)

class TestSkip(unittest.TestCase):
    def test_skip(self): self.skipTest('no mood')

class TestCrash(unittest.TestCase):
    def test_a_good(self): pass
    def test_b_crash(self): os.kill(os.getpid(), signal.SIGSEGV)
    def test_c_good(self): pass

class TestHang(unittest.TestCase):
    def test_a_hang(self):
        while True: time.sleep(60)
    def test_b_good(self): pass

class TestExit(unittest.TestCase):
    def test_good(self):
        import atexit
        atexit.register(os._exit, 3)

class TestFixture(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError('no fixture')
    def test_good(self): pass

class TestStray(unittest.TestCase):
    def test_a_fork(self):
        pid = os.fork()
        if pid: os.waitpid(pid, 0)
    def test_b_good(self): pass

class TestLeak(unittest.TestCase):
    def test_child(self):
        subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    def test_session(self):
        command = [sys.executable, '-c', 'import time; time.sleep(600)']
        subprocess.Popen(command, start_new_session=True)
    def test_shm(self):
        open(f'/dev/shm/mpc-{os.getpid()}', 'w').close()

class TestStandard(unittest.TestCase):
    def test_by_path(self):
        import importlib.util
        path = os.path.realpath(os.path.dirname(os.path.realpath(os.__file__)))
        spec = importlib.util.spec_from_file_location(
            'stranger', path + '/multiprocessing/process.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    def test_second_copy(self):
        shim = os.path.join(os.path.dirname(os.__file__), 'multiprocessing')
        sys.path.insert(0, shim)
        import popen_fork

class TestAbsent(unittest.TestCase):
    def test_manager(self): Derived()

def install_tests_in_module_dict(target, method):
    for name, case in list(globals().items()):
        if isinstance(case, type) and issubclass(case, unittest.TestCase):
            target[name] = type(name, (case,), {'__module__': target['__name__']})
    target['setUpModule'] = lambda: multiprocessing.set_start_method(method, force=True)
"""


class Runner:
    """Runs run.py on the little suite, in a shadow that all tests share."""

    def __init__(self, folder: Path, python: Interpreter) -> None:
        self.folder = folder
        self.python = python
        self.suite = folder / "suite.py"
        self.suite.write_text(SUITE)
        self.package = standard_copy(folder / "package", python)
        self.output = ""

    def __call__(self, only: str, *more: str | Path, package: Path | None = None) -> int:
        """The exit code; what was said is in `output`."""
        result = subprocess.run(
            self.command(only, *more, package=package),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WATCHDOG,
        )  # fmt: skip
        self.output = result.stdout
        return result.returncode

    def command(
        self, only: str, *more: str | Path, package: Path | None = None
    ) -> list[str | Path]:
        return [
            sys.executable, HERE / "run.py", "--python", self.python.binary, "--method", "fork",
            "--only", only, "--shadow", self.folder / "shadow", "--suite", self.suite,
            "--package", package or self.package, *more,
        ]  # fmt: skip

    @property
    def counts(self) -> str:
        return self.output.splitlines()[-1]

    def expect(self, test: str, **more: str) -> list[str | Path]:
        """The option for a list with one expected failure."""
        entry = {"test": test, "reason": "It pins something.", "instead": "Another thing.", **more}
        lines = "".join(f'{key} = "{value}"\n' for key, value in entry.items())
        path = self.folder / "expected.toml"
        path.write_text(f"[[expected]]\n{lines}")
        return ["--expected", path]


def standard_copy(folder: Path, python: Interpreter) -> Path:
    """A package mproc that behaves like the standard one."""
    standard = Path(python.stdlib, "multiprocessing")
    shutil.copytree(standard, folder / "mproc", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mproc" / "_mproc.py").write_text(EXTENSION)
    alias = folder / "mproc" / "_alias"
    alias.mkdir()
    (alias / "__init__.py").touch()
    (alias / "_multiprocessing.py").write_text("from .._mproc import SemLock, flags, sem_unlink\n")
    return folder


@pytest.fixture(scope="module")
def python() -> Interpreter:
    """An interpreter with a test suite; there may be none on this machine."""
    for version in ("3.11", "3.12", "3.13"):
        try:
            return find(version)
        except NotFound:
            continue
    pytest.skip("no interpreter with a test suite")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, python: Interpreter) -> Iterator[Runner]:
    yield Runner(tmp_path_factory.mktemp("conformance"), python)


@pytest.fixture
def altered(run: Runner, tmp_path: Path) -> Callable[[str, str], Path]:
    """Makes a copy of the package with text added to one of its files."""

    def make(file: str, text: str) -> Path:
        shutil.copytree(run.package, tmp_path / "package")
        with (tmp_path / "package" / "mproc" / file).open("a") as out:
            out.write(text)
        return tmp_path / "package"

    return make


def test_passing_tests_pass(run: Runner) -> None:
    assert run("TestGood") == 0, run.output
    assert run.counts == "2 passed, 0 failed, 0 skipped"
    assert "-I and -E -S -O children see mproc" in run.output


def test_failures_are_failures(run: Runner) -> None:
    assert run("TestBad,TestGood") == 1
    assert run.counts == "2 passed, 3 failed, 0 skipped"
    assert "one is not two" in run.output and "KeyError: 'culprit'" in run.output
    again = f"--python {run.python.version} --method fork --only TestBad.test_bad"
    assert again in run.output


def test_broken_package_fails(run: Runner, altered: Callable[[str, str], Path]) -> None:
    text = "\nBaseProcess.exitcode = property(lambda self: 77)\n"
    package = altered("process.py", text)
    assert run("TestGood", package=package) == 2
    assert "exit code 77" in run.output  # the self-check starts processes, too


def test_package_that_cannot_be_imported(run: Runner, altered: Callable[[str, str], Path]) -> None:
    package = altered("queues.py", "\nraise ValueError('broken queue')\n")
    assert run("TestGood", package=package) == 2
    assert "cannot be imported" in run.output and "broken queue" in run.output


def test_skips_are_named(run: Runner) -> None:
    assert run("TestSkip,TestGood", "-v") == 0, run.output
    assert run.counts == "2 passed, 0 failed, 1 skipped"
    assert "skipped test_skip: no mood" in run.output


def test_nothing_run_is_a_failure(run: Runner) -> None:
    assert run("TestSkip") == 1
    assert "Nothing was run." in run.output
    assert run.counts == "0 passed, 0 failed, 1 skipped"


def test_unknown_test_is_a_failure(run: Runner) -> None:
    assert run("TestGood,TestGood.test_bad") == 1
    assert "selector TestGood.test_bad" in run.output


def test_crash_hides_nothing(run: Runner) -> None:
    assert run("TestCrash,TestGood") == 1
    assert run.counts == "4 passed, 1 failed, 0 skipped"
    assert "died of SIGSEGV in this test" in run.output


def test_hang_is_noticed(run: Runner) -> None:
    assert run("TestHang", "--timeout", "2") == 1
    assert run.counts == "1 passed, 1 failed, 0 skipped"
    assert "hung: nothing happened for 2 s" in run.output
    assert "in test_a_hang" in run.output  # faulthandler's traceback


@pytest.mark.parametrize("methods", ["fork", "fork,spawn"])
def test_end_of_the_run_is_the_end_of_all(run: Runner, methods: str) -> None:
    """A runner that is told to end takes the processes of the running classes with it."""
    command = run.command("TestHang", "--method", methods)
    runner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    assert "see mproc" in runner.stdout.readline()
    while len(children := hanging(runner.pid)) < len(methods.split(",")):
        assert runner.poll() is None
        time.sleep(0.05)
    runner.terminate()
    runner.communicate(timeout=WATCHDOG)
    assert runner.returncode == 128 + signal.SIGTERM
    assert not [pid for pid in children if Path("/proc", str(pid)).exists()]


def hanging(runner: int) -> list[int]:
    """Those below the runner that run tests, not those that they have started."""
    found = []
    with contextlib.suppress(OSError):  # it, or the child looked at, has ended meanwhile
        for pid in map(int, Path(f"/proc/{runner}/task/{runner}/children").read_text().split()):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            runs_tests = b"mproc_conformance" in words and b"TestHang" in words
            found += [pid] if runs_tests else hanging(pid)
    return found


def test_methods_run_side_by_side(run: Runner) -> None:
    assert run("TestBad,TestGood", "--method", "fork,spawn,forkserver") == 1
    assert run.counts == "6 passed, 9 failed, 0 skipped"
    for method in ("fork", "spawn", "forkserver"):
        assert f"--method {method} --only TestBad.test_bad" in run.output


def test_jobs_abreast_are_told_apart() -> None:
    def job(key: str) -> str:
        if key == "raises":
            raise ValueError("odd")
        if key == "ends":
            os._exit(3)
        return key * 2

    told = {key: (result, why) for key, result, why in abreast(job, ["raises", "ends", "good"])}
    assert told["good"] == ("goodgood", "")
    assert "ValueError: odd" in told["raises"][1]
    assert told["ends"] == (None, "its process ended with exit code 3")


def test_jobs_abreast_end_when_nobody_takes_their_answers() -> None:
    own = Path("/proc/self/task", str(os.getpid()), "children")
    before = own.read_text()
    signal_before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        jobs = abreast(
            lambda key: "soon" if key == "first" else time.sleep(WATCHDOG), ["first", "late"]
        )
        assert next(jobs) == ("first", "soon", "")
        jobs.close()
    finally:
        signal.signal(signal.SIGTERM, signal_before)
    assert own.read_text() == before


def test_bad_exit_is_noticed(run: Runner) -> None:
    assert run("TestExit") == 1
    assert run.counts == "1 passed, 1 failed, 0 skipped"
    assert "exit code 3" in run.output


def test_broken_fixture_fails_its_tests(run: Runner) -> None:
    assert run("TestFixture") == 1
    assert "no fixture" in run.output
    assert run.counts == "0 passed, 2 failed, 0 skipped"


def test_stray_child_is_noticed(run: Runner) -> None:
    assert run("TestStray") == 1
    assert "(stray child)" in run.output


@pytest.mark.parametrize("test", ["test_child", "test_session"])
def test_child_left_behind(run: Runner, test: str) -> None:
    assert run(f"TestLeak.{test}") == 1
    assert run.counts == "1 passed, 1 failed, 0 skipped"
    assert "time.sleep(600)" in run.output


def test_shm_left_behind(run: Runner) -> None:
    before = set(os.listdir("/dev/shm"))
    assert run("TestLeak.test_shm") == 1
    assert "/dev/shm/mpc-" in run.output
    for name in set(os.listdir("/dev/shm")) - before:  # where the run had no /dev/shm of its own
        if name.startswith("mpc-"):
            os.unlink(f"/dev/shm/{name}")


@pytest.mark.parametrize("test", ["test_by_path", "test_second_copy"])
def test_standard_library_is_noticed(run: Runner, test: str) -> None:
    assert run(f"TestStandard.{test}") == 1
    assert "(tripwire)" in run.output
    assert "executed the standard library's" in run.output


def test_self_check_stops_the_run(run: Runner, altered: Callable[[str, str], Path]) -> None:
    """Children that import something else: pitfall number one."""
    text = (
        "\nimport sys, types\n"
        "if '-E' in sys.orig_argv:\n"
        "    sys.modules['mproc.process'] = types.ModuleType('mproc.process')\n"
        "    sys.modules['mproc.process'].__file__ = '/elsewhere/process.py'\n"
    )
    assert run("TestGood", package=altered("__init__.py", text)) == 2
    assert "-E -S -O child: multiprocessing.process is /elsewhere/process.py" in run.output


def test_missing_module_fails_only_its_tests(run: Runner, tmp_path: Path) -> None:
    shutil.copytree(run.package, tmp_path / "package")
    (tmp_path / "package" / "mproc" / "managers.py").unlink()
    assert run("TestGood,TestAbsent", package=tmp_path / "package") == 1
    assert run.counts == "2 passed, 1 failed, 0 skipped"
    assert "the package lacks managers" in run.output
    assert "the package under test has no multiprocessing.managers.BaseManager" in run.output


def test_expected_failure(run: Runner) -> None:
    assert run("TestBad.test_bad,TestGood", *run.expect("TestBad.test_bad")) == 0, run.output
    assert "1 expected failures:" in run.output
    assert "It pins something. Instead: Another thing." in run.output
    assert run.counts == "2 passed, 0 failed, 0 skipped"


def test_unexpected_success(run: Runner) -> None:
    assert run("TestGood", *run.expect("TestGood.test_good")) == 1
    assert "unexpected success" in run.output
    assert run.counts == "1 passed, 1 failed, 0 skipped"


def test_expected_elsewhere_only(run: Runner) -> None:
    assert run("TestBad.test_bad", *run.expect("TestBad.test_bad", method="spawn")) == 1


def test_expected_failure_needs_a_reason(run: Runner) -> None:
    assert run("TestGood", *run.expect("TestGood.test_good", reason="")) == 2
    assert "entry 1" in run.output and "reason" in run.output


def test_excluded_tests_are_named(run: Runner, tmp_path: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("TestGood\n!TestGood.test_process  # too dear\n")
    assert run("TestGood", "--classes", classes) == 0, run.output
    assert run.counts == "1 passed, 0 failed, 0 skipped"
    assert "left out test_process: too dear" in run.output


def test_real_suite(run: Runner) -> None:
    """The interpreter's own file, on a copy of the standard package: all is found and passes."""
    only = "TestStartMethod,_TestSubclassingProcess,SemLockTests"
    assert run(only, "--method", "spawn", "--suite", run.python.suite) == 0, run.output


def test_stock_is_a_control(run: Runner) -> None:
    command = [
        sys.executable, HERE / "run.py", "--stock", "--python", run.python.binary, "--method",
        "fork", "--only", "TestGood", "--suite", run.suite, "--shadow", run.folder / "shadow",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "see the standard library" in result.stdout


def test_borrowed_tests_are_lent_what_they_ask_for(tmp_path: Path) -> None:
    package, folder = tmp_path / "package", tmp_path / "folder"
    package.mkdir()
    folder.mkdir()
    (package / "__init__.py").write_text("original = 1\n")
    (package / "test_a.py").write_text("a = 1\n")
    Shadow.borrow(package, folder)
    assert (folder / "test_a.py").read_text() == "a = 1\n"
    lines = (folder / "__init__.py").read_text().splitlines()
    assert lines[-3:] == ["", "lending.lend()", "original = 1"]


def test_lending_fills_what_is_missing() -> None:
    """In an interpreter of its own, whose test.support has nothing."""
    program = (
        "import sys, types; test = types.ModuleType('test'); support = types.ModuleType('s');"
        "support.skip_if_sanitizer = lambda reason: None; test.support = support;"
        "sys.modules['test'] = test; sys.path.insert(0, sys.argv[1]); import lending;"
        "lending.lend(); assert support.skip_if_sanitizer('x', thread=True)(5) == 5;"
        "assert not support.check_sanitizer(thread=True) and not support.Py_GIL_DISABLED;"
        "assert support.requires_gil_enabled('x')(6) == 6"
    )
    subprocess.run([sys.executable, "-c", program, str(HERE / "inside")], check=True, timeout=60)


@pytest.mark.parametrize("group", [0, 1, os.getpgrp(), os.getppid()])
def test_only_own_groups_are_touched(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group 0 is that of init and of kernel threads; our own group is not a trial's, either.

    Should the guard fail, this test must not do the harm: the signal is taken out first.
    """
    monkeypatch.setattr(processes, "kill", lambda pid, leader: pytest.fail(f"would kill {pid}"))
    with pytest.raises(processes.NotOurs):
        processes.end_all(group, 0.0)


@pytest.mark.parametrize("group", [0, 1])
def test_groups_of_the_system_are_not_ours(group: int) -> None:
    assert not processes.is_ours(1, group) and not processes.is_ours(2, group)
    assert not processes.is_ours(os.getppid(), group)


def test_stranger_is_not_killed() -> None:
    stranger = subprocess.Popen(["sleep", "60"], process_group=0)
    leader = subprocess.Popen(["sleep", "60"], process_group=0)
    try:
        nephew = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE)
        assert nephew.stdout is not None
        pid = int(nephew.stdout.readline())  # a child of a child: neither in the group nor ours
        nephew.wait()
        assert not processes.is_ours(pid, leader.pid)
        processes.kill(pid, leader.pid)
        assert Path("/proc", str(pid)).exists() and stranger.poll() is None
        os.kill(pid, 9)
    finally:
        for process in (stranger, leader):
            process.kill()
            process.wait()


def test_no_such_interpreter() -> None:
    with pytest.raises(NotFound, match="/bin/false"):
        find("/bin/false")
    assert ask("/bin/false") is None


def test_interpreter_knows_its_library() -> None:
    known = ask(sys.executable)
    assert known is not None
    assert Path(known.stdlib) == Path(sysconfig.get_path("stdlib")).resolve()


def test_tests_of_futures_are_those_of_the_nearest_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = {}
    for version in ("3.12", "3.14", "3.15"):
        folders[version] = tmp_path / version / "test" / "test_concurrent_futures"
        folders[version].mkdir(parents=True)
    monkeypatch.setattr(interpreter, "candidates", lambda version: [version])
    monkeypatch.setattr(
        interpreter,
        "ask",
        lambda version: Interpreter(version, version, version, str(tmp_path / version), "lib"),
    )
    assert interpreter.futures_tests("3.15") == folders["3.15"]
    assert interpreter.futures_tests("3.13") == folders["3.14"]
    assert interpreter.futures_tests("3.11") == folders["3.12"]
    shutil.rmtree(folders["3.15"])
    assert interpreter.futures_tests("3.15") == folders["3.14"]


CASE = selection.Case("test.test_multiprocessing_fork", "WithThreadsTestLock", ("test_a", "test_b"))


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("_TestLock", "ab"),
        ("_TestLock.threads", "ab"),
        ("WithThreadsTestLock", "ab"),
        ("_TestLock.processes", ""),
        ("_TestLock.test_b", "b"),
        ("_TestLock.threads.test_a", "a"),
        ("_TestLock.test_*", "ab"),
        ("_TestLoc", ""),
        ("TestLock", ""),
        ("test_multiprocessing_fork", "ab"),
        ("test_multiprocessing_fork.WithThreadsTestLock.test_a", "a"),
        ("test_multiprocessing_spawn", ""),
    ],
)
def test_selector(text: str, tests: str) -> None:
    selector = selection.parse_selector(text)
    found = [test for test in CASE.tests if selector.matches(CASE, test)]
    assert found == [f"test_{letter}" for letter in tests]


@pytest.mark.parametrize("text", ["", "!", "_TestLock.threads.test_a.b", "a-b", "T.a.b"])
def test_bad_selector(text: str) -> None:
    with pytest.raises(selection.BadSelection):
        selection.parse_selector(text)


@pytest.mark.parametrize("line", ["TestWait timeout=x", "TestWait !", "!TestWait.test_wait"])
def test_bad_line(line: str) -> None:
    with pytest.raises(selection.BadSelection, match=r"classes\.txt:7"):
        selection.parse_line(line, "classes.txt:7")


def test_options_of_a_line() -> None:
    selector = selection.parse_line("_TestPool timeout=400 optional  # slow", "here")
    assert selector is not None and selector.case == "_TestPool"
    assert (selector.timeout, selector.optional, selector.reason) == (400.0, True, "slow")


@pytest.mark.parametrize(
    ("line", "failed"), [("TestOther", 1), ("TestOther optional", 0), ("_TestLock.test_a", 0)]
)
def test_stale_lines_are_failures(line: str, failed: int) -> None:
    selector = selection.parse_line(line, "here")
    assert selector is not None
    report = Report([])
    check_names([selector], [CASE], report)
    assert report.counts["failed"] == failed


@pytest.mark.parametrize(
    "case",
    [
        CASE,
        selection.Case("test.test_multiprocessing_fork", "TestWait", ("test_a",)),
        selection.Case("test.test_multiprocessing_main_handling", "ForkCmdLineTest", ("test_a",)),
        selection.Case("test.test_concurrent_futures", "ProcessPoolForkWaitTest", ("test_a",)),
        selection.Case("test.test_concurrent_futures.test_wait", "ForkWaitTest", ("test_a",)),
    ],
    ids=lambda case: case.name,
)
def test_what_to_run_again_is_found_again(case: selection.Case) -> None:
    command = Report([]).again("3.11", "fork", case, "test_a")
    selector = selection.parse_selector(command.partition(" --only ")[2])
    modules = {selector.module or "test_multiprocessing_fork"}  # those that run_method() lists
    assert modules.intersection(case.module.split("."))
    assert [picked.tests for picked in selection.choose([case], [selector])] == [["test_a"]]


def test_stale_expectation_is_a_failure() -> None:
    entry = {"test": "_TestLock.test_gone", "reason": "r", "instead": "i"}
    report = Report([selection.parse_expected(entry, "here")])
    check_expected([CASE], report)
    assert report.surprises == ["expected.toml: _TestLock.test_gone"]


@pytest.mark.parametrize(("outcome", "judged"), [("passed", "passed"), ("failed", "expected")])
def test_what_fails_sometimes_may_pass(outcome: str, judged: str) -> None:
    entry = {"test": "_TestLock.test_a", "reason": "r", "instead": "i", "when": "sometimes"}
    report = Report([selection.parse_expected(entry, "here")])
    report.add("3.15", "fork", CASE, [Outcome("test_a", outcome, "")])
    assert report.counts == {judged: 1}
    assert report.surprises == []


def test_only_sometimes_is_understood() -> None:
    entry = {"test": "_TestLock.test_a", "reason": "r", "instead": "i", "when": "never"}
    with pytest.raises(selection.BadSelection, match="never"):
        selection.parse_expected(entry, "here")


def test_the_lists_can_be_read() -> None:
    assert selection.read_classes(HERE / "classes.txt")
    selection.read_expected(HERE / "expected.toml")
