"""`python -m mproc --check`: what a program uses of multiprocessing that mproc has otherwise.

The program is read, not run: its imports of multiprocessing and of concurrent.futures.process, and
the names that it takes from them by attributes. Each name is looked up in both. What a program
finds by other ways (getattr(), names that a library of it imports) is not seen.
"""

from __future__ import annotations

import ast
import importlib
import sys

from . import _EXECUTOR, _PUBLIC, _own_name_of, uninstall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

# What is there under the same name and does something else; docs/ has a chapter for each.
_OTHERWISE = {
    "multiprocessing.resource_tracker": "starts no process, and attaching a SharedMemory registers"
    " nothing: unregister() after attaching is not needed, and does no harm",
    "multiprocessing.heap": "the package's own objects do not use it",
    "multiprocessing.queues.Queue.cancel_join_thread": "there is no thread: an item is in the queue"
    " when put() returns",
    "multiprocessing.popen_spawn_win32": "is for Windows",
    "multiprocessing.shared_memory.ShareableList": "refuses items of other types by a TypeError,"
    " and ints of more than 64 bits by an OverflowError",
}


def main(paths: list[str]) -> int:
    """Print what was found; return the exit status: 1 if anything was, 2 for a bad file."""
    if not paths:
        sys.stderr.write("usage: python -m mproc --check FILE...\n")
        return 2
    uninstall()  # MPROC_INSTALL may be set: the standard library is what is compared with
    status = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                tree = ast.parse(file.read(), path)
        except (OSError, SyntaxError, ValueError) as error:
            sys.stderr.write(f"{path}: {getattr(error, 'strerror', None) or error}\n")
            status = 2
            continue
        found = list(_findings(tree))
        for line, name, what in found:
            print(f"{path}:{line}: {name}: {what}")
        if not found:
            print(f"{path}: nothing that differs was found")
        elif status == 0:
            status = 1
    return status


def _findings(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and difference, each name once, in the order of the lines."""
    seen: set[str] = set()
    for line, name in sorted(_uses(tree)):
        what = _difference(name)
        if what is not None and name not in seen:
            seen.add(name)
            yield line, name, what


# ---- which names a program uses


def _uses(tree: ast.AST) -> set[tuple[int, str]]:
    """Return the full names of what is imported, and of attributes of what is imported."""
    names: dict[str, str] = {}
    uses: set[tuple[int, str]] = set()
    for line, imported, local, meant in _imports(tree):
        if _is_ours(imported):
            uses.add((line, imported))
        if _is_ours(imported) or _leads_to_ours(imported):
            names[local] = meant
    for node in ast.walk(tree):
        full_name = _full_name(node, names)
        if full_name is not None and _is_ours(full_name):
            uses.add((getattr(node, "lineno", 0), full_name))
    return uses


def _imports(tree: ast.AST) -> Iterator[tuple[int, str, str, str]]:
    """Yield the line of each import, what is imported, the name that it binds, what that means."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.name if alias.asname else alias.name.partition(".")[0]
                yield node.lineno, alias.name, alias.asname or bound, bound
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                if alias.name != "*":
                    full = f"{node.module}.{alias.name}"
                    yield node.lineno, full, alias.asname or alias.name, full


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == _PUBLIC or f"{name}.".startswith(f"{_EXECUTOR}.")


def _leads_to_ours(name: str) -> bool:
    """Return whether it is concurrent.futures or concurrent, which are not replaced."""
    return _EXECUTOR.startswith(f"{name}.")


def _full_name(node: ast.AST, names: dict[str, str]) -> str | None:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not parts or not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])


# ---- how they differ


def _difference(name: str) -> str | None:
    for known, what in _OTHERWISE.items():
        if name == known or name.startswith(f"{known}."):
            return what
    there, here = _look_up(name), _look_up(name, own=True)
    if there is None:
        return None  # the program fails, or asks for it, on the standard library as well
    if here is None:
        return "mproc has nothing of that name"
    if name.rpartition(".")[2].startswith("_") and not name.endswith("__"):
        return "is private to the standard library: what mproc has of that name may differ"
    return None


def _look_up(name: str, *, own: bool = False) -> object | None:
    """Return what a full name means in the standard library, or in mproc; None: nothing."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        module = ".".join(parts[:split])
        module_name = _own_name_of(module) if own else module
        if module_name is None:
            continue  # of the executor's names, only that of its module is known
        try:
            found: object = importlib.import_module(module_name)
            for part in parts[split:]:
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return found
    return None
