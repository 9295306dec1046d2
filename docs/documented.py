"""Usage: documented.py DOXYGEN_XML MAN

Lists every public name that has no documentation, and ends with a line that counts the names: those
of mproc.h, as Doxygen has read them into the folder DOXYGEN_XML, and those of the package with what
their classes offer. A function of mproc.h without a page in the folder MAN is listed, too. The exit
status is 1 when the list is not empty.

mproc.hpp is not looked at: its functions are those of mproc.h, which is its manual.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import mproc

# Private modules, and those that can be imported on another system or beside another package only.
LEFT_OUT = re.compile(r"\._|\.popen_spawn_win32$|\.engines\.")
OFFERED = (property, classmethod, staticmethod)


def is_said(element: ElementTree.Element) -> bool:
    parts = (element.find(tag) for tag in ("briefdescription", "detaileddescription"))
    return any("".join(part.itertext()).strip() for part in parts if part is not None)


def names_of_header(folder: Path) -> Iterator[tuple[str, bool]]:
    """Structs, and what groups and structs have, each with whether something is said of it.

    The values of an enumeration may be self-evident: what is said of it is said of them. A union
    without a name only holds members of the struct around it.
    """
    for path in sorted(folder.glob("*.xml")):
        for compound in ElementTree.parse(path).iter("compounddef"):
            place = ""
            if compound.get("kind") in ("struct", "union"):
                place = compound.findtext("compoundname", "")
                yield place, is_said(compound)
                place += "."
            elif compound.get("kind") != "group":
                continue
            for member in compound.iter("memberdef"):
                name = member.findtext("name", "")
                if not name.startswith("@"):
                    yield place + name, is_said(member)
                for value in member.iter("enumvalue"):
                    yield place + value.findtext("name", ""), is_said(value) or is_said(member)


def functions_of_header(folder: Path) -> Iterator[str]:
    for path in folder.glob("group__*.xml"):
        for member in ElementTree.parse(path).iter("memberdef"):
            if member.get("kind") == "function":
                yield member.findtext("name", "")


def modules() -> Iterator[ModuleType]:
    """The package and its public modules."""
    yield mproc
    for found in pkgutil.walk_packages(mproc.__path__, "mproc."):
        if not LEFT_OUT.search(found.name):
            yield importlib.import_module(found.name)


def set_when_asked_for() -> Iterator[str]:
    """The names of the package that only its block for type checkers tells of."""
    assert mproc.__file__ is not None
    for block in ast.parse(Path(mproc.__file__).read_text()).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for line in block.body:
                if isinstance(line, ast.ImportFrom):
                    yield from (name.asname or name.name for name in line.names)
                elif isinstance(line, ast.Assign):
                    yield from (name.id for name in line.targets if isinstance(name, ast.Name))


def names_of_module(module: ModuleType) -> Iterator[tuple[str, bool]]:
    yield module.__name__, bool(module.__doc__)
    names = set(getattr(module, "__all__", ()))
    if module is mproc:
        names |= set(set_when_asked_for())
    else:
        names |= {name for name in vars(module) if is_own(module, name)}
    for name in sorted(names):
        value = getattr(module, name)
        if callable(value):
            yield f"{module.__name__}.{name}", bool(inspect.getdoc(value))
        if inspect.isclass(value) and value.__module__.startswith("mproc"):
            yield from names_of_class(f"{module.__name__}.{name}", value)


def is_own(module: ModuleType, name: str) -> bool:
    """Whether the module defines it, rather than imports it."""
    if name.startswith("_"):
        return False
    return getattr(getattr(module, name), "__module__", "") == module.__name__


def names_of_class(place: str, kind: type) -> Iterator[tuple[str, bool]]:
    for name, value in vars(kind).items():
        if name.startswith("_"):
            continue
        if callable(value) or isinstance(value, OFFERED) or inspect.isgetsetdescriptor(value):
            yield f"{place}.{name}", bool(inspect.getdoc(getattr(kind, name)))


def main() -> int:
    xml, man = map(Path, sys.argv[1:])
    in_c = dict(names_of_header(xml))
    in_python = {name: said for module in modules() for name, said in names_of_module(module)}
    lacking = [name for name, said in {**in_c, **in_python}.items() if not said]
    lacking += [
        f"{name} (no man page)"
        for name in functions_of_header(xml)
        if not (man / f"man3/{name}.3").exists()
    ]
    print(*lacking, sep="\n", end="\n" if lacking else "")
    print(
        f"{len(in_c)} public names in C and {len(in_python)} in Python, "
        f"{len(lacking)} without documentation"
    )
    return bool(lacking) or not in_c


sys.exit(main())
