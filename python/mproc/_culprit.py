"""What keeps an object from being sent: the path to it, and what can be done.

explain() is called when something could not be pickled, and this module is imported then. It adds
two notes to the error, whose type and text stay as they are:

    args[0].model.lock: cannot pickle '_thread.lock' object
    Make it in the process that uses it, or leave it out by a __getstate__() of Model.

How it works. Of the parts that were to be sent, the first is taken that cannot be pickled by
itself, then of its own parts, and so on down. The parts of an object are those that
its reduce function gives to the pickler. So each level is pickled once more, and no other walk
through objects is needed than that of pickle.

From Python 3.14 on pickle adds notes of its own, one a level. They stay, and stand before these.

What it does not do. It does not ask the package's own reduce functions for parts: they pass
descriptors and holds on, for which somebody would have to come.
"""

from __future__ import annotations

import copyreg
from functools import partial
from time import monotonic
from types import BuiltinMethodType, FunctionType, GeneratorType, MethodType

from . import _mproc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .process import BaseProcess

    _Parts = Iterable[tuple[str, object]]
    _Found = tuple[str, object, object]  # the path, the culprit, and the object that it belongs to

__all__ = [
    "explain",
    "explain_unknown",
    "parts_of_call",
    "parts_of_chunk",
    "parts_of_function",
    "parts_of_map",
    "parts_of_process",
    "parts_of_result",
]

DEEPEST = 100  # objects that are looked into
SECONDS = 2.0  # for which the search goes on; then what is known is told
LONGEST = 60  # characters of a key in a path
BY_HAND = "send cloudpickle.dumps() of it"
OPT_IN = 'have cloudpickle send it: pickler="cloudpickle" on the context, Pool or executor'

_CONTAINERS = (dict, list, tuple, set, frozenset)
_GONE = object()


def explain(
    error: BaseException, parts: _Parts, by_value: Callable[[Any], object] | None = None
) -> None:
    """Add to an error what could not be pickled of some parts, each with its name, and a remedy.

    by_value: what pickles functions by value, if that was used. If all parts can be pickled, the
    error has another reason, and nothing is added.
    """
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        return
    try:
        found = _Search(by_value).find(parts)
        if found is not None:
            _tell(error, *found)
    except Exception:
        return  # what there is to say about an error must not replace it


def _tell(error: Exception, path: str, culprit: object, owner: object) -> None:
    if path != "obj":
        error.add_note(f"{path}: {error}")
    remedy = _remedy(path, culprit, owner, error)
    if remedy:
        error.add_note(remedy)


def explain_unknown(error: BaseException) -> None:
    """Add a remedy to the error of a child that does not know a function of its parent's main."""
    if isinstance(error, AttributeError) and "_main__'" in str(error):
        error.add_note(
            "This process does not have what its parent's main module has, such as a function of"
            f" a notebook or a prompt. Define it in a module, or {OPT_IN}."
        )


# ---- what was to be sent


def parts_of_function(name: str, function: object) -> Iterator[tuple[str, object]]:
    """Yield the function of a task, under the name that its parameter has."""
    yield name, function


def parts_of_call(
    args: Iterable[object], kwargs: Any, kwargs_name: str = "kwargs"
) -> Iterator[tuple[str, object]]:
    """Yield the arguments of a call."""
    for number, value in enumerate(args):
        yield f"args[{number}]", value
    for key, value in (kwargs or {}).items():
        yield f"{kwargs_name}[{_shown(key)}]", value


def parts_of_map(items: Iterable[object], first: int) -> Iterator[tuple[str, object]]:
    """Yield items of a map by their numbers, that of the first being given."""
    for number, item in enumerate(items, first):
        yield f"iterable[{number}]", item


def parts_of_chunk(items: Iterable[Any], first: int) -> Iterator[tuple[str, object]]:
    """Yield what a map takes from several iterables side by side, by their numbers."""
    for number, item in enumerate(items, first):
        for which, value in enumerate(item):
            yield f"iterables[{which}][{number}]", value


def parts_of_result(value: Any, first: int | None) -> Iterator[tuple[str, object]]:
    """Yield the result of a call, or its exception; or those of a map's items from a number on."""
    if isinstance(value, BaseException):
        yield "exception", value
    elif first is None:
        yield "result", value
    else:
        for number, item in enumerate(value, first):
            yield f"result[{number}]", item


def parts_of_process(process: BaseProcess) -> Iterator[tuple[str, object]]:
    """Yield the parts of a process object: target, arguments, and attributes of a subclass."""
    if _has_a_state_of_its_own(type(process)):
        yield "the process", process
        return
    state: dict[str, Any] = dict(vars(process))
    target = state.pop("_target", None)
    args = state.pop("_args", ())
    kwargs = state.pop("_kwargs", {})
    if (getattr(target, "__module__", None) or "").startswith("mproc."):
        yield from _parameters(target, args)  # a pool's worker: the pool's own arguments
    else:
        yield "target", target
        yield from parts_of_call(args, kwargs)
    for name, value in state.items():
        yield f"self.{name}", value
    yield "the class", type(process)


def _has_a_state_of_its_own(kind: type) -> bool:
    names = ("__reduce__", "__reduce_ex__", "__getstate__")
    return any(getattr(kind, name) is not getattr(object, name) for name in names)


def _parameters(function: Any, args: Iterable[object]) -> Iterator[tuple[str, object]]:
    yield from zip(function.__code__.co_varnames, args, strict=False)


# ---- the way down


class _Search:
    """The search for what cannot be pickled.

    What an object has above it may be a part of it, too, and fails then because of others of its
    parts. So an object that fails only by such a part is not the culprit, and the search goes on.
    """

    def __init__(self, by_value: Callable[[Any], object] | None) -> None:
        self._by_value = by_value is not None
        self._dumps = by_value or _mproc.dumps
        self._seen: set[int] = set()
        self._end = monotonic() + SECONDS

    def find(self, parts: _Parts) -> _Found | None:
        """Return the culprit; None: all parts can be pickled."""
        for path, part in parts:
            if self._fails(part):
                return self._below(path, part, None) or (path, part, None)
        return None

    def _fails(self, obj: object) -> bool:
        try:
            self._dumps(obj)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return True
        return False

    def _below(self, path: str, obj: object, owner: object) -> _Found | None:
        """Return the culprit, an object that fails or a part of it; None: it is neither."""
        self._seen.add(id(obj))
        mine = owner if isinstance(obj, _CONTAINERS) else obj
        circular = False
        for step, part in self._failing(obj):
            found = None if id(part) in self._seen else self._below(path + step, part, mine)
            if found is not None:
                return found
            circular = True
        return None if circular and monotonic() < self._end else (path, obj, owner)

    def _failing(self, obj: object) -> _Parts:
        try:
            if len(self._seen) < DEEPEST:
                for step, part in _parts_of(obj, self._by_value):
                    if monotonic() > self._end:
                        return
                    if self._fails(part):
                        yield step, part
        except KeyboardInterrupt:
            raise
        except BaseException:
            return  # it is its own reduce function that fails


def _parts_of(obj: object, by_value: bool) -> Iterator[tuple[str, object]]:
    """Yield what an object consists of, for pickle, each with its step of the path."""
    kind = type(obj)
    if kind is dict:
        yield from _entries(obj)  # type: ignore[arg-type]
    elif kind is list or kind is tuple:
        yield from _elements(obj)  # type: ignore[arg-type]
    elif kind is set or kind is frozenset:
        for item in obj:  # type: ignore[attr-defined]
            yield f"{{{_shown(item)}}}", item
    elif kind is MethodType or kind is BuiltinMethodType:
        yield ".__self__", obj.__self__  # type: ignore[attr-defined]
    elif kind is FunctionType:
        yield from _used_by(obj) if by_value else ()  # type: ignore[arg-type]
    elif not isinstance(obj, type):
        yield from _reduced(obj)


def _used_by(function: FunctionType) -> Iterator[tuple[str, object]]:
    code = function.__code__
    for name, holder in zip(code.co_freevars, function.__closure__ or (), strict=False):
        yield f".__closure__[{name!r}]", holder.cell_contents
    for name in code.co_names:
        if name in function.__globals__:
            yield f".__globals__[{name!r}]", function.__globals__[name]


def _entries(obj: dict[Any, Any]) -> Iterator[tuple[str, object]]:
    for key, value in obj.items():
        yield f"[{_shown(key)}]", value
        yield f"[key {_shown(key)}]", key


def _elements(obj: Iterable[Any]) -> Iterator[tuple[str, object]]:
    for number, value in enumerate(obj):
        yield f"[{number}]", value


def _shown(key: object) -> str:
    try:
        text = repr(key)
    except Exception:
        text = f"<{type(key).__name__}>"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _reduced(obj: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of an object that its reduce function makes."""
    made = _reduce(obj)
    if not isinstance(made, tuple):
        return
    _, args, state, items, entries = (*made, None, None, None)[:5]
    names = _Names(obj)
    yield from names.of_state(state)
    yield from names.of_arguments(args)
    yield from _elements(items or ())
    yield from _entries(dict(entries or ()))


def _reduce(obj: object) -> object:
    kind = type(obj)
    reduce = _mproc.reducers.get(kind) or copyreg.dispatch_table.get(kind)
    if reduce is None:
        return obj.__reduce_ex__(5)
    return None if reduce.__module__.startswith("mproc.") else reduce(obj)


class _Names:
    """The attributes of an object, to say which of them a part is."""

    def __init__(self, obj: object) -> None:
        self._values = dict(getattr(obj, "__dict__", {}))
        if isinstance(obj, BaseException | partial):
            for name in ("args", "func", "keywords"):
                self._values.setdefault(name, getattr(obj, name, _GONE))

    def of_state(self, state: object) -> Iterator[tuple[str, object]]:
        """Yield the parts of a state: a dict, or one and that of the slots, or anything."""
        if isinstance(state, dict):
            for name, value in state.items():
                yield f".{name}" if isinstance(name, str) else f"[{_shown(name)}]", value
        elif isinstance(state, tuple) and all(isinstance(part, dict | None) for part in state):
            for part in state:
                yield from self.of_state(part)
        elif isinstance(state, tuple):
            yield from self._members(state, ".__getstate__()")
        elif state is not None:
            yield self._step(state) or ".__getstate__()", state

    def of_arguments(self, args: Iterable[object]) -> Iterator[tuple[str, object]]:
        """Yield the arguments with which the object is made anew."""
        yield from self._members(args, ".__reduce__()[1]")

    def _members(self, values: Iterable[object], otherwise: str) -> Iterator[tuple[str, object]]:
        step = self._step(values)
        for number, value in enumerate(values):
            mine = None if step is not None else self._step(value)
            yield mine or f"{step or otherwise}[{number}]", value

    def _step(self, value: object) -> str | None:
        for name, mine in self._values.items():
            if mine is value:
                return f".{name}"
        return None


# ---- what can be done


def _remedy(path: str, culprit: object, owner: object, error: BaseException) -> str:
    """Return what can be done; empty: the error says it itself."""
    if isinstance(culprit, FunctionType | type):
        in_message = path.startswith("obj")
        return f"Define it at the top level of a module, or {BY_HAND if in_message else OPT_IN}."
    if type(culprit).__module__.startswith("multiprocessing."):
        return "It belongs to the standard library's multiprocessing, not to mproc."
    if isinstance(culprit, GeneratorType):
        return "Send what it yields, as a list."
    if type(culprit).__module__.startswith("mproc."):
        if type(error) is not RuntimeError:
            return ""
        return (
            "Give it to the other process when that is started: as an argument of Process(), or by"
            " initializer and initargs of a pool."
        )
    if owner is None or type(owner).__module__ == "builtins":
        return "Make it in the process that uses it, or send what it is made of."
    name = type(owner).__qualname__
    return f"Make it in the process that uses it, or leave it out by a __getstate__() of {name}."
