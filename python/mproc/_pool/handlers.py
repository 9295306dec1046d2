"""Whose an exception is: that of what was called, or of a signal's handler that ran meanwhile."""

from __future__ import annotations

from functools import partial

__all__ = ["is_of_a_signal"]


def is_of_a_signal(error: BaseException) -> bool:
    """Return whether a signal's handler has raised an exception: it has come through one."""
    import signal
    import traceback

    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [_code_of(handler) for handler in handlers if callable(handler)]
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code in codes for frame, _ in frames)


def _code_of(function: object) -> object:
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    return getattr(function, "__code__", None)
