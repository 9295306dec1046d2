# mypy: disable-error-code="import-not-found,import-untyped,no-any-return,unused-ignore"
"""The engine "dask": workers of a dask.distributed scheduler.

Each exchange is a task of Dask, bound to one worker: the pool knows what is where, and so can say
what was lost with a worker, and run that again as its options want. Dask itself runs none twice.

Dask waits for ever, or for minutes, for a scheduler or a worker that is stopped, or whose cable is
cut. Here the scheduler is asked again and again, and nobody waits for its answer: without one for
SILENCE seconds it is lost. A worker is, when the scheduler has not heard it for as long.

Without an address, and without DASK_SCHEDULER_ADDRESS, a scheduler and workers are started on this
machine, in processes that end with this one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import warnings
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from itertools import count
from time import monotonic

from . import missing
from .cluster import AWAY, SILENCE, Cluster, NodeInfo
from .errors import EngineError
from .tether import start_tied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from subprocess import Popen
    from typing import Any

try:
    import distributed
except ImportError as error:
    raise missing("dask", "distributed", error) from None

__all__ = ["DaskCluster", "connect"]

ANSWER = 5  # seconds that a scheduler has for answering
START = 60  # the same for one that has just been started here, and its workers
MERCY = 2  # that a client has for its end when the start has failed
GLANCE = 0.2  # seconds for which an answer is waited for, before the last one has to do


class _Register:
    """What the scheduler says of its workers, and when."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._question: Future[Any] | None = None
        self._since: float | None = None  # when the first question without an answer was asked
        self._heard = monotonic()
        self._signs: dict[str, tuple[float, float]] = {}
        self._living: dict[str, Any] = {}

    def workers(self) -> dict[str, Any]:
        """Return the workers that live. EngineError: the scheduler does not answer any more."""
        with self._lock:
            question = self._question = self._question or self._ask()
            wait_for([question], GLANCE)
            if question.done():
                self._take(question)
            if self._since is not None and monotonic() - self._since > SILENCE:
                raise EngineError(f"the scheduler of Dask has not answered for {SILENCE:g} s")
            return self._living

    def _ask(self) -> Future[Any]:
        self._since = self._since or monotonic()
        question = self._client.scheduler.identity(n_workers=-1)
        return asyncio.run_coroutine_threadsafe(question, self._client.loop.asyncio_loop)

    def _take(self, answer: Future[Any]) -> None:
        self._question = None
        if answer.exception() is not None:
            return
        now = monotonic()
        if now - self._heard > AWAY:
            self._signs.clear()
        self._heard = now
        self._since = None
        infos = answer.result()["workers"]
        self._signs = {at: self._sign(at, info["last_seen"], now) for at, info in infos.items()}
        silent = {at for at, (_, since) in self._signs.items() if now - since > SILENCE}
        self._living = {at: info for at, info in infos.items() if at not in silent}

    def _sign(self, at: str, seen: float, now: float) -> tuple[float, float]:
        """Return when the scheduler has heard a worker, by its clock, and since when that holds."""
        last = self._signs.get(at)
        return last if last is not None and last[0] == seen else (seen, now)


class DaskCluster(Cluster):
    """A scheduler of Dask, and its workers."""

    name = "dask"
    reruns = 3
    ahead = 0.2

    def __init__(self, client: Any, started: list[Popen[bytes]]) -> None:
        self._client = client
        self._started = started
        self._numbers = count()
        self._register = _Register(client)

    def nodes(self) -> Mapping[Any, NodeInfo]:
        """Return the workers that the scheduler knows. EngineError: the scheduler is gone."""
        if self._client.status != "running":
            raise EngineError(f"the scheduler of Dask is gone: the client is {self._client.status}")
        return {
            address: NodeInfo(info["host"], info["nthreads"], min(2, info["nthreads"]))
            for address, info in self._register.workers().items()
        }

    def call(self, key: Any, message: bytes) -> Future[bytes]:
        """Submit an exchange to one worker."""
        from .node import exchange

        answer: Future[bytes] = Future()
        there = self._client.submit(
            exchange,
            message,
            key=f"mproc-exchange-{os.getpid()}-{id(self)}-{next(self._numbers)}",
            workers=[key],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        bringing = _bring(self._client, there, answer)
        asyncio.run_coroutine_threadsafe(bringing, self._client.loop.asyncio_loop)
        return answer

    def home(self) -> str:
        """Return the address of this machine on the way to the scheduler."""
        host = self._client.scheduler.address.split("://")[-1].rsplit(":", 1)[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])

    def close(self) -> None:
        """Leave the scheduler; end one that was started here."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)
        _end(self._started)


async def _bring(client: Any, there: Any, answer: Future[bytes]) -> None:
    """Settle the future that the pool has, with what Dask's has; and let go of that.

    By the client's own loop: callbacks of Dask's futures need a pool of threads, and there is none
    any more when a pool ends that was open at the program's end.
    """
    try:
        while there.status == "pending":
            await there._state.wait()
        if there.status not in ("finished", "error"):
            raise EngineError(f"Dask has {there.status} it")
        answer.set_result(await asyncio.wait_for(client.gather(there, asynchronous=True), SILENCE))
    except BaseException as error:
        answer.set_exception(error)


def connect(address: str | None, workers: int | None) -> DaskCluster:
    """Return the engine at an address. EngineError: no scheduler answers there."""
    _be_quiet()
    if address is None:
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if address is not None:
        return DaskCluster(_client(address, ANSWER), [])
    started, address = _start(workers)
    client = None
    try:
        _await_scheduler(started[0], address)
        client = _client(address, START / 2)  # a busy machine may take longer than ANSWER
        client.wait_for_workers(len(started) - 1, timeout=START)
    except BaseException:
        if client is not None:
            with contextlib.suppress(Exception):
                client.close(timeout=MERCY)
        _end(started)
        raise
    return DaskCluster(client, started)


def _be_quiet() -> None:
    """Have Dask not log in this process what an EngineError says, nor warn of large tasks."""
    warnings.filterwarnings("ignore", "Sending large graph", module="distributed")
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _client(address: str, timeout: float) -> Any:
    try:
        return distributed.Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"no scheduler of Dask answers at {address} ({error}): start one with `dask scheduler`,"
            f" and workers with `dask worker {address}`"
        ) from error


# ---- a scheduler on this machine


def _start(workers: int | None) -> tuple[list[Popen[bytes]], str]:
    """Start a scheduler and workers, which have the CPUs of this machine together."""
    cpus = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    number = workers or 1
    threads = max(1, cpus // number)
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    room = tempfile.mkdtemp(prefix="mproc-dask-")
    atexit.register(shutil.rmtree, room, True)
    quiet = ["--no-dashboard", "--host", "127.0.0.1"]
    environment = {**os.environ, "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}
    started = [
        start_tied("distributed.cli.dask_scheduler", "--port", str(port), *quiet, env=environment)
    ]
    for _ in range(number):
        how = ["--no-nanny", "--nthreads", str(threads), "--local-directory", room, *quiet]
        started.append(start_tied("distributed.cli.dask_worker", address, *how, env=environment))
    return started, address


def _await_scheduler(scheduler: Popen[bytes], address: str) -> None:
    """Wait until a scheduler that was just started can be connected to.

    A client would wait as well, but one that an interrupt has reached there waits once more for
    the scheduler, which the interrupt has ended, before it is gone. EngineError: it cannot be.
    """
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    end = monotonic() + START
    while True:
        try:
            socket.create_connection((host, int(port)), ANSWER).close()
            return
        except OSError as error:
            ended = scheduler.poll()
            if ended is not None:
                raise EngineError(
                    f"the scheduler of Dask that was started ended at once, with exit code {ended}"
                ) from error
            if monotonic() >= end:
                raise EngineError(
                    f"the scheduler of Dask that was started does not answer at {address}"
                ) from error
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(started: list[Popen[bytes]]) -> None:
    for process in reversed(started):
        process.kill()
    for process in started:
        process.wait()
