"""Replaces `test/_test_multiprocessing.py` if the package lacks something that it names.

Executes the interpreter's own file, unmodified, while placeholders fill the gaps.
"""

from importlib.machinery import SourceFileLoader

from mproc_conformance import absent, found

with absent.filled():
    exec(SourceFileLoader(__name__, found.SUITE).get_code(__name__), globals())
