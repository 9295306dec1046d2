"""What an agent is told, so that tasks find on its node what they find at the program.

Where `multiprocessing` is mproc in the program, it is there, too. The main module is read anew from
its source, as by a child that `spawn` starts: from its own path, if the file there is the same, or
else from a copy. Modules beside the script that the program had imported when its pool was made go
along as source, too, and are found after all that is installed.
"""

from __future__ import annotations

import os
import sys

from .. import _current, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["adopt", "of_program"]

MOST = 8 << 20  # bytes of modules that go along


# ---- the program's side


def of_program() -> dict[str, Any]:
    """Return what of this process its tasks need elsewhere."""
    data = spawn.get_preparation_data("MainProcess")
    data["authkey"] = bytes(data["authkey"])
    data.pop("manager_keys", None)  # a proxy that goes along brings its manager's key
    alias = sys.modules.get("mproc._alias")
    data["installed"] = alias is not None and alias.installed()
    path = data.get("init_main_from_path")
    files = _sources_beside(path)
    if path is not None:
        files[os.path.basename(path)] = _source(path)
    data["files"] = files
    return data


def _source(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _sources_beside(path: str | None) -> dict[str, bytes]:
    """Return the sources of imported modules in the directory that a script's imports come from."""
    base = os.path.realpath(os.path.dirname(path) if path is not None else os.getcwd())
    found: dict[str, bytes] = {}
    size = 0
    for module in list(sys.modules.values()):
        name = _place_beside(module, base)
        if name is not None and name not in found and size < MOST:
            found[name] = _source(os.path.join(base, name))
            size += len(found[name])
    return found


def _place_beside(module: ModuleType, base: str) -> str | None:
    """Return the path of a module's source relative to base; None: it is not there."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    place = os.path.relpath(os.path.realpath(file), base)
    outside = place.startswith("..") or "site-packages" in place or "dist-packages" in place
    return None if outside or not os.path.isfile(os.path.join(base, place)) else place


# ---- the agent's side


def adopt(data: dict[str, Any], room: str) -> None:
    """Make this process like the program; room: a directory for what this machine lacks."""
    if data.pop("installed", False):
        from .._alias import install

        install()
    files = data.pop("files")
    for place, source in files.items():
        _write(os.path.join(room, place), source)
    path = data.get("init_main_from_path")
    if path is not None and not _has(path, files[os.path.basename(path)]):
        data["init_main_from_path"] = os.path.join(room, os.path.basename(path))
        data.pop("main_code", None)
    data["sys_path"] = [*data["sys_path"], *_missing(sys.path, data["sys_path"]), room]
    if data.get("dir") is not None and not os.path.isdir(data["dir"]):
        data["dir"] = None
    _current.choose_engine(_Unguarded())  # a pool that the script makes now asks it
    try:
        spawn.prepare(data)
    except _PoolIsMadeError as made:
        sys.modules["__main__"] = sys.modules["__mp_main__"] = made.main
    finally:
        _current.choose_engine(None)


class _PoolIsMadeError(BaseException):
    """A script without a main guard has come to the place where it makes its pool.

    Its tasks find what it has defined until then, as they do in a process that was forked there.
    The script must not catch this, so it is no Exception.
    """

    def __init__(self, main: ModuleType) -> None:
        super().__init__("the script makes a pool when it is imported")
        self.main = main


class _Unguarded:
    """Stands for the chosen engine while a script is imported, which goes no further than that."""

    def open(self) -> Any:
        """Raise _PoolIsMadeError."""
        raise _PoolIsMadeError(sys.modules["__main__"])


def _missing(path: list[str], known: list[str]) -> list[str]:
    return [place for place in path if place and place not in known]


def _write(path: str, source: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(source)


def _has(path: str, source: bytes) -> bool:
    try:
        return _source(path) == source
    except OSError:
        return False
