"""Start method spawn: the message of the parent to a fresh interpreter, and what that does with it.

The child's command runs `spawn_main()`. The parent's message lies in the arena. Its first part says
whether `multiprocessing` is mproc, and what sys.path is: that must hold before anything is
unpickled, for tools put objects of theirs into the next part. This is a dict that says how to be
like the parent (the main module, ...). The child applies it before it unpickles the last part, the
process object, which refers to what the main module defines.
"""

from __future__ import annotations

import os
import sys

from . import _current, _mproc, context, process
from ._cpython import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any, NoReturn

    from .popen_fork import Popen

__all__ = [
    "_main",
    "freeze_support",
    "get_command_line",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "set_executable",
]

_current.use_begins()

_LENGTH = 8  # bytes that tell the size of a message's first part
_PICKLED, _PLAIN = b"P", b"V"  # how the last part is encoded
_INSTALLED, _BESIDE = b"I", b"B"  # whether mproc is in the place of multiprocessing, or beside it

WINEXE = WINSERVICE = False  # for programs that also run on Windows

# ---- the command

_python_exe: bytes | None = None


def set_executable(exe: str | bytes | os.PathLike[Any] | None) -> None:
    """Set the path of the interpreter that children are started with; None: there is none."""
    global _python_exe
    _python_exe = None if exe is None else os.fsencode(exe)


def get_executable() -> bytes | None:
    """Return the path of the interpreter that children are started with, None if there is none."""
    return _python_exe


set_executable(sys.executable)


_FORKING = "--multiprocessing-fork"
_TEMPLATE = "--mproc-template"  # a frozen program is to be the template of method forkserver


def is_forking(argv: list[str]) -> bool:
    """Return whether the command line is that of a started child."""
    return len(argv) >= 2 and argv[1] == _FORKING


def freeze_support() -> None:
    """In a child of a frozen program, do the child's work and exit; elsewhere do nothing."""
    if not is_forking(sys.argv):
        return
    if sys.argv[2:3] == [_TEMPLATE]:
        from .forkserver import main

        main()
    spawn_main()


def _is_frozen() -> bool:
    return bool(getattr(sys, "frozen", False))


def _check_not_started_again() -> None:
    """Raise RuntimeError in a child of a frozen program that has not called freeze_support().

    It runs the program from the beginning, and would start children as its parent did, and so would
    they.
    """
    if _is_frozen() and is_forking(sys.argv) and process.current_process()._parent_pid is None:
        raise RuntimeError(
            "this process is a child of a frozen program, and runs that again: call"
            " multiprocessing.freeze_support() first in its main module"
        )


def template_command() -> list[bytes | str]:
    """Return the command line of a template, which gets the descriptor of its message as well."""
    if _is_frozen():
        return [sys.executable, _FORKING, _TEMPLATE]
    return command("mproc.forkserver", "main")


def command(module: str, function: str) -> list[bytes | str]:
    """Return the command line of an interpreter like this one that calls module.function().

    The child finds this package, whatever sys.path is there, and imports nothing from the current
    directory, which may be anybody's. ValueError: no interpreter is known.
    """
    if _python_exe is None:
        raise ValueError("no interpreter to start: sys.executable is None; call set_executable()")
    from . import util

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = (
        f"import sys; sys.path[:] = [{root!r}, *filter(None, sys.path)]; "
        f"from {module} import {function}; del sys.path[0]; {function}()"
    )
    return [_python_exe, *util._args_from_interpreter_flags(), "-c", program]


def get_command_line(**kwds: object) -> list[bytes | str]:
    """Return the command line of a spawned child."""
    if _is_frozen():
        options = [f"{name}={value!r}" for name, value in kwds.items()]
        return [sys.executable, _FORKING, *options]
    return [*command("mproc.spawn", "spawn_main"), _FORKING]


# ---- the parent's side


def get_preparation_data(name: str) -> dict[str, Any]:
    """Return what a child must know to be like this process.

    RuntimeError: the main module is being imported in a child.
    """
    from . import util

    _check_not_importing_main()
    _check_not_started_again()
    data: dict[str, Any] = {
        "name": name,
        "authkey": process.current_process().authkey,
        "log_to_stderr": util._log_to_stderr,
        "orig_dir": process.ORIGINAL_DIR,
        "sys_argv": sys.argv,
        "sys_path": _sys_path(),
        "start_method": context._default_context.get_start_method(allow_none=True),
    }
    if util._logger is not None:
        data["log_level"] = util._logger.getEffectiveLevel()
    if _current.manager_keys:
        data["manager_keys"] = list(_current.manager_keys.items())
    data["dir"] = _current_dir()
    data.update(_main_module_data())
    return data


def _current_dir() -> str | None:
    """Return the current directory, or None if it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _sys_path() -> list[str]:
    """Return sys.path with the current directory spelled out."""
    path = sys.path.copy()
    if "" in path and process.ORIGINAL_DIR is not None:
        path[path.index("")] = process.ORIGINAL_DIR
    return path


# The code of the main script, for the second child and later ones: (path, mtime, size), the code.
_code_cache: tuple[tuple[str, int, int], bytes] | None = None


def _main_code(path: str | None) -> dict[str, Any]:
    """Return the compiled main script, so that not every child has to compile it.

    The first child compiles it itself: for a single child this would cost more than it saves.
    """
    global _code_cache
    if path is None or not path.endswith(".py"):
        return {}
    try:
        about = os.stat(path)
        key = (path, about.st_mtime_ns, about.st_size)
        known = _code_cache  # which another thread may replace
        if known is None or known[0] != key:
            _code_cache = (key, b"")
            return {}
        code = known[1]
        if not code:
            import marshal

            code = marshal.dumps(_code_of_script(path))
            _code_cache = (key, code)
    except (OSError, SyntaxError, ValueError):
        return {}  # the child will have the same error, and report it
    return {"main_code": (sys.hexversion, sys.flags.optimize, code)}


def _main_module_data() -> dict[str, str]:
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        return {"init_main_from_name": name}
    path: str | None = getattr(main, "__file__", None)
    if path is None or path == "<stdin>":  # which is no file: a child does without it
        return {}
    if not os.path.isabs(path) and process.ORIGINAL_DIR is not None:
        path = os.path.join(process.ORIGINAL_DIR, path)
    return {"init_main_from_path": os.path.normpath(path)}


def _check_not_importing_main() -> None:
    if getattr(process.current_process(), "_inheriting", False):
        raise RuntimeError("""
        An attempt has been made to start a new process before the
        current process has finished its bootstrapping phase.

        This probably means that the main module starts processes when it is
        imported: a child imports it too. Put what only the main process is to
        do under

            if __name__ == '__main__':
                freeze_support()
                ...

        "freeze_support()" can be omitted if the program is not going to be
        frozen to produce an executable. See "Safe importing of main module" in
        the documentation of multiprocessing.
        """)


def dump_process(process_obj: process.BaseProcess, popen: Popen, **more: Any) -> bytes:
    """Return the message for a child of this process; `more` goes into its preparation data."""
    preparation = get_preparation_data(process_obj._name)
    preparation.update(more)
    path = preparation.pop("sys_path")  # it stands in the first part
    preparation["authkey"] = bytes(preparation["authkey"])
    if process_obj._dumps is not None:
        _leave_out_missing_main(preparation)
    preparation.update(_main_code(preparation.get("init_main_from_path")))
    previous = context.get_spawning_popen()
    context.set_spawning_popen(popen)
    try:
        head = _mproc.dumps(preparation)
        by_value = process_obj._dumps
        try:
            plain = _plain_process(process_obj) if by_value is None else None
            body = (by_value or _dumps)(process_obj) if plain is None else plain
        except Exception as error:
            from . import _culprit

            _culprit.explain(error, _culprit.parts_of_process(process_obj), by_value)
            raise
    finally:
        context.set_spawning_popen(previous)
    kind = _PICKLED if plain is None else _PLAIN
    return b"".join((beginning(path), len(head).to_bytes(_LENGTH, "little"), head, kind, body))


def dump_told(told: object, changes: dict[str, str | None]) -> bytes:
    """Return the message for a child that reads from a descriptor what it is to be."""
    head = _mproc.dumps({"environ": changes})
    length = len(head).to_bytes(_LENGTH, "little")
    return b"".join((beginning(_sys_path()), length, head, _PICKLED, pickle().dumps(told)))


def beginning(sys_path: list[str]) -> bytes:
    """Return the first part of a message: what must hold before the rest is unpickled."""
    alias = sys.modules.get("mproc._alias")
    place = _INSTALLED if alias is not None and alias.installed() else _BESIDE
    path = _mproc.dumps(sys_path)
    return b"".join((place, len(path).to_bytes(_LENGTH, "little"), path))


def take_beginning(message: bytes | memoryview) -> bytes | memoryview:
    """Do what the first part of a message says; return the rest."""
    rest: bytes | memoryview
    path, rest = _split(message[1:])
    if message[:1] == _INSTALLED:
        from . import _alias

        _alias.install()
    sys.path = _mproc.loads(path)
    return rest


def _split(message: Any) -> tuple[Any, Any]:
    """Return a part that follows its length, and what follows that."""
    end = _LENGTH + int.from_bytes(message[:_LENGTH], "little")
    return message[_LENGTH:end], message[end:]


def _leave_out_missing_main(preparation: dict[str, Any]) -> None:
    """Leave out a main module that was read from stdin: what it has defined is sent by value."""
    path = preparation.get("init_main_from_path")
    if path is not None and not os.path.exists(path):
        del preparation["init_main_from_path"]


def _plain_process(process_obj: process.BaseProcess) -> bytes | None:
    """Return a process object as a message of plain values, None if it needs a pickle.

    Most need none: their class and target have names, and their arguments are plain values. Then
    the child need not import pickle, which takes a fifth of the life of a child without work.
    """
    kind = type(process_obj)
    state = dict(vars(process_obj))
    target = state.pop("_target", None)
    if not _rebuilds_plainly(kind) or not (target is None or _is_named(target)):
        return None
    state["_config"] = config = dict(state["_config"])
    config["authkey"] = bytes(config["authkey"])
    names = (kind.__module__, kind.__qualname__)
    target_names = () if target is None else (target.__module__, target.__qualname__)
    parts = (names, target_names, state)
    return _mproc.dumps(parts) if _mproc.is_plain(parts) else None


def _rebuilds_plainly(kind: type) -> bool:
    """Return whether an instance can be rebuilt of its class and its attributes."""
    import copyreg

    changed = any(
        getattr(kind, name, None) is not getattr(object, name, None)
        for name in ("__new__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    )
    known = kind in copyreg.dispatch_table or kind in _mproc.reducers
    return not changed and not known and not hasattr(kind, "__slots__") and _is_named(kind)


def _is_named(obj: Any) -> bool:
    """Return whether an object is a class or function that is found by its own name."""
    if type(obj) is not type and type(obj) is not type(_is_named):
        return False
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _dumps(obj: object) -> memoryview:
    return context._default_context.reducer.ForkingPickler.dumps(obj)  # type: ignore[no-any-return]


# ---- the child's side


def spawn_main(
    pipe_handle: object = None, parent_pid: int | None = None, tracker_fd: int | None = None
) -> NoReturn:
    """Do the work of a spawned child, and exit. The arguments are the standard library's."""
    assert is_forking(sys.argv), "Not forking"
    attach()
    sys.exit(_main("spawn"))


def attach() -> None:
    """Become a member of the parent's family, or exit if no mproc has started this process."""
    how = _mproc.attach()
    if not how:
        sys.exit(
            "mproc: no parent process has started this one. Programs do not run this command"
            " themselves; a program given to set_executable() must leave environment and"
            " descriptors to the interpreter, and not end before it."
        )
    if how == 2:
        _current.came_by_wrapper()
    # The core has removed its variable from the environment; os.environ is a copy of that.
    os.environ.pop("MPROC_FAMILY", None)


def _main(method: str) -> int:
    """Become the process that the parent's message describes; return its exit code."""
    message = _mproc.child_args()
    if message is None:
        raise EOFError("the parent process left no message")
    code = load_process(message)._bootstrap(method)
    _mproc.child_exits(code)
    return code


def load_process(message: memoryview) -> process.BaseProcess:
    """Return the process object of a message, after making this process like the parent."""
    preparation, body = _split(take_beginning(message))
    current = process.current_process()
    current._inheriting = True  # type: ignore[attr-defined]
    try:
        prepare(_mproc.loads(preparation))
        return _load_object(body)
    except AttributeError as error:
        from . import _culprit

        _culprit.explain_unknown(error)
        raise
    finally:
        del current._inheriting  # type: ignore[attr-defined]


def _load_object(message: memoryview) -> process.BaseProcess:
    if message[:1] == _PICKLED:
        return pickle().loads(message[1:])  # type: ignore[no-any-return]
    class_names, target_names, state = _mproc.loads(message[1:])
    kind = _find(*class_names)
    process_obj: process.BaseProcess = kind.__new__(kind)
    config = state["_config"]
    config["authkey"] = process.AuthenticationString(config["authkey"])
    state["_target"] = _find(*target_names) if target_names else None
    vars(process_obj).update(state)
    return process_obj


def _find(module_name: str, qualified_name: str) -> Any:
    __import__(module_name)
    found: Any = sys.modules[module_name]
    for name in qualified_name.split("."):
        found = getattr(found, name)
    return found


def prepare(data: dict[str, Any]) -> None:
    """Make this process like its parent; data as from get_preparation_data()."""
    current = process.current_process()
    for name, value in data.get("environ", {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "name" in data:
        current.name = data["name"]
    if "authkey" in data:
        current.authkey = data["authkey"]
    _current.manager_keys.update(data.get("manager_keys", ()))
    _prepare_logging(data)
    if "sys_path" in data:
        sys.path = data["sys_path"]
    if "sys_argv" in data:
        sys.argv = data["sys_argv"]
    if data.get("dir") is not None:
        os.chdir(data["dir"])
    if "orig_dir" in data:
        process.set_original_dir(data["orig_dir"])
    if "start_method" in data:
        context._default_context.set_start_method(data["start_method"], force=True)
    if "init_main_from_name" in data:
        _fixup_main_from_name(data["init_main_from_name"])
    elif "init_main_from_path" in data:
        _fixup_main_from_path(data["init_main_from_path"], data.get("main_code"))


def _prepare_logging(data: dict[str, Any]) -> None:
    if data.get("log_to_stderr"):
        from . import util

        if not util._log_to_stderr:  # a child of a template logs already
            util.log_to_stderr()
    if "log_level" in data:
        from . import util

        util.get_logger().setLevel(data["log_level"])


# ---- the main module

# What __main__ was before. It is kept alive, for its functions may still run.
old_main_modules: list[ModuleType] = []


def _fixup_main_from_name(mod_name: str) -> None:
    """Import the parent's main module, which the parent ran by its name (python -m)."""
    if mod_name == "__main__" or mod_name.endswith(".__main__"):
        return  # to import a __main__.py is to run the program
    if _is_main(name=mod_name):
        return
    import importlib.util

    spec = importlib.util.find_spec(mod_name)
    if spec is not None and spec.submodule_search_locations is not None:
        return
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    code: CodeType | None = get_code(mod_name) if get_code is not None else None
    if spec is None or code is None:
        raise ImportError(f"cannot find the code of the main module {mod_name!r}", name=mod_name)
    attributes = {
        "__spec__": spec,
        "__loader__": spec.loader,
        "__package__": spec.parent,
        "__file__": spec.origin,
    }
    if sys.version_info < (3, 15):
        attributes["__cached__"] = spec.cached
    _run_main(code, attributes)


def _fixup_main_from_path(main_path: str, compiled: tuple[int, int, bytes] | None = None) -> None:
    """Import the parent's main module, which the parent ran as a script."""
    main_name = os.path.splitext(os.path.basename(main_path))[0]
    if main_name == "ipython":
        return  # its script has no `if __name__ == "__main__"`
    if _is_main(path=main_path):
        return
    if compiled is not None and compiled[:2] == (sys.hexversion, sys.flags.optimize):
        import marshal

        code = marshal.loads(compiled[2])
    else:
        code = _code_of_script(main_path)
    _run_main(code, {"__file__": main_path, "__spec__": None})


def import_main_path(main_path: str) -> None:
    """Import a script as the main module of this process, as a child does."""
    _fixup_main_from_path(main_path)


def _is_main(name: str | None = None, path: str | None = None) -> bool:
    """Return whether the main module of this process is the one of that name or path."""
    main = sys.modules["__main__"]
    if name is not None:
        return getattr(getattr(main, "__spec__", None), "name", None) == name
    return getattr(main, "__file__", None) == path


def _code_of_script(path: str) -> CodeType:
    """Return the code of a script, which may be source or compiled."""
    import io

    with io.open_code(path) as file:
        data = file.read()
    if path.endswith(".pyc"):
        import importlib.machinery

        loader = importlib.machinery.SourcelessFileLoader("__mp_main__", path)
        code = loader.get_code("__mp_main__")
        assert code is not None
        return code
    return compile(data, path, "exec", dont_inherit=True)


def _run_main(code: CodeType, attributes: dict[str, Any]) -> None:
    """Run the main module's code in a new module, which is `__main__` from then on."""
    module = type(sys)("__mp_main__")
    vars(module).update(attributes)
    before = {name: sys.modules.get(name) for name in ("__main__", "__mp_main__")}
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    try:
        exec(code, vars(module))
    except BaseException:
        sys.modules.update({name: old for name, old in before.items() if old is not None})
        raise
    if before["__main__"] is not None:
        old_main_modules.append(before["__main__"])
