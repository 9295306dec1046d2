"""`python -m mproc`: runs a program as Python would, with multiprocessing being mproc.

The program gets the sys.argv, sys.path[0] and `__main__` that it would have without mproc. When it
fails, its traceback begins with its own first frame.
"""

from __future__ import annotations

import os
import sys

from .._cpython import running_as_main
from . import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any, NoReturn

__all__ = ["main"]

_USAGE = """\
usage: python -m mproc [-m module | -c command | script.py | directory | archive] [arguments]

Runs a Python program that uses multiprocessing, with mproc in its place.
"""


def main(arguments: list[str]) -> None:
    """Run the program that the arguments name; sys.argv becomes the program's own."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_USAGE)
        return
    first, rest = arguments[0], arguments[1:]
    if first in ("-m", "-c"):
        if not rest:
            _fail(f"Argument expected for the {first} option")
        install()
        (_run_module if first == "-m" else _run_command)(rest[0], rest[1:])
    elif first.startswith("-") and first != "-":
        _fail(f"unknown option {first}")
    else:
        install()
        _run_path(first, rest)


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
    absolute = os.path.abspath(path)
    source = _read(absolute)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(absolute))
    namespace = _new_main()
    name = "<stdin>" if path == "-" else absolute
    namespace["__file__"] = name
    namespace["__cached__"] = None
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
    if os.path.basename(path) == "-":
        return sys.stdin.buffer.read()
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
