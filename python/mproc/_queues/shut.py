"""The exception of a queue that was shut down: queue.ShutDown where Python has that (3.13)."""

from __future__ import annotations

import queue as _queue

TYPE_CHECKING = False

__all__ = ["ShutDown"]

if TYPE_CHECKING or not hasattr(_queue, "ShutDown"):

    class ShutDown(Exception):  # the standard library's name
        """A put into a queue that was shut down, or a get when nothing is left in it."""

        __module__ = "mproc.queues"

else:
    ShutDown = _queue.ShutDown
