"""Becomes `multiprocessing/__init__.py` of a shadow prefix: `multiprocessing[.x]` is `mproc[.x]`.

The first `import multiprocessing` executes this file, which puts mproc in its own place and a
finder for the submodules first in `sys.meta_path`. So nothing is imported before it is asked for,
and children find mproc whatever their flags are, since no start-up hook takes part.

A process that executes code of the standard library's package later on ends at the tripwire.
"""

import sys

from mproc_conformance import found, tripwire

import mproc

ModuleSpec = type(__spec__)


class Alias:
    """Finder of every `multiprocessing.x`, and loader of one of them."""

    def __init__(self, module=None):
        self.module = module
        self.spec = getattr(module, "__spec__", None)

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("multiprocessing."):
            return None
        real = "mproc" + name[len("multiprocessing") :]
        try:
            __import__(real)
        except ModuleNotFoundError as error:
            if error.name != real:
                raise
            raise ModuleNotFoundError(f"No module named {name!r}", name=name) from None
        return ModuleSpec(name, Alias(sys.modules[real]))

    def create_module(self, spec):
        return self.module

    def exec_module(self, module):
        # The import system has just written the alias' spec over the module's own, on which
        # relative imports and pickling depend.
        module.__spec__ = self.spec


def watch(event, args):
    if event == "exec" and getattr(args[0], "co_filename", "").startswith(found.STANDARD):
        tripwire.trip(args[0].co_filename)


sys.addaudithook(watch)
sys.meta_path.insert(0, Alias())
sys.modules[__name__] = mproc
