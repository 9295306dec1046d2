"""`multiprocessing` as another name of mproc: install() and `python -m mproc`."""

import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest

WHO = """
import multiprocessing, sys
import multiprocessing.connection as connection
from multiprocessing import process
def who(end):
    import multiprocessing.util
    from multiprocessing.popen_fork import Popen
    end.send((multiprocessing.__name__, multiprocessing.__spec__.name, process.__name__,
              multiprocessing.util.__name__, Popen.__module__, connection.Connection.__module__,
              sys.modules['multiprocessing'] is sys.modules['mproc'],
              sys.modules['multiprocessing.util'] is sys.modules['mproc.util'], sys.argv[1:]))
def main(method):
    ctx = multiprocessing.get_context(method)
    reader, writer = ctx.Pipe(duplex=False)
    p = ctx.Process(target=who, args=(writer,))
    p.start()
    print(reader.recv())
    p.join()
    assert p.exitcode == 0
"""
GUARD = "\nif __name__ == '__main__':\n    main(sys.argv[1])\n"


def expected(*arguments):
    names = ("mproc", "mproc", "mproc.process", "mproc.util", "mproc.popen_fork")
    return f"{(*names, 'mproc.connection', True, True, list(arguments))}\n"


# ---- what python -m mproc runs


def test_a_script(program, method):
    program.write("main.py", WHO + GUARD)
    assert program.output("-m", "mproc", "main.py", method, "-x") == expected(method, "-x")


def test_a_module(program, method):
    program.write("package/__init__.py", "")
    program.write("package/main.py", "from . import other\n" + WHO + GUARD)
    program.write("package/other.py", "")
    printed = program.output("-m", "mproc", "-m", "package.main", method)
    assert printed == expected(method)


def test_a_package(program, method):
    program.write("package/__init__.py", "")
    program.write("package/work.py", WHO)
    text = "from package.work import main\nimport sys\nmain(sys.argv[1])\n"
    program.write("package/__main__.py", text)
    assert program.output("-m", "mproc", "-m", "package", method) == expected(method)


def test_a_directory(program, method):
    program.write("folder/work.py", WHO)
    program.write("folder/__main__.py", "import sys, work\nwork.main(sys.argv[1])\n")
    assert program.output("-m", "mproc", "folder", method) == expected(method)


def test_an_archive(program, method):
    with zipfile.ZipFile(program.folder / "program.zip", "w") as archive:
        archive.writestr("work.py", WHO)
        archive.writestr("__main__.py", "import sys, work\nwork.main(sys.argv[1])\n")
    assert program.output("-m", "mproc", "program.zip", method) == expected(method)


def test_compiled(program, method):
    import py_compile

    py_compile.compile(str(program.write("main.py", WHO + GUARD)), program.folder / "main.pyc")
    assert program.output("-m", "mproc", "main.pyc", method) == expected(method)


def test_a_command(program):
    program.write("work.py", WHO)
    command = "import sys, work; work.main(sys.argv[1])"
    assert program.output("-m", "mproc", "-c", command, "fork") == expected("fork")


def test_standard_input(program):
    text = "import multiprocessing, sys\nprint(multiprocessing.__name__, sys.argv)\n"
    done = program.run("-m", "mproc", "-", "x", input=text)
    assert done.stdout == "mproc ['-', 'x']\n"


def test_children_of_a_program_on_standard_input(program, method):
    """It is no file: a child does not look for one."""
    text = f"""
import multiprocessing as mp
ctx = mp.get_context({method!r})
p = ctx.Process(target=print, args=("child",)); p.start(); p.join()
with ctx.Pool(1) as pool: print(pool.map(abs, [-1]), p.exitcode, "__file__" in globals())
"""
    assert program.output("-m", "mproc", "-", input=text) == "child\n[1] 0 True\n"
    started = text.replace("import multiprocessing as mp", "import mproc as mp")
    assert program.output("-", input=started) == "child\n[1] 0 True\n"


def test_usage(program):
    assert program.output("-m", "mproc").startswith("usage: python -m mproc")
    assert program.output("-m", "mproc", "--help").startswith("usage: python -m mproc")
    for arguments in (["-x"], ["-m"], ["-c"], ["-X"], ["-bx", "main.py"], ["-X", "dev"], ["--x"]):
        done = program.run("-m", "mproc", *arguments)
        assert done.returncode == 2 and "usage:" in done.stderr
        assert done.stdout == ""


def test_version(program):
    import mproc

    assert mproc.__version__.count(".") == 2
    for option in ("-V", "--version"):
        printed = program.output("-m", "mproc", option)
        assert printed.startswith(f"mproc {mproc.__version__} for Python {sys.version_info[0]}.")
        assert "MPROC_INSTALL is not set" in printed
    env = {**program.env, "MPROC_INSTALL": "1"}
    assert "MPROC_INSTALL is set" in program.output("-m", "mproc", "--version", env=env)


# ---- options of the interpreter

FLAGS = """
import sys, multiprocessing
def flags(): return multiprocessing.__name__, tuple(sys.flags), sys.warnoptions, sys._xoptions
def f(end): end.send(flags())
def main(method):
    ctx = multiprocessing.get_context(method)
    reader, writer = ctx.Pipe(False)
    p = ctx.Process(target=f, args=(writer,)); p.start()
    print(reader.recv() == flags(), *flags(), sys.argv)
    p.join()
"""


@pytest.mark.parametrize(
    "options",
    [
        ["-X", "dev"],
        ["-Xdev", "-Wignore"],
        ["-W", "error", "-bbO"],
        ["-uB", "-X", "utf8", "--check-hash-based-pycs", "never"],
        ["-P", "-s"],
    ],
)
def test_options_of_the_interpreter(program, method, options):
    """They count as if they stood before -m, in children too."""
    program.write("main.py", FLAGS + GUARD)
    after = program.output("-m", "mproc", *options, "main.py", method, "-X")
    assert after == program.output(*options, "-m", "mproc", "main.py", method, "-X")
    assert after.startswith("True mproc ")


def test_options_before_and_after_each_other(program):
    text = "import sys; print(sys.flags.dont_write_bytecode, sys.flags.optimize, sys.argv)"
    env = {key: value for key, value in program.env.items() if not key.startswith("PYTHOND")}
    printed = program.output("-B", "-m", "mproc", "-O", "-c", text, "-O", env=env)
    assert printed == "1 1 ['-c', '-O']\n"
    assert program.output("-Bmmproc", "-Oc", text, "x", env=env) == "1 1 ['-c', 'x']\n"
    program.write("module.py", text)
    printed = program.output("-m", "mproc", "-OBmmodule", "x", env=env)
    assert printed.startswith("1 1 [") and printed.endswith("module.py', 'x']\n")


# ---- the variable

WHICH = "import multiprocessing; print(multiprocessing.__name__)"


@pytest.mark.parametrize(
    "value, name",
    [("1", "mproc"), ("yes", "mproc"), ("0", "multiprocessing"), ("", "multiprocessing")],
)
def test_the_variable_switches_a_tree_on(program, value, name):
    """Interpreters that the program starts by itself run on mproc, too."""
    env = {**program.env, "MPROC_INSTALL": value}
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WHICH!r}])"
    assert program.output("-c", text, env=env) == f"{name}\n"
    assert program.output("-c", WHICH, env=env) == f"{name}\n"


def test_without_the_variable_nothing_is_imported(program):
    text = "import sys; print([name for name in sys.modules if 'mproc' in name])"
    assert program.output("-c", text) == "[]\n"


def test_children_under_the_variable(program, method):
    program.write("main.py", WHO + GUARD)
    env = {**program.env, "MPROC_INSTALL": "1"}
    assert program.output("main.py", method, "-x", env=env) == expected(method, "-x")


# ---- as Python itself would


def both(program, *arguments, **options):
    """What Python makes of a command line, and what python -m mproc does."""
    return program.run(*arguments, **options), program.run("-m", "mproc", *arguments, **options)


SELF = """
import re, sys
print(__name__, globals().get('__file__'), __doc__, __package__, sys.argv, sys.path[0])
print(re.sub(' at 0x[0-9a-f]*', '', str(__spec__)))
print(sorted(globals()), re.sub(' at 0x[0-9a-f]*', '', str(__loader__)))
print(getattr(__loader__, 'name', None), getattr(__loader__, 'path', None))
print(sys.modules['__main__'].__dict__ is globals(), __builtins__ is sys.modules['builtins'])
"""


def test_main_is_as_python_makes_it(program):
    program.write("main.py", '"""The docstring."""' + SELF)
    for place in (program.folder, program.folder.parent):
        path = Path(os.path.relpath(program.folder / "main.py", place))
        plain, ours = both(program, path, "a", "b", cwd=place)
        assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)
    text = (program.folder / "main.py").read_text()
    for arguments, text_of in ((["-c", text], None), (["-m", "main"], None), (["-", "a"], text)):
        plain, ours = both(program, *arguments, input=text_of)
        assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)


@pytest.mark.parametrize(
    "text",
    [
        "def f(): 1/0\nf()\n",
        "raise KeyError('x') from ValueError('y')\n",
        "def f(:\n",
        "import sys; sys.exit('a message')\n",
        "import sys; sys.exit(7)\n",
        "raise SystemExit\n",
        "import nothing_like_this\n",
        "raise KeyboardInterrupt\n",
        "import sys; sys.excepthook = lambda *a: print(a[0], a[2].tb_lineno); 1/0\n",
    ],
)
def test_errors_are_pythons_own(program, text):
    program.write("main.py", text)
    plain, ours = both(program, "main.py")
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    assert ours.stderr == plain.stderr
    program.write("module.py", text)
    plain, ours = both(program, "-m", "module")
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing.py"],
        ["-m", "nothing"],
        ["-m", "os.nothing"],
        ["-c", "1/0"],
        ["-c", "def f(): raise ValueError\nf()"],
    ],
)
def test_bad_command_lines_are_pythons_own(program, arguments):
    plain, ours = both(program, *arguments)
    assert plain.returncode != 0
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


def test_a_directory_without_main(program):
    (program.folder / "empty").mkdir()
    plain, ours = both(program, "empty")
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


def test_an_interrupted_program(program):
    program.write("main.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    plain, ours = both(program, "main.py")
    assert ours.returncode == plain.returncode == -signal.SIGINT
    assert ours.stderr == plain.stderr


# ---- install()


def test_install(program, method):
    program.write("work.py", WHO)
    program.write(
        "main.py",
        "import mproc, sys\nmproc.install(); mproc.install()\n"
        "import work\nif __name__ == '__main__': work.main(sys.argv[1])\n",
    )
    assert program.output("main.py", method) == expected(method)


def test_install_is_lazy(program):
    program.output(
        "-c",
        """
import sys, mproc
mproc.install()
assert 'multiprocessing' not in sys.modules and 'mproc._mproc' not in sys.modules
assert 'multiprocessing' in str(__import__('importlib.util').util.find_spec('multiprocessing'))
assert 'mproc.queues' not in sys.modules
import multiprocessing.queues
assert multiprocessing is mproc and mproc.queues.__spec__.name == 'mproc.queues'
assert mproc.__name__ == 'mproc' and mproc.__loader__ is mproc.__spec__.loader
from multiprocessing.queues import JoinableQueue as one
from mproc.queues import JoinableQueue as other
assert one is other and one.__module__ == 'mproc.queues'
""",
    )


def test_install_after_the_standard_library(program):
    program.output(
        "-c",
        """
import multiprocessing.process as old, mproc
standard = [old]
mproc.install()
import multiprocessing, multiprocessing.process as new
assert multiprocessing is mproc and new is mproc.process
assert old is new and standard == [new]
""",
    )


def test_what_is_not_there(program):
    for module in ("nothing", "util.nothing"):
        done = program.run("-c", f"import mproc; mproc.install(); import multiprocessing.{module}")
        assert f"No module named 'multiprocessing.{module}'" in done.stderr


def test_star(program):
    program.output(
        "-c",
        """
import sys, mproc
mproc.install()
from multiprocessing import *
assert Process is mproc.Process
from multiprocessing.connection import *
from multiprocessing.util import *
""",
    )


def test_flags_and_paths_reach_children(program, method):
    """A child finds the package with every combination of flags, and whatever lies about."""
    package = str(Path(sys.modules["mproc"].__file__).parent.parent)
    program.write("mproc.py", "raise ImportError('the wrong one')\n")
    program.write(
        "main.py",
        f"""
import sys
sys.path.insert(0, {package!r})
import mproc
def f(end): end.send((tuple(sys.flags), sys.warnoptions))
if __name__ == '__main__':
    ctx = mproc.get_context(sys.argv[1])
    reader, writer = ctx.Pipe(duplex=False)
    p = ctx.Process(target=f, args=(writer,)); p.start()
    assert reader.recv() == (tuple(sys.flags), sys.warnoptions)
    p.join()
""",
    )
    env = {"PATH": os.environ["PATH"]}
    for flags in (["-I"], ["-E", "-S", "-O"], ["-P", "-OO", "-bb"], ["-X", "dev", "-W", "error"]):
        assert program.output(*flags, "main.py", method, env=env) == ""


def test_the_executor_is_ours_also_late(program):
    """What has imported the standard executor has ours, as whoever asks from now on."""
    program.output(
        "-c",
        """
import concurrent.futures as futures, concurrent.futures.process
old = futures.ProcessPoolExecutor
name = old.__module__
import mproc
mproc.install()
assert futures.ProcessPoolExecutor is mproc.ProcessPoolExecutor is old
assert name == "concurrent.futures.process" and old.__module__ == "mproc.futures"
from concurrent.futures.process import BrokenProcessPool
assert BrokenProcessPool is mproc.futures.BrokenProcessPool
assert futures.process is mproc.futures
assert futures.ThreadPoolExecutor.__module__ == "concurrent.futures.thread"
""",
    )
