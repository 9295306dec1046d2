"""Placeholders for what the package under test lacks, so that the suite's file can be imported.

The suite names every primitive in class bodies when it is imported: one that is missing would
hide all tests. While the file is executed (and in `setUpModule`, which makes an RLock to see
whether the system can), placeholders stand in, and calling one does nothing. Afterwards they are
gone from the package; a test that calls one it has got hold of fails, naming what is missing.
"""

import contextlib
import importlib
import sys
import types

from mproc_conformance import found

filling = False


class AbsentError(Exception):
    """A test has used what the package under test does not have."""


class AbsentType(type):
    """The type of placeholders: they can be derived from, and have every public attribute."""

    def __call__(cls, *args, **kwargs):
        if not filling:
            raise AbsentError(f"the package under test has no {cls.__absent__}")

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return placeholder(f"{cls.__absent__}.{name}")


class AbsentModule(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return placeholder(f"{self.__name__}.{name}")


def placeholder(name):
    return AbsentType(name.rpartition(".")[2], (), {"__absent__": name})


def module_of(part):
    return importlib.import_module(f"multiprocessing.{part}" if part else "multiprocessing")


@contextlib.contextmanager
def filled():
    """Within it, the package has placeholders for what it lacks."""
    global filling
    package = importlib.import_module("multiprocessing")
    filling = True
    try:
        for part in found.ABSENT_MODULES:
            module = AbsentModule(f"multiprocessing.{part}")
            sys.modules[module.__name__] = module
            setattr(package, part, module)
        for part, name in found.ABSENT_NAMES:
            setattr(module_of(part), name, placeholder(f"{part}.{name}".lstrip(".")))
        yield
    finally:
        filling = False
        for part, name in found.ABSENT_NAMES:
            delattr(module_of(part), name)
        for part in found.ABSENT_MODULES:
            sys.modules.pop(f"multiprocessing.{part}", None)
            vars(package).pop(part, None)
