"""Which task goes to which node, and what becomes of tasks whose node is lost.

How it works. One thread per pool does all of it. Each node is given the tasks that its processes
can run and as many more as it is likely to do within a fraction of a second (`Cluster.ahead`); they
travel in an *exchange*, which brings back what is done. While a node has open tasks, an exchange
waits there for results. That a node is lost is what the engine says, by failing an exchange or by
not listing the node any more.

A task of a lost node is given to another one, as often as its option `retries` says, or else
`Cluster.reruns`; then it fails with WorkerLostError. What a task did before may so be done twice.

Shared state. The thread has _nodes to itself. Others only add tasks (_pending) and finished
exchanges (_arrived), set _ending, and read; under _news, as soon as it is more than one step.
"""

from __future__ import annotations

import heapq
import os
import threading
from time import monotonic

from .. import _mproc
from .errors import EngineError, WorkerLostError
from .node import BEGUN, DIED, UNKNOWN, versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from .cluster import Cluster, NodeInfo

__all__ = ["Dispatcher", "Task"]

WATCH = 0.5  # seconds between two looks at which nodes there are
STAY = 5.0  # seconds for which an exchange waits at a node for results
SHORT_STAY = 0.05  # the same at a node that carries on one exchange at a time
SIGN = 30.0  # seconds after which a node without work is told that the pool is still there
MOST = 4096  # tasks of a node
FAREWELL = 2.0  # seconds that nodes have for ending a session


class Task:
    """A call on its way to a node. call: what agent.run() is called with. shared: see shared.py."""

    __slots__ = ("call", "limit", "number", "options", "owner", "priority", "shared", "tries")

    def __init__(
        self, owner: Any, call: tuple[Any, ...], options: Any, shared: list[Any] | None = None
    ) -> None:
        self.owner = owner
        self.shared = shared
        self.call = call
        self.options = options
        self.tries = 0
        self.limit: int | None = None if options is None else options.get("retries")
        self.priority: int = 0 if options is None else options.get("priority", 0)
        self.number = 0

    def message(self) -> tuple[Any, ...]:
        """Return what an agent is sent."""
        return self.number, self.call, self.options


class _Node:
    """A node, what is open there, and its exchanges under way."""

    def __init__(self, info: NodeInfo, slots: int, session: bytes) -> None:
        self.info = info
        self.session = session  # its own name of the session: a process may be several nodes
        self.slots = slots  # processes that it has for this pool
        self.pid = 0
        self.told = self.knows = False
        self.open: dict[int, Task] = {}
        self.exchanges: set[Future[bytes]] = set()
        self.window = 2 * slots
        self.since = self.last = monotonic()

    def may_talk(self) -> bool:
        """Return whether another exchange may begin: the first one by itself, to tell the agent."""
        return len(self.exchanges) < (self.info.lanes if self.knows else 1)

    def learn(self, done: int, ahead: float) -> None:
        """Choose the window by how many tasks were done since the last results."""
        now = monotonic()
        rate = done / max(now - self.since, 1e-4)
        self.since = now
        self.window = max(2 * self.slots, min(MOST, int(rate * ahead), 4 * self.window))


def _cause(results: list[bytes]) -> BaseException | None:
    """Return the exception that a node has sent with its refusal; None: none that is known here."""
    try:
        return _mproc.loads(results[0]) if results else None
    except Exception:
        return None


class Dispatcher:
    """Sends the tasks of a pool to the nodes of a cluster.

    seats: how many processes the nodes are to have together; None: all that the engine gives. told:
    makes what an agent with so many processes is told. finish(task, kind, value) is told what came
    of a task, by the thread; kind as in node.py, but with DIED comes a WorkerLostError.
    give_up(reason) is called once if nothing will be done any more. farewell() is the last call.
    """

    def __init__(
        self,
        cluster: Cluster,
        seats: int | None,
        told: Callable[[int], bytes],
        finish: Callable[[Task, int, Any], None],
        give_up: Callable[[BaseException], None],
        farewell: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._seats = seats
        self._told = told
        self._finish = finish
        self._give_up = give_up
        self._farewell = farewell
        self._session = os.urandom(16)
        self._news = threading.Condition()
        self._pending: list[tuple[int, int, Task]] = []
        self._arrived: list[tuple[Any, Future[bytes]]] = []
        self._nodes: dict[Any, _Node] = {}
        self._numbers = 0
        self._ending = self._dropped = False
        self._without = self._looked = monotonic()
        self._thread = threading.Thread(target=self._run, name="mproc-engine", daemon=True)
        self._thread.start()

    # -- others' side

    @property
    def waiting(self) -> int:
        """How many tasks no node has been given."""
        return len(self._pending)

    def put(self, task: Task) -> None:
        """Take a task."""
        with self._news:
            self._queue(task)
            self._news.notify()

    def end(self, at_once: bool) -> None:
        """End the session when all is done, or at once."""
        with self._news:
            self._ending = True
            if at_once:
                self._dropped = True
                self._pending.clear()
            self._news.notify()

    def is_alive(self) -> bool:
        """Return whether the session goes on."""
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the session's end."""
        self._thread.join(timeout)

    def _queue(self, task: Task) -> None:
        self._numbers += 1
        task.number = self._numbers
        heapq.heappush(self._pending, (-task.priority, task.number, task))

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._is_done():
                self._look()
                self._send()
                self._receive()
        except BaseException as error:
            self._give_up(error if isinstance(error, EngineError) else EngineError(repr(error)))
        self._say_farewell()
        self._farewell()

    def _is_done(self) -> bool:
        busy = self._pending or any(node.open for node in self._nodes.values())
        return self._dropped or (self._ending and not busy)

    def _look(self) -> None:
        """Learn which nodes there are. EngineError: none, and for too long."""
        now = monotonic()
        if self._nodes and now - self._looked < WATCH:
            return
        self._looked = now
        infos = self._cluster.nodes()
        for key in [key for key in self._nodes if key not in infos]:
            self._lose(key, "the engine does not list it any more")
        self._use({key: info for key, info in infos.items() if key not in self._nodes})
        if self._nodes:
            self._without = now
        elif now - self._without > self._cluster.patience:
            raise EngineError(
                f"{self._cluster.name} has had no worker for {self._cluster.patience:g} s: start"
                " some, or say with timeout= how long to wait for them"
            )

    def _use(self, infos: dict[Any, NodeInfo]) -> None:
        """Share the seats that are left among nodes that are new, or were not needed before."""
        for spare, (key, info) in zip(range(len(infos), 0, -1), infos.items(), strict=True):
            slots = info.slots
            if self._seats is not None:
                left = self._seats - sum(node.slots for node in self._nodes.values())
                slots = min(slots, -(-left // spare))
            if slots > 0:
                self._nodes[key] = _Node(info, slots, self._session + os.urandom(8))

    def _lose(self, key: Any, why: str) -> None:
        node = self._nodes.pop(key)
        for task in node.open.values():
            self._try_again(task, WorkerLostError(node.info.host, node.pid, why))

    def _try_again(self, task: Task, error: WorkerLostError) -> None:
        limit = self._cluster.reruns if task.limit is None else task.limit
        if task.tries < limit:
            task.tries += 1
            with self._news:
                self._queue(task)
            return
        if task.tries:
            error.add_note(f"The task was tried {task.tries + 1} times")
        self._finish(task, DIED, error)

    # -- exchanges

    def _send(self) -> None:
        nodes = [item for item in self._nodes.items() if item[1].may_talk()]
        nodes.sort(key=lambda item: len(item[1].open) / item[1].slots)
        shares = self._share([node for _, node in nodes])
        for (key, node), tasks in zip(nodes, shares, strict=True):
            silent = monotonic() - node.last > SIGN
            if tasks or (node.open and not node.exchanges) or (silent and node.knows):
                self._exchange(key, node, tasks)

    def _share(self, nodes: list[_Node]) -> list[list[Task]]:
        """Deal what waits: to processes that have nothing, then one behind each, then more."""
        shares: list[list[Task]] = [[] for _ in nodes]
        for level in (1, 2, 0):
            for node, share in zip(nodes, shares, strict=True):
                most = level * node.slots or node.window
                with self._news:
                    while self._pending and len(node.open) + len(share) < most:
                        share.append(heapq.heappop(self._pending)[2])
        return shares

    def _exchange(self, key: Any, node: _Node, tasks: list[Task]) -> None:
        node.open.update((task.number, task) for task in tasks)
        node.last = monotonic()
        stay = (STAY if node.info.lanes > 1 else SHORT_STAY) if node.open and node.knows else 0.0
        told = None if node.knows else self._told(node.slots)
        messages = [task.message() for task in tasks]
        node.told = True
        future = self._call(key, (node.session, versions(), told, messages, stay, False))
        node.exchanges.add(future)
        future.add_done_callback(lambda future: self._arrive(key, future))

    def _call(self, key: Any, what: tuple[Any, ...]) -> Future[bytes]:
        return self._cluster.call(key, _mproc.dumps(what))

    def _arrive(self, key: Any, future: Future[bytes]) -> None:
        with self._news:
            self._arrived.append((key, future))
            self._news.notify()

    def _receive(self) -> None:
        with self._news:
            if not self._arrived and not self._can_send():
                self._news.wait(WATCH)
            arrived, self._arrived = self._arrived, []
        for key, future in arrived:
            node = self._nodes.get(key)
            if node is not None and future in node.exchanges:
                node.exchanges.discard(future)
                self._take(key, node, future)

    def _can_send(self) -> bool:
        return self._dropped or bool(
            self._pending
            and any(n.may_talk() and len(n.open) < n.window for n in self._nodes.values())
        )

    def _take(self, key: Any, node: _Node, future: Future[bytes]) -> None:
        error = future.exception()
        if isinstance(error, ImportError):
            raise EngineError(f"a worker on {node.info.host} lacks what it needs: {error}")
        if error is not None:
            self._lose(key, f"{type(error).__name__}: {error}")
            return
        how, what, host, pid, results, _ = _mproc.loads(future.result())
        if how == UNKNOWN:
            node.knows = False
            self._start_over(node)
            return
        if how != BEGUN:
            raise EngineError(what) from _cause(results)
        node.knows = True
        node.pid = pid
        for number, kind, value in results:
            self._settle(node, host, number, kind, value)
        if results:
            node.learn(len(results), self._cluster.ahead)

    def _start_over(self, node: _Node) -> None:
        """Give back what a node was sent that has forgotten the session."""
        tasks, node.open = list(node.open.values()), {}
        for task in tasks:
            self._try_again(task, WorkerLostError(node.info.host, node.pid, "its agent was ended"))

    def _settle(self, node: _Node, host: str, number: int, kind: int, value: Any) -> None:
        task = node.open.pop(number, None)
        if task is None:
            return
        if kind == DIED:
            pid, exitcode, why = value
            value = WorkerLostError(host, pid, why, exitcode)
        self._finish(task, kind, value)

    def _say_farewell(self) -> None:
        """Have the nodes end the session, and wait a little for it."""
        goodbye = []
        for key, node in self._nodes.items():
            try:
                if node.told:
                    goodbye.append(self._call(key, (node.session, versions(), None, [], 0.0, True)))
            except Exception:
                continue  # it has gone, and the session with it
        deadline = monotonic() + FAREWELL
        for future in goodbye:
            try:
                future.exception(max(deadline - monotonic(), 0.0))
            except Exception:
                continue
