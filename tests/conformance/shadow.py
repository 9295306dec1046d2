"""Builds a shadow prefix: an interpreter whose `multiprocessing` is the package under test.

The binary is copied, the standard library is a forest of links beside it, and only what matters
is replaced: `multiprocessing/`, `_multiprocessing`, `_posixshmem`, with mproc itself next to them.
Every child runs the same binary, so every child has the same library, whatever its flags, its
environment or its way of starting are. A stock shadow, the control, replaces nothing.

The forest stays in place between runs (its byte code is what makes a second run fast); the package
and what surrounds it are written anew each time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from interpreter import Interpreter

INSIDE = Path(__file__).resolve().parent / "inside"
METHODS = ("fork", "spawn", "forkserver")
OWN = ("__pycache__", "site-packages", "test", "multiprocessing")  # never linked as a whole
PYC = shutil.ignore_patterns("__pycache__")

WRAPPER = """\
import unittest
from test._test_multiprocessing import install_tests_in_module_dict

install_tests_in_module_dict(globals(), {method!r})
"""
EXECUTOR = """\
import sys

import mproc.futures

sys.modules[__name__] = mproc.futures
"""
LENDING = "from mproc_conformance import lending\n\nlending.lend()\n"
TRIPPED = "from mproc_conformance import tripwire\n\ntripwire.trip(__file__)\n"


class BadShadow(Exception):
    """The shadow cannot be built, or its processes do not see the package under test."""


class Shadow:
    """One interpreter with one multiprocessing; `package` None means the standard one."""

    def __init__(
        self,
        interpreter: Interpreter,
        root: Path,
        suite: Path | None = None,
        futures: Path | None = None,
    ) -> None:
        self.futures = futures  # test_concurrent_futures, for interpreters that lack it
        self.interpreter = interpreter
        self.root = root.resolve()
        self.lib = self.root / "lib" / f"python{interpreter.version}"
        self.python = self.root / "bin" / f"python{interpreter.version}"
        self.inside = self.lib / "mproc_conformance"
        self.wires = self.root / "wires"  # tripwires to lay over the standard package
        self.log = self.root / "tripwire.log"
        self.suite = suite or interpreter.suite
        self.package: Path | None = None
        self.absent: list[str] = []

    @property
    def standard(self) -> Path:
        return Path(self.interpreter.stdlib, "multiprocessing")

    def build(self, package: Path | None) -> None:
        """Makes the prefix, with the folder `package`/mproc in it."""
        self.package = package
        self.plant()
        self.log.unlink(missing_ok=True)
        self.write_inside()
        self.write_tests()
        if package is None:
            link(self.standard, self.lib / "multiprocessing")
        else:
            self.write_package(package)

    def plant(self) -> None:
        """The part that depends on the interpreter alone."""
        binary = Path(self.interpreter.binary)
        stamp = f"{self.interpreter} {binary.stat().st_mtime_ns}"
        label = self.root / "stamp"
        if label.exists() and label.read_text() == stamp:
            return
        shutil.rmtree(self.root, ignore_errors=True)
        self.lib.mkdir(parents=True)
        self.python.parent.mkdir()
        shutil.copy2(binary, self.python)
        for name in ("python3", "python"):
            link(Path(self.python.name), self.python.with_name(name))
        if self.interpreter.platlibdir != "lib":
            link(Path("lib"), self.root / self.interpreter.platlibdir)
        link_all(Path(self.interpreter.stdlib), self.lib, OWN)
        link_all(Path(self.interpreter.stdlib, "test"), self.lib / "test", ("__pycache__",))
        (self.lib / "site-packages").mkdir()
        label.write_text(stamp)

    def write_inside(self) -> None:
        fresh(self.inside)
        shutil.copytree(INSIDE, self.inside, ignore=PYC, dirs_exist_ok=True)
        wire = self.inside / "tripwire.py"
        wire.write_text(wire.read_text().replace("@LOG@", str(self.log)))
        self.write_found([], [])

    def write_found(self, modules: list[str], names: list[list[str]]) -> None:
        facts = {
            "PACKAGE": "multiprocessing" if self.package is None else "mproc",
            "STANDARD": str(self.standard) + os.sep,
            "SUITE": str(self.suite),
            "ABSENT_MODULES": modules,
            "ABSENT_NAMES": names,
        }
        text = "".join(f"{name} = {value!r}\n" for name, value in facts.items())
        (self.inside / "found.py").write_text(f'"""What run.py has found out."""\n\n{text}')

    def write_tests(self) -> None:
        """The suite, and the wrapper modules that interpreters may have been shipped without."""
        test = self.lib / "test"
        link(self.suite, test / "_test_multiprocessing.py")
        for method in METHODS:
            shipped = Path(self.interpreter.stdlib, "test", f"test_multiprocessing_{method}")
            if not shipped.exists() and not shipped.with_suffix(".py").exists():
                wrapper = test / f"test_multiprocessing_{method}.py"
                wrapper.write_text(WRAPPER.format(method=method))
        name = "test_concurrent_futures"
        if self.futures and not Path(self.interpreter.stdlib, "test", name).exists():
            self.borrow(self.futures, fresh(test / name))

    @staticmethod
    def borrow(package: Path, folder: Path) -> None:
        """Tests of another interpreter, which ask more of test.support than this one has."""
        link_all(package, folder, ("__pycache__", "__init__.py"))
        (folder / "__init__.py").write_text(LENDING + (package / "__init__.py").read_text())

    def write_package(self, package: Path) -> None:
        if not (package / "mproc" / "__init__.py").exists():
            raise BadShadow(f"{package}: there is no package mproc in it")
        for entry in package.iterdir():
            replace(entry, self.lib / entry.name)
        self.write_executor()
        shim = fresh(self.lib / "multiprocessing")
        shutil.copy(INSIDE / "shim.py", shim / "__init__.py")
        lay_wires(self.standard, shim)
        wires = fresh(self.wires)
        (wires / "__init__.py").write_text(self.standing_alone())
        lay_wires(self.standard, wires, self.standing_alone())
        self.write_extension(self.probe())

    def write_executor(self) -> None:
        """`concurrent.futures.process` is `mproc.futures`; the rest of the package is linked."""
        standard = Path(self.interpreter.stdlib, "concurrent")
        concurrent = fresh(self.lib / "concurrent")
        link_all(standard, concurrent, ("__pycache__", "futures"))
        link_all(standard / "futures", concurrent / "futures", ("__pycache__", "process.py"))
        (concurrent / "futures" / "process.py").write_text(EXECUTOR)

    def standing_alone(self) -> str:
        """A tripwire that works in any interpreter."""
        return (self.inside / "tripwire.py").read_text() + "\n\ntrip(__file__)\n"

    def probe(self) -> dict[str, tuple[str, list[str]]]:
        """Asks what the package has; placeholders will stand in for what it lacks."""
        result = subprocess.run(
            [self.python, "-m", "mproc_conformance.probe"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if result.returncode:
            raise BadShadow(f"the package cannot be imported:\n{result.stderr}{self.tripped()}")
        facts = json.loads(result.stdout)
        modules, names = facts["absent"]["modules"], facts["absent"]["names"]
        self.write_found(modules, names)
        self.absent = modules + [f"{part}.{name}".lstrip(".") for part, name in names]
        if self.absent:
            link(self.inside / "suite.py", self.lib / "test" / "_test_multiprocessing.py")
        extension: dict[str, tuple[str, list[str]]] = facts["extension"]
        return extension

    def write_extension(self, extension: dict[str, tuple[str, list[str]]]) -> None:
        for alias, (source, names) in extension.items():
            line = f"from {source} import {', '.join(names)}\n" if names else ""
            (self.lib / f"{alias}.py").write_text(line)

    def tripped(self) -> str:
        """What the tripwire has caught since the last call, of whichever process."""
        mine = self.log.with_name(f"{self.log.name}.{os.getpid()}")
        try:
            self.log.rename(mine)  # another process may look at the same time
        except FileNotFoundError:
            return ""
        caught = mine.read_text()
        mine.unlink()
        return caught


def link(target: Path, name: Path) -> None:
    """Makes a symbolic link in place of anything that has that name."""
    if name.is_symlink() or name.is_file():
        name.unlink()
    elif name.exists():
        shutil.rmtree(name)
    name.symlink_to(target)


def link_all(source: Path, folder: Path, but: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    for entry in source.iterdir():
        if entry.name not in but:
            link(entry, folder / entry.name)


def fresh(folder: Path) -> Path:
    """An empty directory of that name."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def replace(source: Path, target: Path) -> None:
    """A copy of a file or a tree, without byte code, in place of what was there."""
    if source.name in OWN:
        return
    if source.is_dir():
        shutil.copytree(source, fresh(target), ignore=PYC, dirs_exist_ok=True)
    else:
        target.unlink(missing_ok=True)
        shutil.copy2(source, target)


def lay_wires(standard: Path, folder: Path, text: str = TRIPPED) -> None:
    """A file that trips in place of every module of the standard package."""
    for entry in standard.iterdir():
        if entry.suffix == ".py" and entry.name != "__init__.py":
            (folder / entry.name).write_text(text)
        elif (entry / "__init__.py").exists():
            (folder / entry.name).mkdir()
            (folder / entry.name / "__init__.py").write_text(text)
