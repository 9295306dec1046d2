"""What tests that were borrowed from a newer interpreter ask of test.support.

Their package calls lend() when it is imported, also in spawned children.
"""

import inspect

from test import support


def lend():
    """Give test.support what it lacks; here no test depends on what these are about."""
    if not hasattr(support, "Py_GIL_DISABLED"):
        support.Py_GIL_DISABLED = False
    if not hasattr(support, "requires_gil_enabled"):
        support.requires_gil_enabled = lambda reason="": lambda test: test
    if "thread" not in inspect.signature(support.skip_if_sanitizer).parameters:
        support.skip_if_sanitizer = lambda *reason, **kinds: lambda test: test
        support.check_sanitizer = lambda **kinds: False
