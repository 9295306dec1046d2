"""Tools that follow children: they wrap what makes a process, or what a child does first."""

import pytest

HEAD = """
import os, sys, _posixsubprocess, subprocess
import multiprocessing as mp
from multiprocessing import process, spawn
def f(code=0): sys.exit(code)
def run(method, *args):
    child = mp.get_context(method).Process(target=f, args=args)
    child.start(); child.join()
    return child.exitcode
"""
MAIN = "\nif __name__ == '__main__': main(sys.argv[1])\n"


@pytest.fixture
def tool(program, method):
    def output(text):
        program.write("main.py", HEAD + text + MAIN)
        return program.output("-m", "mproc", "main.py", method)

    return output


def test_wrapped_fork(tool, method):
    """It is called once a child, in the parent and in the child, and what it does lasts there."""
    printed = tool("""
made, fork = [], os.fork
def wrapper():
    pid = fork()
    made.append(pid)
    return pid
os.fork = wrapper
def main(method):
    codes = [run(method, 3), run(method), run(method, 7)]
    print(codes, len(made), all(pid > 0 for pid in made))
    if method == 'fork':
        def f2(): os._exit(made[-1] == 0 and len(made) == 4)
        child = mp.get_context(method).Process(target=f2); child.start(); child.join()
        print(child.exitcode, made[-1] == child.pid)
""")
    count = 3 if method == "fork" else 0
    assert printed.splitlines()[0] == f"[3, 0, 7] {count} True"
    assert printed.splitlines()[1:] == (["1 True"] if method == "fork" else [])


def test_wrapped_program_start(tool, method):
    """`fork_exec()` starts the interpreter of spawn, and that of the template."""
    printed = tool("""
calls, fork_exec = [], _posixsubprocess.fork_exec
def wrapper(args, *rest):
    calls.append(args)
    return fork_exec(args, *rest)
_posixsubprocess.fork_exec = wrapper
def main(method):
    print([run(method, 3), run(method), run(method, 7)], len(calls))
    print(all(os.fsdecode(sys.executable) == os.fsdecode(args[0]) for args in calls))
""")
    count = {"fork": 0, "spawn": 3, "forkserver": 1}[method]
    assert printed == f"[3, 0, 7] {count}\nTrue\n"


def test_a_wrapper_that_changes_the_command(tool, method):
    """A debugger puts its own beginning before the command of the interpreter."""
    printed = tool("""
fork_exec = _posixsubprocess.fork_exec
def wrapper(args, *rest):
    args = list(args)
    where = args.index(b'-c') + 1
    args[where] = b'import sys; sys.followed = 42; ' + os.fsencode(args[where])
    return fork_exec(args, *rest)
_posixsubprocess.fork_exec = wrapper
def f(): print(getattr(sys, 'followed', None), flush=True)
def main(method): run(method)
""")
    assert printed == ("None\n" if method == "fork" else "42\n")


@pytest.mark.parametrize("name", ["os.fork", "_posixsubprocess.fork_exec"])
def test_a_wrapper_that_raises(tool, method, name):
    """start() raises what it raises, and the next start is not harmed."""
    module, function = name.split(".")
    printed = tool(f"""
original, failing = {name}, True
def wrapper(*args):
    if failing: raise LookupError('no')
    return original(*args)
{module}.{function} = wrapper
def main(method):
    global failing
    try: print(run(method, 5))
    except LookupError as error: print(repr(error))
    failing = False
    print(run(method, 5), len(mp.active_children()))
    os.wait3(os.WNOHANG) if method == 'forkserver' else None
""")
    concerned = (method == "fork") == (module == "os")
    assert printed == f"{'LookupError' + repr(('no',)).replace(',', '') if concerned else 5}\n5 0\n"


def test_a_program_that_is_not_there(tool, method):
    if method == "fork":
        return
    printed = tool("""
fork_exec = _posixsubprocess.fork_exec
_posixsubprocess.fork_exec = lambda *args: fork_exec(*args)
def main(method):
    mp.set_executable('/no/such/interpreter')
    try: run(method)
    except OSError as error: print(type(error).__name__, error.filename)
    try: os.wait()
    except ChildProcessError: print('no child')
""")
    assert printed == "FileNotFoundError /no/such/interpreter\nno child\n"


def test_a_wrapped_bootstrap(tool, method):
    """It is wrapped in the child, too: by the main module, or by the preparation data."""
    printed = tool("""
original = process.BaseProcess._bootstrap
def wrapper(self, *args, **kwargs):
    try: return original(self, *args, **kwargs)
    finally: print('measured', type(self).__module__, flush=True)
process.BaseProcess._bootstrap = wrapper
def main(method): print(run(method, 4))
""")
    assert printed == "measured mproc.context\n4\n"


def test_an_object_in_the_preparation_data(program, method):
    """When it is unpickled in the child, `multiprocessing` is what it is in the parent."""
    program.write(
        "tool.py",
        """
import multiprocessing
from multiprocessing import spawn
from multiprocessing.process import BaseProcess
class Stowaway:
    def __getstate__(self): return {'there': True}
    def __setstate__(self, state): follow()
def follow():
    original, prepared = BaseProcess._bootstrap, spawn.get_preparation_data
    def bootstrap(self, *args, **kwargs):
        try: return original(self, *args, **kwargs)
        finally: print('measured by', multiprocessing.__name__, flush=True)
    def get_preparation_data(name):
        return {**prepared(name), 'stowaway': Stowaway()}
    BaseProcess._bootstrap, spawn.get_preparation_data = bootstrap, get_preparation_data
""",
    )
    program.write(
        "main.py",
        HEAD + "def main(method): import tool; tool.follow(); print(run(method, 4))" + MAIN,
    )
    lines = program.output("-m", "mproc", "main.py", method).splitlines()
    assert lines[-1] == "4" and set(lines[:-1]) == {"measured by mproc"}


def test_preparation_data_of_the_main_module(program):
    """A template imports that later, and what is added is meant for its children only."""
    code = """
class Stowaway:
    def __getstate__(self): return {'there': True}
    def __setstate__(self, state): print('unpickled', flush=True)
prepared = spawn.get_preparation_data
spawn.get_preparation_data = lambda name: {**prepared(name), 'stowaway': Stowaway()}
def main(method): print(run(method, 4))
"""
    program.write("main.py", HEAD + code + MAIN)
    printed = program.output("-m", "mproc", "main.py", "forkserver")
    assert printed == "unpickled\n4\n"
