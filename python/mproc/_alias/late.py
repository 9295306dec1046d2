"""install() after others have imported the standard library's multiprocessing.

What they have of it is replaced by what mproc has under the same name, wherever their modules keep
it: as a variable, in a list, tuple or dictionary that is one, as an attribute or a base of a class,
or in a function's defaults and closure. `Plan` looks first, and changes nothing: when something
cannot be replaced, install() says what, and all stays as it was.

What the program has set there (start method, key, logging, reducers, ...) is set here, too. Objects
that were made before stay the standard library's. They go on working in this process and in what it
forks: see `_current.keep_standard()`.
"""

from __future__ import annotations

import sys

from .. import _current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

__all__ = ["Plan"]

_Module = type(sys)
_Function = type(_current.current_process)
_Method: Any = type(_current.current_process().join)

_NAMES = ("multiprocessing", "_multiprocessing", "concurrent.futures.process")


def _is_part(module_name: object) -> bool:
    """Return whether a module is one of those that mproc stands for."""
    return isinstance(module_name, str) and (
        module_name in _NAMES or module_name.startswith("multiprocessing.")
    )


class _Missing:
    """In the place of something that mproc does not have."""

    def __init__(self, name: str) -> None:
        self.name = name


class Plan:
    """What is to be replaced, where, and by what."""

    def __init__(
        self, old: dict[str, ModuleType], own_name_of: Callable[[str], str | None]
    ) -> None:
        """Look everywhere. RuntimeError: something cannot be replaced.

        old: the modules that were imported, by name.
        """
        self._old = old
        self._new: dict[int, Any] = {}
        self._steps: list[Callable[[], None]] = []
        self._rebased: list[tuple[Any, tuple[type, ...], tuple[type, ...]]] = []
        self._seen: set[int] = set()
        self._check_children()
        for name, module in old.items():
            own_name = own_name_of(name)
            if own_name is not None:
                self._pair_module(name, module, own_name)
        for name, module in list(sys.modules.items()):
            if isinstance(module, _Module) and not self._is_no_users(name, module):
                self._scan_module(name, module)

    def _check_children(self) -> None:
        process = self._old.get("multiprocessing.process")
        children = process.active_children() if process is not None else []
        if children:
            raise RuntimeError(
                f"mproc.install() is too late: {children[0]!r} was started by the standard"
                " library's multiprocessing; call it before processes are started, or run the"
                " program with `python -m mproc`"
            )

    # ---- what stands for what

    def _pair_module(self, name: str, module: ModuleType, own_name: str) -> None:
        try:
            __import__(own_name)
        except ImportError:
            self._new.setdefault(id(module), _Missing(name))
            return
        own = sys.modules[own_name]
        self._new[id(module)] = own
        for attribute, value in list(vars(module).items()):
            if not attribute.startswith("__") and self._is_theirs(value):
                self._pair(value, getattr(own, attribute, None), f"{name}.{attribute}")
        contexts = vars(module).get("_concrete_contexts")
        if isinstance(contexts, dict):
            for method, context in contexts.items():
                self._new[id(context)] = own._concrete_contexts[method]

    def _pair(self, value: object, own: object, name: str) -> None:
        known = self._new.get(id(value))
        if own is not None:
            if known is None or isinstance(known, _Missing):
                self._new[id(value)] = own
        elif known is None:
            self._new[id(value)] = _Missing(name)

    @staticmethod
    def _is_theirs(value: object) -> bool:
        """Return whether an object is the library's own, and not one that it uses."""
        if isinstance(value, (type, _Function)):
            return _is_part(value.__module__)
        if isinstance(value, _Method):
            return _is_part(type(value.__self__).__module__)
        return not isinstance(value, _Module) and _is_part(type(value).__module__)

    def _counterpart(self, value: object) -> object:
        """Return what stands for an object, None if it is no part of the library."""
        found = self._new.get(id(value))
        if found is None and isinstance(value, _Method):
            owner = self._new.get(id(value.__self__))
            if owner is not None and not isinstance(owner, _Missing):
                found = getattr(owner, value.__name__, None)
        return found

    # ---- where it is

    def _is_no_users(self, name: str, module: ModuleType) -> bool:
        own = name == "mproc" or name.startswith("mproc.")
        return own or _is_part(name) or id(module) in self._new

    def _scan_module(self, name: str, module: ModuleType) -> None:
        space = vars(module)
        for key, value in list(space.items()):
            if key.startswith("__") or id(value) in self._new:
                if not key.startswith("__"):
                    self._replace(f"{name}.{key}", value, _setter(space, key))
            elif isinstance(value, type):
                if value.__module__ == name:
                    self._scan_class(f"{name}.{key}", value)
            elif isinstance(value, _Function):
                if value.__globals__ is space:
                    self._scan_function(f"{name}.{key}", value)
            else:
                self._scan_value(f"{name}.{key}", value, _setter(space, key))

    def _scan_value(self, where: str, value: object, put: Callable[[Any], None]) -> None:
        if type(value) is tuple:
            self._replace_in_tuple(where, value, put)
        elif type(value) is list:
            for place, item in enumerate(value):
                self._replace(where, item, _setter(value, place))
        elif type(value) is dict:
            for key, item in list(value.items()):
                self._replace(where, item, _setter(value, key))
        elif isinstance(value, _Method):
            self._replace(where, value, put)

    def _scan_class(self, where: str, cls: type) -> None:
        if id(cls) in self._seen:
            return
        self._seen.add(id(cls))
        for key, value in list(vars(cls).items()):
            place = f"{where}.{key}"
            wrap: Any = None
            if isinstance(value, (staticmethod, classmethod)):
                wrap, value = type(value), value.__func__
            if isinstance(value, _Function) and id(value) not in self._new:
                self._scan_function(place, value)
            elif isinstance(value, type) and value.__module__ == cls.__module__:
                self._scan_class(place, value)
            elif not key.startswith("__"):
                self._replace(place, value, _attribute_setter(cls, key, wrap))
        self._scan_bases(where, cls)

    def _scan_bases(self, where: str, cls: type) -> None:
        bases = tuple(self._checked(where, base, base) for base in cls.__bases__)
        if bases != cls.__bases__:
            self._rebased.append((cls, cls.__bases__, bases))

    def _scan_function(self, where: str, function: Any) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        if function.__defaults__ is not None:
            self._replace_in_tuple(
                where, function.__defaults__, lambda new: setattr(function, "__defaults__", new)
            )
        for key, value in list((function.__kwdefaults__ or {}).items()):
            self._replace(where, value, _setter(function.__kwdefaults__, key))
        for variable in function.__closure__ or ():
            for value in _contents(variable):
                self._replace(where, value, _content_setter(variable))
        inner = getattr(function, "__wrapped__", None)
        if isinstance(inner, _Function):
            self._scan_function(where, inner)

    # ---- what is done to it

    def _checked(self, where: str, value: object, otherwise: object) -> Any:
        found = self._counterpart(value)
        if isinstance(found, _Missing):
            raise RuntimeError(
                f"mproc.install() is too late for {where}: it is {found.name} of the standard"
                " library, which mproc does not have; run the program with `python -m mproc`"
            )
        return otherwise if found is None else found

    def _replace(self, where: str, value: object, put: Callable[[Any], None]) -> None:
        new = self._checked(where, value, None)
        if new is not None:
            self._steps.append(lambda: put(new))

    def _replace_in_tuple(
        self, where: str, values: tuple[Any, ...], put: Callable[[Any], None]
    ) -> None:
        new = tuple(self._checked(where, value, value) for value in values)
        if any(mine is not theirs for mine, theirs in zip(new, values, strict=True)):
            self._steps.append(lambda: put(new))

    def carry_out(self) -> None:
        """Replace all of it. RuntimeError: a class cannot have another base; nothing is changed."""
        done: list[tuple[Any, tuple[type, ...]]] = []
        for cls, before, after in self._rebased:
            try:
                cls.__bases__ = after
            except TypeError as error:
                for other, bases in done:
                    other.__bases__ = bases
                raise RuntimeError(
                    f"mproc.install() is too late for {cls.__module__}.{cls.__qualname__}: its base"
                    f" is {before[0].__module__}.{before[0].__qualname__} of the standard library,"
                    f" which cannot be changed ({error}); call it before {cls.__module__!r} is"
                    " imported, or run the program with `python -m mproc`"
                ) from None
            done.append((cls, before))
        for step in self._steps:
            step()
        _carry_settings(self._old)


def _setter(container: Any, key: Any) -> Callable[[Any], None]:
    return lambda new: container.__setitem__(key, new)


def _attribute_setter(cls: type, key: str, wrap: Any) -> Callable[[Any], None]:
    return lambda new: setattr(cls, key, new if wrap is None else wrap(new))


def _content_setter(variable: Any) -> Callable[[Any], None]:
    return lambda new: setattr(variable, "cell_contents", new)


def _contents(variable: Any) -> Iterator[object]:
    try:
        yield variable.cell_contents
    except ValueError:  # it is empty
        return


# ---- what the program has set


def _carry_settings(old: dict[str, ModuleType]) -> None:
    carry = {
        "multiprocessing.context": _carry_start_method,
        "multiprocessing.process": _carry_process,
        "multiprocessing.util": _carry_util,
        "multiprocessing.reduction": _carry_reducers,
        "multiprocessing.spawn": _carry_executable,
        "multiprocessing.forkserver": _carry_preload,
        "multiprocessing.resource_tracker": _carry_tracker,
    }
    for name, function in carry.items():
        module = old.get(name)
        if module is not None:
            function(module)


def _carry_start_method(context: Any) -> None:
    from ..context import _default_context

    method = context._default_context.get_start_method(allow_none=True)
    if method is not None:
        _default_context.set_start_method(method, force=True)


def _carry_process(process: Any) -> None:
    theirs, ours = process.current_process(), _current.current_process()
    ours.authkey = bytes(theirs.authkey)
    ours.name = theirs.name


def _carry_util(util: Any) -> None:
    from .. import util as own

    _current.keep_standard(util)
    if util._logger is not None:
        own.use_logger(util._log_to_stderr)


def _carry_reducers(reduction: Any) -> None:
    from ..reduction import register

    for kind, reduce in reduction.ForkingPickler._extra_reducers.items():
        if not _is_part(getattr(reduce, "__module__", None)):
            register(kind, reduce)


def _carry_tracker(tracker: Any) -> None:
    from .. import resource_tracker as own

    own._resource_tracker.standard = tracker._resource_tracker


def _carry_executable(spawn: Any) -> None:
    from ..spawn import set_executable

    set_executable(spawn.get_executable())


def _carry_preload(forkserver: Any) -> None:
    from ..forkserver import set_forkserver_preload

    set_forkserver_preload(list(forkserver._forkserver._preload_modules))
