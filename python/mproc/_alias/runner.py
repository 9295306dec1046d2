"""`python -m mproc`: runs a program as Python would, with multiprocessing being mproc.

The program gets the sys.argv, sys.path[0] and `__main__` that it would have without mproc. When it
fails, its traceback begins with its own first frame. Options of the interpreter that stand before
the program count as if they stood before `-m mproc`: the interpreter is executed again with them.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader

from .._cpython import running_as_main
from . import _REPLACED, _is_alias, install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any, NoReturn

__all__ = ["main"]

_LOOKS = ("ps", "locks", "queues", "graph", "report", "record", "stacks", "top", "watch")
_USAGE = """\
usage: python -m mproc [-v] [options] [-m module | -c command | script.py | directory | archive]
                       [args]
       python -m mproc --engine dask|ray|mpi|local [--address A] [--workers N] script.py [args]
       python -m mproc --check script.py...
       python -m mproc ps | locks | queues [--json] [PID]
       python -m mproc stacks [--json] [PID]
       python -m mproc top [--json] [-d SECONDS] [-n ROUNDS] [-o P|M|T|N] [PID]
       python -m mproc watch [--after SECONDS[=abort]] [PID]
       python -m mproc graph [--json | --dot | --svg] [PID]
       python -m mproc report [--json] -o FILE [PID]
       python -m mproc record -o FILE [--for SECONDS] [PID]

Runs a Python program that uses multiprocessing, with mproc in its place. The options are those of
the interpreter, such as -X dev; --version tells about mproc. With -v in front of all it says on
stderr what it replaces, and what the program has imported of it in the end.

--check reads programs, and tells which names they use of multiprocessing that mproc does not have,
or has otherwise; the exit status is 1 then. `pytest -p mproc` runs tests on mproc.

--engine: pools and executors of the program have their workers on the machines of that engine, at
--address, or with --workers workers on this machine.

With ps, locks, queues, stacks, top, watch, graph, report or record it looks into the families that
are running; `python -m mproc ps --help` says more. If there is a script of such a name in the
working directory, that is run.

The environment variable MPROC_INSTALL=1 does the same for every interpreter that has mproc, also
for those that a program starts by itself: subprocesses, workers of test runners.
"""


def main(arguments: list[str]) -> None:
    """Run the program that the arguments name; sys.argv becomes the program's own."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_USAGE)
        return
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(_version())
        return
    if arguments[0] == "--check":
        from .check import main as check

        sys.exit(check(arguments[1:]))
    verbose = arguments[0] == "-v"
    arguments = arguments[verbose:]
    if arguments and arguments[0] in _LOOKS and not os.path.exists(arguments[0]):
        _look(arguments)
    options, kind, rest = _split(arguments)
    if options:
        _execute_again(options, arguments, ["-v"] if verbose else [])
    if _engine:
        _choose_engine()
    if verbose and (kind is None or rest):
        _tell()
    if kind is None:
        install()
        _run_path(rest[0], rest[1:])
    elif not rest:
        _fail(f"Argument expected for the {kind} option")
    else:
        install()
        (_run_module if kind == "-m" else _run_command)(rest[0], rest[1:])


def _look(arguments: list[str]) -> NoReturn:
    """Become the program that looks into families.

    It is ended by a pipe that nobody reads any more, as `head` leaves one: the interpreter ignores
    the signal.
    """
    import signal

    from ..inspect import PROGRAM

    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(PROGRAM, ["mproc", *arguments])


def _version() -> str:
    from .._mproc import version

    everywhere = os.environ.get("MPROC_INSTALL", "") not in ("", "0")
    reach = (
        "MPROC_INSTALL is set: every interpreter that has mproc runs on it"
        if everywhere
        else "MPROC_INSTALL is not set: interpreters that a program starts by itself, such as"
        " subprocesses and workers of test runners, run on the standard library"
    )
    python = ".".join(map(str, sys.version_info[:3]))
    place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return f"mproc {version} for Python {python}, in {place}\n{reach}\n"


# ---- the engine

_ENGINE_OPTIONS = ("--engine", "--address", "--workers")
_engine: dict[str, str] = {}  # those that were given


def _take_engine_option(word: str, rest: list[str]) -> bool:
    """Take an option that says something about the engine; return whether it is one."""
    name, equals, value = word.partition("=")
    if name not in _ENGINE_OPTIONS:
        return False
    _engine[name] = value if equals else _argument(name, rest)
    return True


def _choose_engine() -> None:
    """Choose the engine for the program. A process that is a worker of it does not return."""
    from ..engines import enter, set_engine

    if "--engine" not in _engine:
        _fail(f"{next(iter(_engine))} needs --engine")
    workers = _engine.get("--workers")
    try:
        set_engine(
            _engine["--engine"],
            _engine.get("--address"),
            None if workers is None else int(workers),
        )
    except ValueError as error:
        _fail(str(error))
    try:
        enter(sys.orig_argv)
    except ImportError as error:
        sys.exit(str(error))


def _tell() -> None:
    """Say what is replaced, now and, by what the program has imported, at its end."""
    import atexit

    from .._mproc import version

    sys.stderr.write(f"mproc {version}: takes the place of {', '.join(_REPLACED)}\n")
    atexit.register(_tell_imported, os.getpid())


def _tell_imported(pid: int) -> None:
    if os.getpid() == pid:
        imported = sorted(name for name in sys.modules if _is_alias(name)) or ["nothing"]
        sys.stderr.write(f"mproc: the program has imported {', '.join(imported)}\n")


# ---- the interpreter's options

_FLAGS = "bBdEiIOPqRsSuv"
_WITH_ARGUMENT = "WX"
_LONG_WITH_ARGUMENT = "--check-hash-based-pycs"


def _split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Return the interpreter's options, '-m' or '-c' or None for a path, and what follows."""
    options: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if _take_engine_option(word, rest):
            continue
        if word == _LONG_WITH_ARGUMENT:
            options += [word, _argument(word, rest)]
            continue
        for place, letter in enumerate(word[1:], 1):
            after = word[place + 1 :]
            if letter in "mc":
                return options, f"-{letter}", [after, *rest] if after else rest
            if letter in _WITH_ARGUMENT:
                options.append(f"-{letter}{after or _argument('-' + letter, rest)}")
                break
            if letter not in _FLAGS:
                _fail(f"unknown option {word}")
            options.append(f"-{letter}")
    if not rest:
        _fail("no program is named")
    return options, None, rest


def _argument(option: str, rest: list[str]) -> str:
    if not rest:
        _fail(f"Argument expected for the {option} option")
    return rest.pop(0)


def _execute_again(options: list[str], arguments: list[str], kept: list[str]) -> NoReturn:
    """Become an interpreter with these options, too, that runs the same program.

    kept: what stood before the arguments, and is mproc's own.
    """
    command = sys.orig_argv[: len(sys.orig_argv) - len(arguments) - len(kept)]
    own = 2 if command[-2] == "-m" else 1
    _, kind, rest = _split(arguments)
    program = rest if kind is None else [kind, *rest]
    engine = [f"{name}={value}" for name, value in _engine.items()]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    again = [*kept, *engine, *program]
    os.execv(sys.executable, [*command[:-own], *options, *command[-own:], *again])


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n{_USAGE}")
    sys.exit(2)


def _run_module(name: str, rest: list[str]) -> None:
    sys.argv = ["-m", *rest]
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()
    _new_main()
    _call(*running_as_main(name))


def _run_command(source: str, rest: list[str]) -> None:
    sys.argv = ["-c", *rest]
    if not sys.flags.safe_path:
        sys.path[0] = ""
    _command_lines.extend(source.splitlines(keepends=True))
    _exec(source.encode(), "<string>", _new_main())


def _run_path(path: str, rest: list[str]) -> None:
    sys.argv = [path, *rest]
    if _has_main(path):
        _run_container(path)
        return
    if path == "-":
        _run_source(sys.stdin.buffer.read(), "<stdin>", "")
        return
    absolute = os.path.abspath(path)
    _run_source(_read(absolute), absolute, os.path.dirname(os.path.realpath(absolute)))


def _run_source(source: bytes, name: str, folder: str) -> None:
    """Run what a file in that folder has, or standard input, whose folder is ''."""
    if not sys.flags.safe_path:
        sys.path[0] = folder
    namespace = _new_main()
    namespace["__file__"] = name
    if sys.version_info < (3, 15):
        namespace["__cached__"] = None
    if folder:
        kind = SourcelessFileLoader if name.endswith(".pyc") else SourceFileLoader
        namespace["__loader__"] = kind("__main__", name)
    _exec(source, name, namespace)


def _has_main(path: str) -> bool:
    """Return whether a path is a directory or an archive, whose `__main__` is to be run."""
    if os.path.isdir(path):
        return True
    import zipimport

    try:
        zipimport.zipimporter(path)
    except (zipimport.ZipImportError, OSError):
        return False
    return True


def _run_container(path: str) -> None:
    path = os.path.abspath(path)
    if sys.flags.safe_path:
        sys.path.insert(0, path)
    else:
        sys.path[0] = path
    _new_main()
    _call(*running_as_main(None, path))


def _read(path: str) -> bytes:
    import io

    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        program = sys.orig_argv[0] if sys.orig_argv else sys.executable
        sys.stderr.write(
            f"{program}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n"
        )
        sys.exit(2)


def _new_main() -> dict[str, Any]:
    """Put a fresh `__main__` in place of the one that runs this; return its namespace."""
    module = type(sys)("__main__")
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    namespace = vars(module)
    namespace["__builtins__"] = sys.modules["builtins"]
    namespace["__loader__"] = BuiltinImporter
    if sys.version_info < (3, 14):
        namespace["__annotations__"] = {}
    return namespace


def _exec(source: bytes, name: str, namespace: dict[str, Any]) -> None:
    if name.endswith(".pyc"):
        from ..spawn import _code_of_script

        _call(exec, _code_of_script(name), namespace)
    else:
        _call(_compile_and_exec, source, name, namespace)


def _compile_and_exec(source: bytes, name: str, namespace: dict[str, Any]) -> None:
    code: CodeType = compile(source, name, "exec", dont_inherit=True)
    exec(code, namespace)


def _call(function: Any, *arguments: Any) -> None:
    """Call the program. Its exception goes on to the interpreter, without the frames of mproc."""
    try:
        function(*arguments)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_frames(error)
        raise


# The source of -c, which Python shows in tracebacks from 3.13 on.
_command_lines: list[str] = []


def _hide_frames(error: BaseException) -> None:
    """Let the report of an uncaught error begin with the program's first frame."""
    if _command_lines and sys.version_info >= (3, 13):
        import linecache

        size = sum(map(len, _command_lines))
        linecache.cache["<string>"] = (size, None, _command_lines, "<string>")
    traceback = _without_ours(error.__traceback__)
    hook = sys.excepthook

    def report(kind: type[BaseException], value: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        hook(kind, value.with_traceback(traceback), traceback)

    sys.excepthook = report


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_globals is globals():
        traceback = traceback.tb_next
    return traceback
