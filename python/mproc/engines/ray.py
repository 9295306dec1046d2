# mypy: disable-error-code="import-not-found,import-untyped,no-any-return,unused-ignore"
"""The engine "ray": an actor for each node of a Ray cluster, or a number of actors.

Without an address, and without RAY_ADDRESS, Ray is started on this machine. An actor takes the CPUs
that its processes use out of Ray's books, so Ray gives them to nobody else. Ray restarts no actor
and runs no exchange twice: the pool does what its options want.

Ray does not notice that an actor is stopped. So each is asked for a sign of life every few seconds,
by a way of its own that exchanges do not stand in; one that gives none for SILENCE seconds is lost.
When the server of Ray's head has gone, Ray ends the program itself, after a minute. So the pool
knocks there, and what is open fails after SILENCE seconds, before that.

Ray's own servers end with the program that has started them, some of them a minute after it has
been killed. So what is left of them then is ended by a process that watches (ray_watch.py).

Ray starts anew, and waits for ever, when it is called by a pool that is open when the program ends.
So nothing calls it after close().
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from concurrent.futures import Future
from subprocess import PIPE, Popen
from time import monotonic

from . import missing
from .cluster import AWAY, SILENCE, Cluster, NodeInfo
from .errors import EngineError
from .ray_watch import ENDED, STARTED
from .tether import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Ray is not to speak of what concerns only those who use it themselves, and may start slowly.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")

try:
    import ray
except ImportError as error:
    raise missing("ray", "ray", error) from None

__all__ = ["RayCluster", "connect"]

LANES = 2
SIGN = 2.0  # seconds between two signs of life that an actor is asked for
SIGNS = "signs"  # the threads of an actor that give them
ANSWER = 5.0  # seconds that a cluster has for a connection
GLANCE = 0.5  # seconds that its head has for one, at each look
START = 60.0  # seconds that an actor has for starting


class _Actor:
    """What runs in a worker process of Ray."""

    def exchange(self, message: bytes) -> bytes:
        """See node.exchange()."""
        from mproc.engines.node import exchange

        return exchange(message)

    def host(self) -> str:
        """Return the name of the host."""
        import socket

        return socket.gethostname()


class RayCluster(Cluster):
    """A cluster of Ray: an actor on each of its nodes."""

    name = "ray"
    reruns = 3
    ahead = 0.1

    def __init__(self, workers: int | None) -> None:
        self._workers = workers
        self._actors: dict[int, Any] = {}
        self._infos: dict[int, NodeInfo] = {}
        self._numbers = 0
        self._lock = threading.Lock()
        self._closed = False
        self._dead: set[int] = set()
        self._signs: dict[int, tuple[float, Future[str]]] = {}
        self._looked = self._knocked = self._heard = monotonic()
        self._head = _head()
        self._start()

    def _start(self) -> None:
        shares = self._shares()
        kind = ray.remote(concurrency_groups={SIGNS: 1})(_Actor)
        for cpus, where in shares:
            actor = kind.options(
                num_cpus=cpus, max_concurrency=LANES + 1, max_restarts=0, **where
            ).remote()
            self._numbers += 1
            self._actors[self._numbers] = actor
            self._infos[self._numbers] = NodeInfo("", cpus, LANES)
        for number, actor in self._actors.items():
            try:
                self._infos[number].host = ray.get(actor.host.remote(), timeout=START)
            except ray.exceptions.RayError as error:
                raise EngineError(f"Ray has not started a worker: {error}") from error

    def _shares(self) -> list[tuple[int, dict[str, Any]]]:
        """Return how many CPUs each actor is to have, and where."""
        if self._workers is not None:
            cpus = int(ray.cluster_resources().get("CPU", 1))
            return [(max(1, cpus // self._workers), {})] * self._workers
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return [
            (
                int(node["Resources"]["CPU"]),
                {"scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)},
            )
            for node in ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
        ]

    def nodes(self) -> Mapping[int, NodeInfo]:
        """Return the actors that live. EngineError: Ray has ended."""
        with self._lock:
            self._check_open()
            self._look_for_signs()
            self._knock_at_head()
            return {key: info for key, info in self._infos.items() if key not in self._dead}

    def _check_open(self) -> None:
        if self._closed or not ray.is_initialized():
            raise EngineError("Ray has been shut down")

    def _look_for_signs(self) -> None:
        now = monotonic()
        if now - self._looked > AWAY:
            self._signs.clear()
            self._heard = now
        self._looked = now
        for key in [key for key in self._actors if key not in self._dead]:
            asked, sign = self._signs.get(key) or self._ask_for_sign(key, now)
            if sign.done():
                if isinstance(sign.exception(), ray.exceptions.RayActorError):
                    self._dead.add(key)
                elif now - asked > SIGN:
                    self._ask_for_sign(key, now)
            elif now - asked > SILENCE:
                self._dead.add(key)

    def _knock_at_head(self) -> None:
        now = monotonic()
        if self._head is None or now - self._knocked < SIGN:
            return
        self._knocked = now
        try:
            socket.create_connection(self._head, timeout=GLANCE).close()
            self._heard = now
        except OSError as error:
            if now - self._heard > SILENCE:
                raise EngineError(
                    f"the head of Ray has not answered for {SILENCE:g} s ({error})"
                ) from error

    def _ask_for_sign(self, key: int, now: float) -> tuple[float, Future[str]]:
        asking = self._actors[key].host.options(concurrency_group=SIGNS).remote()
        self._signs[key] = now, asking.future()
        return self._signs[key]

    def call(self, key: int, message: bytes) -> Future[bytes]:
        """Call an actor."""
        answer: Future[bytes] = Future()
        with self._lock:
            self._check_open()
            there = self._actors[key].exchange.remote(message).future()
        there.add_done_callback(lambda done: self._settle(key, answer, done))
        return answer

    def _settle(self, key: int, answer: Future[bytes], done: Future[bytes]) -> None:
        error = done.exception()
        if isinstance(error, ray.exceptions.RayActorError):
            with self._lock:
                self._dead.add(key)
        if error is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(error)

    def home(self) -> str:
        """Return the address that Ray knows this machine by."""
        return str(ray.util.get_node_ip_address())

    def close(self) -> None:
        """End the actors; Ray itself, if it was started here."""
        with self._lock:
            self._closed = True
        if ray.is_initialized():  # or the program has ended it: ray.kill() would look for minutes
            with contextlib.suppress(Exception):
                for actor in self._actors.values():
                    ray.kill(actor)
            if _mine:
                ray.shutdown()
        _end_watches()


_mine = False


def _head() -> tuple[str, int] | None:
    """Return where the server of the cluster's head is; None: only Ray knows."""
    try:
        address = str(ray.get_runtime_context().gcs_address)
    except Exception:
        return None  # a client by ray://, which looks after its connection itself
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at host:port, for which Ray itself would wait for minutes.

    Addresses of other forms ("auto", "ray://...") are Ray's own affair.
    """
    host, _, port = address.rpartition(":")
    if host and "/" not in address and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()


def _start_here(workers: int | None) -> None:
    """Start Ray on this machine, with a process that ends what is left if this one is killed."""
    watch = Popen(
        command("mproc.engines.ray_watch", str(os.getpid())),
        stdin=PIPE,
        bufsize=0,
        start_new_session=True,  # Ctrl-C is not for it
    )
    _watches.append(watch)
    try:
        ray.init(
            address="local",  # otherwise a cluster that was started here once counts
            num_cpus=max(os.cpu_count() or 1, workers or 1),
            include_dashboard=False,
            log_to_driver=True,
            logging_level="error",
        )
    except BaseException:
        with contextlib.suppress(Exception):
            ray.shutdown()
        _end_watches()
        raise
    _tell(watch, STARTED)


def _tell(watch: Popen[bytes], what: bytes) -> None:
    assert watch.stdin is not None
    with contextlib.suppress(OSError):
        watch.stdin.write(what)


def _end_watches() -> None:
    """Have what is left of Ray ended now, since Ray has been shut down."""
    while _watches:
        with _watches.pop() as watch:
            _tell(watch, ENDED)


_watches: list[Popen[bytes]] = []


def connect(address: str | None, workers: int | None) -> RayCluster:
    """Return the engine at an address. EngineError: no cluster of Ray is there."""
    global _mine
    address = address or os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        _mine = True
        try:
            if address is None:
                _start_here(workers)
            else:
                _knock(address)
                ray.init(address=address, logging_level="error")
        except Exception as error:  # Ray raises many kinds, Exception itself among them
            raise EngineError(
                f"Ray does not answer at {address or 'this machine'} ({error}): start it with"
                " `ray start --head`"
            ) from error
    return RayCluster(workers)
