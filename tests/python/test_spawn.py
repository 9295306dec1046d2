"""Fresh interpreters and templates: the main module, what children are told, what goes wrong."""

import marshal
import os
import signal
import sys
import zipfile

import pytest

import mproc
from mproc import _mproc, forkserver, spawn

FRESH = ("spawn", "forkserver")

MAIN = """
import mproc, sys
print('imported as', __name__, flush=True)
class Kept:
    value = 3
def f(end, kept):
    import __main__, __mp_main__
    end.send((kept.value, Kept.__module__, __main__ is __mp_main__, __main__.Kept is Kept,
              __name__, kept))
def main():
    ctx = mproc.get_context(sys.argv[1])
    for _ in range(2):
        reader, writer = ctx.Pipe(duplex=False)
        p = ctx.Process(target=f, args=(writer, Kept()))
        p.start(); print(*reader.recv()[:-1]); p.join()
        assert p.exitcode == 0
if __name__ == '__main__':
    main()
"""


def times_imported(method):
    """In spawned children each time; in the template once for all."""
    return 2 if method == "spawn" else 1


@pytest.mark.parametrize("method", FRESH)
def test_the_main_module_is_imported(program, method):
    program.write("main.py", MAIN)
    lines = program.output("main.py", method).splitlines()
    assert lines[0] == "imported as __main__"
    assert lines.count("imported as __mp_main__") == times_imported(method)
    assert lines.count("3 __mp_main__ True True __mp_main__") == 2


@pytest.mark.parametrize("method", FRESH)
def test_a_main_module_in_a_package(program, method):
    program.write("package/__init__.py", "")
    program.write("package/sibling.py", "")
    program.write("package/main.py", "from . import sibling\n" + MAIN)
    lines = program.output("-m", "package.main", method).splitlines()
    assert lines.count("imported as __mp_main__") == times_imported(method)
    assert lines.count("3 __mp_main__ True True __mp_main__") == 2


@pytest.mark.parametrize("method", FRESH)
def test_a_program_that_is_an_archive_is_not_run_again(program, method):
    with zipfile.ZipFile(program.folder / "program.zip", "w") as archive:
        archive.writestr("work.py", "def f(): print('worked', flush=True)\n")
        archive.writestr(
            "__main__.py",
            "import mproc, sys, work\nprint('main', flush=True)\n"
            "p = mproc.get_context(sys.argv[1]).Process(target=work.f); p.start(); p.join()\n",
        )
    assert program.output("program.zip", method) == "main\nworked\n"


@pytest.mark.parametrize("method", FRESH)
def test_a_main_file_run_by_its_path(program, method):
    program.write("folder/__main__.py", MAIN)
    lines = program.output("folder/__main__.py", method).splitlines()
    assert lines.count("3 __mp_main__ True True __mp_main__") == 2


@pytest.mark.parametrize("method", FRESH)
@pytest.mark.parametrize("name", ["ipython", "ipython.py"])
def test_ipythons_script_is_not_run_again(program, method, name):
    program.write(
        name,
        "import mproc, sys\nprint('main', flush=True)\n"
        "p = mproc.get_context(sys.argv[1]).Process(target=print, args=('child',))\n"
        "p.start(); p.join()\n",
    )
    assert program.output(name, method) == "main\nchild\n"


@pytest.mark.parametrize("method", FRESH)
def test_a_command_has_no_main_module(program, method):
    command = f"""
import mproc
p = mproc.get_context({method!r}).Process(target=print, args=('child',)); p.start(); p.join()
"""
    assert program.output("-c", command) == "child\n"


@pytest.mark.parametrize("method", FRESH)
def test_an_unguarded_main_module(program, method):
    """One clear error, and no bomb."""
    program.write(
        "main.py",
        "import mproc, sys\n"
        "p = mproc.get_context(sys.argv[1]).Process(target=print, args=('child',))\n"
        "p.start(); p.join(); sys.exit(p.exitcode)\n",
    )
    done = program.run("main.py", method)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("RuntimeError:") == 1
    assert "before the\n        current process has finished its bootstrapping" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr


@pytest.mark.parametrize("method", FRESH)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("if __name__ != '__main__': 1/0\n", "ZeroDivisionError"),
        ("if __name__ != '__main__': raise SystemExit(9)\n", ""),
    ],
)
def test_a_main_module_that_fails_in_children(program, method, text, said):
    program.write(
        "main.py",
        text + "import mproc, sys\nif __name__ == '__main__':\n"
        "    p = mproc.get_context(sys.argv[1]).Process(target=print); p.start(); p.join()\n"
        "    sys.exit(p.exitcode + 1)\n",
    )
    done = program.run("main.py", method)
    assert done.returncode == (2 if said else 10)
    assert said in done.stderr


@pytest.mark.parametrize("method", FRESH)
def test_a_main_module_that_changes(program, method):
    """A child gets the script as it is when the child is started."""
    program.write(
        "main.py",
        """
import mproc, sys
from mproc import forkserver
VALUE = 1  # before
def f(): print(VALUE, flush=True)
if __name__ == '__main__':
    for line in ('VALUE = 1  # before', 'VALUE = 22  # after'):
        text = open(__file__).read().replace('VALUE = 1  # before\\n', line + '\\n', 1)
        open(__file__, 'w').write(text)
        p = mproc.get_context(sys.argv[1]).Process(target=f); p.start(); p.join()
        forkserver._forkserver._stop()
""",
    )
    assert program.output("main.py", method) == "1\n22\n"


@pytest.mark.parametrize("method", FRESH)
def test_a_main_module_that_is_gone(program, method):
    program.write(
        "main.py",
        """
import mproc, os, sys
if __name__ == '__main__':
    os.remove(__file__)
    p = mproc.get_context(sys.argv[1]).Process(target=print); p.start(); p.join()
    sys.exit(p.exitcode)
""",
    )
    done = program.run("main.py", method)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr and "main.py" in done.stderr


@pytest.mark.parametrize("method", FRESH)
def test_a_changed_directory_and_path(program, method):
    program.write("lib/helper.py", "def f(end): import os; end.send(os.getcwd())\n")
    program.write(
        "main.py",
        """
import mproc, os, sys
if __name__ == '__main__':
    sys.path.insert(0, os.path.abspath('lib'))
    os.makedirs('below'); os.chdir('below')
    import helper
    ctx = mproc.get_context(sys.argv[1])
    reader, writer = ctx.Pipe(duplex=False)
    p = ctx.Process(target=helper.f, args=(writer,)); p.start()
    assert reader.recv() == os.getcwd()
    p.join()
""",
    )
    assert program.output("main.py", method) == ""


def test_a_directory_that_is_gone(program):
    program.write(
        "main.py",
        """
import mproc, os
if __name__ == '__main__':
    os.makedirs('below'); os.chdir('below'); os.rmdir('../below')
    p = mproc.get_context('spawn').Process(target=print, args=('child',)); p.start(); p.join()
""",
    )
    assert program.output(program.folder / "main.py") == "child\n"


def test_the_command_of_a_child():
    command = spawn.get_command_line()
    assert command[0] == os.fsencode(sys.executable)
    assert command[-1] == "--multiprocessing-fork"
    assert "from mproc.spawn import spawn_main" in command[-2]
    assert spawn.is_forking(["x", "--multiprocessing-fork"])
    assert not spawn.is_forking(["x"])


def test_the_command_of_a_frozen_child(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert spawn.get_command_line(x=1) == [sys.executable, "--multiprocessing-fork", "x=1"]


def test_a_childs_command_by_hand(program):
    done = program.run("-c", spawn.get_command_line()[-2], "--multiprocessing-fork")
    assert done.returncode == 1
    assert done.stderr.startswith("mproc: no parent process has started this one.")
    assert "must leave environment and descriptors to the interpreter" in done.stderr
    done = program.run("-c", spawn.get_command_line()[-2])
    assert "AssertionError: Not forking" in done.stderr


@pytest.mark.parametrize("method", FRESH)
def test_an_interpreter_that_is_not_there(method):
    before = spawn.get_executable()
    mproc.set_executable("/nothing/python")
    try:
        process = mproc.get_context(method).Process(target=int)
        with pytest.raises(FileNotFoundError):
            process.start()
    finally:
        mproc.set_executable(before)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_preparation_data():
    data = spawn.get_preparation_data("Somebody")
    assert data["name"] == "Somebody"
    assert data["sys_argv"] is sys.argv and data["dir"] == os.getcwd()
    assert "" not in data["sys_path"]
    assert {"authkey", "log_to_stderr", "orig_dir", "start_method", "sys_path"} <= set(data)


# ---- the template


@pytest.fixture
def preload():
    """The list of preloaded modules as it was."""
    before = forkserver._forkserver._preload_modules
    yield mproc.set_forkserver_preload
    mproc.set_forkserver_preload(before)


def loaded(connection, name):
    connection.send((name in sys.modules, os.getppid()))


def is_loaded(name):
    ctx = mproc.get_context("forkserver")
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=loaded, args=(writer, name))
        process.start()
        answer, parent = reader.recv()
        process.join()
    assert parent == os.getpid()
    return answer


def test_preload(preload):
    assert not is_loaded("colorsys")
    forkserver._forkserver._stop()
    preload(["colorsys", "nothing_of_this_name"])
    assert is_loaded("colorsys")


def test_preload_failures_are_shown_if_asked(program, tmp_path):
    text = """
import mproc, sys
if __name__ == '__main__':
    mproc.set_forkserver_preload(['nothing_of_this_name'], on_error=sys.argv[1])
    p = mproc.get_context('forkserver').Process(target=print, args=('child',))
    p.start(); p.join()
"""
    program.write("main.py", text)
    assert program.output("-W", "always", "main.py", "ignore") == "child\n"
    done = program.run("-W", "always", "main.py", "warn")
    assert done.stdout == "child\n"
    assert "ImportWarning: Failed to preload module 'nothing_of_this_name': No mod" in done.stderr
    done = program.run("main.py", "fail")
    assert done.returncode == 1 and done.stdout == ""
    # Once: another template is not started, whose import would fail, too.
    assert done.stderr.count("No module named 'nothing_of_this_name'") == 1
    assert "BrokenPipeError" in done.stderr
    assert done.stderr.endswith("The fork server ended, maybe in an import: see stderr.\n")


def test_a_main_module_that_cannot_be_preloaded_is_named(program):
    text = """
import mproc
if __name__ == '__main__':
    mproc.set_forkserver_preload(['__main__'], on_error='warn')
    p = mproc.get_context('forkserver').Process(target=print, args=('child',))
    p.start(); p.join()
elif mproc.current_process().name == 'ForkServer':
    raise ImportError('not now')
"""
    path = program.write("main.py", text)
    done = program.run("-W", "always", "main.py")
    assert done.stdout == "child\n"
    assert f"ImportWarning: Failed to preload __main__ from {str(path)!r}: not now" in done.stderr


def test_one_template_serves_all():
    forkserver.ensure_running()
    pid = forkserver._forkserver._forkserver_pid
    assert not is_loaded("colorsys")
    forkserver.ensure_running()
    assert forkserver._forkserver._forkserver_pid == pid
    forkserver._forkserver._stop()
    assert forkserver._forkserver._forkserver_pid is None
    forkserver._forkserver._stop()


def test_a_child_needs_a_template_that_is_there():
    template = _mproc.Template(
        [sys.executable, "-c", "from mproc import _mproc; _mproc.attach(); _mproc.template_serve()"]
    )
    assert template.pid > 0
    template.drop()
    assert template.pid == 0
    child = _mproc.Child()
    with pytest.raises(ValueError, match="the template has been dropped"):
        child.launch(_mproc.FORKSERVER, "name", True, template=template)
    with pytest.raises(TypeError, match="template must be a Template, not int"):
        child.launch(_mproc.FORKSERVER, "name", True, template=5)
    assert child.pid == 0 and child.sentinel == -1


class Changing:
    """Empties the list that it stands in while its item is converted."""

    def __init__(self, sequence, converted):
        self.sequence = sequence
        self.converted = converted
        sequence += [self, self]

    def __fspath__(self):
        self.sequence.clear()
        return self.converted

    def fileno(self):
        self.sequence.clear()
        return self.converted


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"fds": 5}, TypeError),
        ({"fds": ["no descriptor"]}, TypeError),
        ({"fds": [-1]}, ValueError),
        ({"argv": 5}, TypeError),
        ({"argv": [sys.executable, 5]}, TypeError),
        ({"argv": ["a\0b"]}, ValueError),
        ({"envp": ["A=1", None]}, TypeError),
        ({"argv": ["/no/such/program"]}, FileNotFoundError),
    ],
)
def test_a_program_is_not_started_with(arguments, error):
    child = _mproc.Child()
    with pytest.raises(error):
        child.launch(_mproc.SPAWN, "name", True, **arguments)
    with pytest.raises(error):
        _mproc.Template(**{"argv": [sys.executable], **arguments})
    assert child.pid == 0 and child.sentinel == -1


def test_arguments_are_what_the_lists_held_at_the_call():
    argv, fds = [sys.executable, "-c", "pass"], []
    Changing(argv, "an argument")
    Changing(fds, 0)
    child = _mproc.Child()
    child.launch(_mproc.SPAWN, "name", True, argv=argv, fds=fds)
    assert (argv, fds) == ([], [])
    assert child.wait() == 0
    child.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_template_that_died_is_replaced(number):
    forkserver.ensure_running()
    pid = forkserver._forkserver._forkserver_pid
    os.kill(pid, number)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_loaded("colorsys")
    assert forkserver._forkserver._forkserver_pid != pid


def test_interrupts_are_not_for_the_template():
    forkserver.ensure_running()
    is_loaded("colorsys")
    pid = forkserver._forkserver._forkserver_pid
    os.kill(pid, signal.SIGINT)
    assert not is_loaded("colorsys")
    assert forkserver._forkserver._forkserver_pid == pid


def own_template(connection):
    forkserver.ensure_running()
    connection.send(forkserver._forkserver._forkserver_pid)
    is_loaded("colorsys")


def test_every_process_has_its_own_template(method):
    forkserver.ensure_running()
    ctx = mproc.get_context(method)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=own_template, args=(writer,))
        process.start()
        assert reader.recv() != forkserver._forkserver._forkserver_pid
        process.join()
        assert process.exitcode == 0


def environment(connection):
    connection.send((os.environ.get("MPROC_FAMILY"), sorted(os.listdir("/proc/self/fd"))))


@pytest.mark.parametrize("inheritable", [False, True])
@pytest.mark.parametrize("method", FRESH)
def test_nothing_is_inherited_that_was_not_given(method, inheritable):
    """Neither our descriptors nor the words by which the child found its family."""
    forkserver._forkserver._stop()
    mine = os.dup(0)
    high = os.dup2(0, 77, inheritable=inheritable)
    ctx = mproc.get_context(method)
    reader, writer = ctx.Pipe(duplex=False)
    with reader, writer:
        process = ctx.Process(target=environment, args=(writer,))
        process.start()
        family, fds = reader.recv()
        process.join()
    os.close(mine)
    os.close(high)
    forkserver._forkserver._stop()
    assert family is None
    assert "77" not in fds


# ---- surroundings that change


def test_the_environment_as_it_is_at_the_start(program, method):
    """A child has the variables of its parent, also those that changed after the first start."""
    program.write(
        "main.py",
        """
import multiprocessing as mp, os, sys
NAMES = "MPROC_TEST_A", "MPROC_TEST_B", "MPROC_TEST_C"
def f(end):
    values = [os.environ.get(name) for name in NAMES]
    end.send((values, [os.system(f'test "${name}" = "{value or str()}"') for name, value in
                       zip(NAMES, values)]))
def see(ctx):
    reader, writer = ctx.Pipe(False)
    p = ctx.Process(target=f, args=(writer,)); p.start(); print(reader.recv()); p.join()
if __name__ == "__main__":
    ctx = mp.get_context(sys.argv[1])
    os.environ.update(MPROC_TEST_A="1", MPROC_TEST_B="1")
    see(ctx)
    os.environ.update(MPROC_TEST_A="2", MPROC_TEST_C="\\udcff x=y")
    del os.environ["MPROC_TEST_B"]
    see(ctx)
    del os.environ["MPROC_TEST_A"], os.environ["MPROC_TEST_C"]
    see(ctx)
""",
    )
    assert program.output("-m", "mproc", "main.py", method).splitlines() == [
        "(['1', '1', None], [0, 0, 0])",
        "(['2', None, '\\udcff x=y'], [0, 0, 0])",
        "([None, None, None], [0, 0, 0])",
    ]


PLANTED = (
    "multiprocessing mproc pickle socket selectors struct signal site runpy tempfile logging"
    " importlib _mproc threading subprocess linecache traceback warnings"
)


def test_modules_in_the_current_directory(program, method):
    """A child imports nothing from the directory that its parent is in by chance."""
    names = set(PLANTED.split())
    if sys.version_info >= (3, 13):  # the interpreter itself imports it before a command's code
        names.remove("linecache")
    for name in names:
        program.write(f"trap/{name}.py", "raise SystemExit('trapped by ' + __name__)\n")
    program.write(
        "main.py",
        """
import multiprocessing as mp, os, sys
def f(end): end.send(sys.path)
if __name__ == "__main__":
    os.chdir("trap")
    ctx = mp.get_context(sys.argv[1])
    reader, writer = ctx.Pipe(False)
    for _ in range(2):
        p = ctx.Process(target=f, args=(writer,)); p.start(); assert reader.recv() == sys.path
        p.join()
    with ctx.Pool(1) as pool: print(pool.map(abs, [-1]))
    with ctx.Manager() as m: print(m.dict(a=1))
""",
    )
    assert program.output("-m", "mproc", "main.py", method) == "[1]\n{'a': 1}\n"


@pytest.mark.parametrize("name", ["PYTHONUTF8", "PYTHONDEVMODE", "PYTHONNODEBUGRANGES"])
def test_options_that_the_environment_sets(program, method, name):
    """A child has them from the environment, too, and not as options of its command line."""
    program.write(
        "main.py",
        """
import multiprocessing as mp, sys
def options(): return sys._xoptions, tuple(sys.flags), sys.warnoptions
def f(end): end.send(options())
if __name__ == "__main__":
    ctx = mp.get_context(sys.argv[1])
    reader, writer = ctx.Pipe(False)
    p = ctx.Process(target=f, args=(writer,)); p.start(); print(reader.recv() == options())
    p.join()
""",
    )
    env = {**program.env, name: "1"}
    assert program.output("-m", "mproc", "main.py", method, env=env) == "True\n"


# ---- a child that a program tells itself what to do

TOLD = """
import io, os, sys
import multiprocessing as mp
from multiprocessing import context, forkserver, reduction, spawn

class Popen:
    method = 'forkserver'

    class DupFd:
        def __init__(self, place):
            self.place = place
        def detach(self):
            return forkserver.get_inherited_fds()[self.place]

    def __init__(self, process):
        self.fds = []
        message = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data('told'), message)
            reduction.dump(process, message)
        finally:
            context.set_spawning_popen(None)
        self.status, data = forkserver.connect_to_new_process(self.fds)
        with open(data, 'wb') as file:
            file.write(message.getbuffer())
        self.pid = forkserver.read_signed(self.status)

    def duplicate_for_child(self, fd):
        self.fds.append(fd)
        return len(self.fds) - 1

def work(writer, end):
    writer.send((os.getpid(), mp.current_process().name))
    end(3)

if __name__ == '__main__':
    reader, writer = mp.Pipe(duplex=False)
    for end in (sys.exit, os._exit):
        popen = Popen(mp.Process(target=work, args=(writer, end), name='worker'))
        assert reader.recv() == (popen.pid, 'worker')
        try:
            print(forkserver.read_signed(popen.status))
        except EOFError:
            print('nothing')
        os.close(popen.status)
"""


def test_connect_to_new_process(program):
    """A program makes its own popen objects of what the module offers."""
    program.write("told.py", TOLD)
    assert program.output("-m", "mproc", "told.py") == "3\nnothing\n"


def test_connect_to_new_process_that_cannot_be():
    with pytest.raises(ValueError, match="too many fds: 251"):
        forkserver.connect_to_new_process([0] * 251)
    before = sys.executable
    spawn.set_executable("/nonexistent")
    try:
        with pytest.raises(FileNotFoundError):
            forkserver.connect_to_new_process([])
    finally:
        spawn.set_executable(before)


def test_numbers_of_a_status():
    reader, writer = os.pipe()
    for number in (0, -9, 1 << 40):
        forkserver.write_signed(writer, number)
        assert forkserver.read_signed(reader) == number
    os.write(writer, b"cut")
    os.close(writer)
    with pytest.raises(EOFError):
        forkserver.read_signed(reader)
    os.close(reader)


@pytest.mark.parametrize("method", FRESH)
def test_children_have_the_options_of_their_parent(program, method):
    """And no more: UTF-8 mode is an option up to 3.14, and the default from 3.15 on."""
    program.write(
        "main.py",
        "import mproc, sys\n"
        "def tell():\n"
        "    print(sys._xoptions, sys.flags.utf8_mode, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    tell()\n"
        "    process = mproc.get_context(sys.argv[1]).Process(target=tell)\n"
        "    process.start()\n"
        "    process.join()\n",
    )
    program.env["LC_ALL"] = "C.UTF-8"
    for options in ([], ["-X", "utf8=0"], ["-X", "utf8", "-X", "showrefcount"]):
        parent, child = program.output(*options, "main.py", method).splitlines()
        assert parent == child


def test_another_threads_main_script_is_compiled_meanwhile(monkeypatch, tmp_path):
    """As when the script has changed: each sends the code of what it has found."""
    script = tmp_path / "script.py"
    script.write_text("x = 1")

    class Overtaken(tuple):
        __slots__ = ()

        def __getitem__(self, i):
            monkeypatch.setattr(spawn, "_code_cache", (("another", 0, 0), b"another's"))
            return super().__getitem__(i)

    monkeypatch.setattr(spawn, "_code_cache", None)
    assert spawn._main_code(str(script)) == {}
    monkeypatch.setattr(spawn, "_code_cache", Overtaken(spawn._code_cache))
    _, _, code = spawn._main_code(str(script))["main_code"]
    assert marshal.loads(code).co_filename == str(script)
