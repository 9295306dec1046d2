"""Conditions whose subclass overrides notify()."""

from __future__ import annotations

import sys

from ..synchronize import Condition
from . import overrides, put_between

__all__ = ["complete_condition"]


class ConditionByNotify(Condition):
    """A condition whose notify_all() is a notify() of all."""

    __slots__ = ()

    def notify_all(self) -> None:
        """End all waits."""
        self.notify(n=sys.maxsize)


def complete_condition(cls: type) -> None:
    """Give a subclass of Condition what it relies on."""
    if overrides(cls, Condition, "notify"):
        put_between(cls, Condition, ConditionByNotify)
