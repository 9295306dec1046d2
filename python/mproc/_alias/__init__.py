"""`multiprocessing` as another name of mproc: install().

A finder, the first in sys.meta_path, finds the modules of mproc for `multiprocessing` and its
submodules, so each module exists once, under two names. A module is imported when the program
imports it. The finder also finds `_multiprocessing`, which programs import that build locks of
their own, and `concurrent.futures.process`, which concurrent.futures imports for
ProcessPoolExecutor. A spawned child or a template learns of it by its preparation data; a forked
child is a copy.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["install", "installed", "uninstall"]

_PUBLIC = "multiprocessing"
_OWN = "mproc"
_EXTENSION = "_multiprocessing"
_EXECUTOR = "concurrent.futures.process"
_REPLACED = (_PUBLIC, _EXTENSION, _EXECUTOR)


class _Loader:
    """Loads a module of multiprocessing: it is that of mproc."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        __import__(self._own_name)
        module = sys.modules[self._own_name]
        # The import system will set the alias' spec in the module; exec_module() sets it back.
        spec.loader_state = (module.__spec__, module.__loader__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__, module.__loader__ = spec.loader_state


class _Finder:
    """Finds multiprocessing and its submodules in mproc."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        own_name = _own_name_of(name)
        if own_name is None:
            return None
        own = _find_own(own_name)
        if own is None:
            return None
        spec_type = type(own)
        return spec_type(
            name,
            _Loader(own_name),  # type: ignore[arg-type]
            is_package=own.submodule_search_locations is not None,
        )

    @staticmethod
    def invalidate_caches() -> None:
        """There are none."""


def _own_name_of(name: str) -> str | None:
    """Return the name that a module has in mproc, None if it is no part of multiprocessing."""
    if name == _EXTENSION:
        return f"{__name__}.{_EXTENSION}"
    if name == _EXECUTOR:
        return f"{_OWN}.futures"
    package, _, rest = name.partition(".")
    if package != _PUBLIC:
        return None
    return f"{_OWN}.{rest}" if rest else _OWN


def _find_own(own_name: str) -> ModuleSpec | None:
    """Return the spec of a module of mproc, imported or not; None: there is no such module."""
    module = sys.modules.get(own_name)
    if module is not None and module.__spec__ is not None:
        return module.__spec__
    parent, _, _ = own_name.rpartition(".")
    __import__(parent)
    path = getattr(sys.modules[parent], "__path__", None)
    if path is None:
        return None
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(own_name, path) if find_spec is not None else None
        if spec is not None:
            return spec
    return None


def install() -> None:
    """Have `import multiprocessing` import mproc, here and in all children from now on.

    Call it first. What others have imported of the standard library's multiprocessing by then is
    replaced by what mproc has under the same name. RuntimeError: some of it cannot be replaced, or
    processes have been started there; the message says what, and nothing is changed. Objects that
    were made before stay the standard library's. A second call does nothing.
    """
    if installed():
        return
    old = {name: module for name, module in sys.modules.items() if _is_standard(name, module)}
    plan = None
    if _PUBLIC in old or _EXECUTOR in old:
        from .late import Plan

        plan = Plan(old, _own_name_of)
        plan.carry_out()
    for name in old:
        del sys.modules[name]
    _forget_executor()
    sys.meta_path.insert(0, _Finder)


def uninstall() -> None:
    """Have `import multiprocessing` import the standard library's again, here and in new children.

    What was imported meanwhile stays mproc's. Without install() it does nothing.
    """
    if not installed():
        return
    sys.meta_path.remove(_Finder)
    for name in list(sys.modules):
        if _is_alias(name):
            del sys.modules[name]
    _forget_executor()


def _is_alias(name: str) -> bool:
    return name.partition(".")[0] in (_PUBLIC, _EXTENSION) or name == _EXECUTOR


def _is_standard(name: str, module: ModuleType) -> bool:
    """Return whether a module is one that mproc takes the place of."""
    own = str(getattr(module, "__name__", "")).partition(".")[0] == _OWN
    return _is_alias(name) and not own


def _forget_executor() -> None:
    """Have concurrent.futures, if it is there, import its process pool anew when asked for it."""
    futures = sys.modules.get("concurrent.futures")
    if futures is None:
        return
    for name in ("process", "ProcessPoolExecutor"):
        vars(futures).pop(name, None)
    if not hasattr(futures, "__getattr__"):  # its import is a lazy one, from Python 3.15 on
        exec(f"lazy from {_EXECUTOR} import ProcessPoolExecutor", vars(futures))


def installed() -> bool:
    """Return whether `multiprocessing` is mproc in this process."""
    return _Finder in sys.meta_path
