# mypy: disable-error-code="import-not-found,import-untyped,no-any-return,unused-ignore"
"""The engine "dask": workers of a dask.distributed scheduler.

Each exchange is a task of Dask, bound to one worker: the pool knows what is where, and so can say
what was lost with a worker, and run that again as its options want. Dask itself runs none twice.

Without an address, and without DASK_SCHEDULER_ADDRESS, a scheduler and workers are started on this
machine, in processes that end with this one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import socket
import tempfile
from concurrent.futures import Future
from itertools import count

from . import missing
from .cluster import Cluster, NodeInfo
from .errors import EngineError
from .tether import start_tied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from subprocess import Popen
    from typing import Any

try:
    import distributed
except ImportError:
    raise missing("dask", "distributed") from None

__all__ = ["DaskCluster", "connect"]

ANSWER = 5  # seconds that a scheduler has for answering
START = 60  # the same for one that has just been started here


class DaskCluster(Cluster):
    """A scheduler of Dask, and its workers."""

    name = "dask"
    reruns = 3
    ahead = 0.2

    def __init__(self, client: Any, started: list[Popen[bytes]]) -> None:
        self._client = client
        self._started = started
        self._numbers = count()

    def nodes(self) -> Mapping[Any, NodeInfo]:
        """Return the workers that the scheduler knows. EngineError: the scheduler is gone."""
        if self._client.status != "running":
            raise EngineError(f"the scheduler of Dask is gone: the client is {self._client.status}")
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {
            address: NodeInfo(info["host"], info["nthreads"], min(2, info["nthreads"]))
            for address, info in workers.items()
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
        there.add_done_callback(lambda done: _settle(answer, done))
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


def _settle(answer: Future[bytes], done: Any) -> None:
    """Settle the future that the pool has, with what Dask's has; and let go of that."""
    try:
        if done.status == "finished":
            answer.set_result(done.result(timeout=ANSWER))
            return
        error = done.exception(timeout=ANSWER) if done.status == "error" else None
        answer.set_exception(error or EngineError(f"Dask has {done.status} it"))
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
    try:
        client = _client(address, START)
        client.wait_for_workers(len(started) - 1, timeout=START)
    except BaseException:
        _end(started)
        raise
    return DaskCluster(client, started)


def _be_quiet() -> None:
    """Have Dask not log in this process what an EngineError says."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(started: list[Popen[bytes]]) -> None:
    for process in reversed(started):
        process.kill()
    for process in started:
        process.wait()
