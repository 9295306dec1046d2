"""A thread is importing a module while another one forks: the child imports it by itself."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# A thread imports the module NAME, and stays in it until all is done, or for as long as the main
# thread may have to wait for it.
SLOWLY = """
import importlib.machinery, os, sys, threading
import mproc, mproc.managers

NAME, PARENT = sys.argv[1], os.getpid()
begun, go = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        step = sys.argv[2] if sys.argv[2:] else "exec_module"
        go_on = getattr(spec.loader, step)
        def slowly(argument):
            if os.getpid() == PARENT:
                begun.set()
                go.wait(3)
            return go_on(argument)
        setattr(spec.loader, step, slowly)
        return spec

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=__import__, args=(NAME,))
thread.start()
assert begun.wait(60)
fork = mproc.get_context("fork")
"""

END = """
go.set()
thread.join()
print("done")
"""

MANAGER = """
with mproc.managers.SyncManager(ctx=fork) as manager:
    pass
manager = mproc.managers.SyncManager(ctx=fork)
manager.start(abs, (1,))
queue = manager.Queue()
queue.put(1)
assert queue.get() == 1
manager.shutdown()
"""

PROCESS = """
def use():
    sys.exit(int(__import__(NAME).Fraction(7)))

child = fork.Process(target=use)
child.start()
child.join()
assert child.exitcode == 7, child.exitcode
"""

POOL = """
def use(n):
    return int(__import__(NAME).Fraction(7 + n))

with fork.Pool(1) as pool:
    assert pool.map(use, [0, 1]) == [7, 8]
"""

EXECUTOR = """
def use(n):
    return int(__import__(NAME).Fraction(7 + n))

with mproc.futures.ProcessPoolExecutor(1, mp_context=fork) as executor:
    assert executor.submit(use, 1).result() == 8
"""


def run(tmp_path: Path, source: str, *argv: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(source)
    ended = subprocess.run([sys.executable, script, *argv], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    "name", ["mproc._managers.referents", "mproc.authentication", "hmac", "queue", "signal"]
)
def test_a_server_imports_it(tmp_path: Path, name: str) -> None:
    run(tmp_path, SLOWLY + MANAGER + END, name)


@pytest.mark.parametrize("use", [PROCESS, POOL, EXECUTOR])
def test_a_child_imports_it(tmp_path: Path, use: str) -> None:
    run(tmp_path, SLOWLY + "import mproc.futures\n" + use + END, "fractions")


def test_what_the_thread_itself_imports_is_there(tmp_path: Path) -> None:
    """A module that forks while it is imported is the same one in the child."""
    (tmp_path / "forks.py").write_text(
        textwrap.dedent("""
        import sys
        import mproc
        EARLY = object()
        def use(early):
            import forks
            sys.exit(3 if forks.EARLY is early and sys.modules["forks"] is forks else 4)
        child = mproc.get_context("fork").Process(target=use, args=(EARLY,))
        child.start()
        child.join()
        """)
    )
    run(tmp_path, "import forks\nassert forks.child.exitcode == 3\nprint('done')\n")


@pytest.mark.parametrize("name", ["fractions", "asyncio"])
def test_of_a_module_that_is_looked_for_nothing_has_run(tmp_path: Path, name: str) -> None:
    use = PROCESS.replace("int(__import__(NAME).Fraction(7))", "7 if __import__(NAME) else 0")
    run(tmp_path, SLOWLY + use + END, name, "create_module")


def test_a_module_that_the_child_runs_in_stays(tmp_path: Path) -> None:
    """A thread forks that a module has started whose import goes on: the child is not to run it."""
    (tmp_path / "threads.py").write_text(
        textwrap.dedent("""
        import sys, threading
        import mproc
        class Result: pass
        def use():
            sys.exit(3 if sys.modules["threads"].Result is Result else 4)
        def fork():
            global child
            child = mproc.get_context("fork").Process(target=use)
            child.start()
            child.join()
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        """)
    )
    run(tmp_path, "import threads\nassert threads.child.exitcode == 3\nprint('done')\n")
