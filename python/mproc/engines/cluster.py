"""What a pool asks of an engine: which nodes there are, and to carry messages to them.

A node is one of the engine's own workers. In it runs `node.exchange()`, which has an agent with a
pool of the node's own. An engine is adapted by a Cluster: one file for each, and nothing else in
the package knows what the engine is.
"""

from __future__ import annotations

from time import monotonic, sleep

from .errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from typing import Any

__all__ = ["AWAY", "PATIENCE", "SILENCE", "Cluster", "NodeInfo"]

PATIENCE = 30.0  # seconds without a single node, after which what is open fails
SILENCE = 30.0  # seconds without a sign of life, after which an engine or a node of it is lost
AWAY = 5.0  # seconds between two looks: this process was stopped, and has heard nobody meanwhile


class NodeInfo:
    """What an engine tells about one of its workers.

    slots: processes that it is to have. lanes: exchanges that it can carry on at the same time.
    """

    def __init__(self, host: str, slots: int, lanes: int) -> None:
        self.host = host
        self.slots = slots
        self.lanes = lanes


class Cluster:
    """The interface to an engine."""

    name = ""
    reruns = 0  # how often a task is begun anew whose node was lost, unless its options say
    limit: int | None = None  # bytes that a message may have
    ahead = 0.1  # seconds of work that a node is given in advance
    patience = PATIENCE

    def nodes(self) -> Mapping[Any, NodeInfo]:
        """Return the nodes that live, by a key. EngineError: the engine is not there any more."""
        raise NotImplementedError

    def slots(self) -> int:
        """Return how many processes all nodes have together; wait for the first. EngineError."""
        deadline = monotonic() + self.patience
        while not (infos := self.nodes()):
            if monotonic() > deadline:
                raise EngineError(f"{self.name} has no worker, for {self.patience:g} s now")
            sleep(0.05)
        return sum(info.slots for info in infos.values())

    def call(self, key: Any, message: bytes) -> Future[bytes]:
        """Have node.exchange(message) called at a node; return the future of what it returns.

        The future fails when the node is lost.
        """
        raise NotImplementedError

    def home(self) -> str:
        """Return the name of this machine by which nodes reach it."""
        return "127.0.0.1"

    def close(self) -> None:
        """Let go of the engine; end what was started for it."""
