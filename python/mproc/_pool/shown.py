"""What a pool shows of the standard pool's parts, to programs that look at them.

The standard pool has three threads and two queues. A pool on the arena has neither, and programs
that only look are shown what is true of it: the threads live as long as the pool does, and nothing
is on its way in the queues.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..pool import Pool

__all__ = ["part"]

_QUEUES = ("_inqueue", "_outqueue")


class _Handler:
    """What stands for one of the threads."""

    daemon = True

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self.name = name

    @property
    def _state(self) -> str:
        return self._pool._state

    def is_alive(self) -> bool:
        """Return whether the pool has workers that run."""
        return any(old is not None and old.is_alive() for old in self._pool._pool)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the workers have ended, each for at most that long."""
        for old in self._pool._pool:
            old.join(timeout)


def part(pool: Pool, name: str) -> Any:
    """Return the part of that name: one of the queues, or what stands for one of the threads."""
    if name not in _QUEUES:
        return _Handler(pool, name)
    queue = pool._ctx.SimpleQueue()
    setattr(pool, name, queue)
    return queue
