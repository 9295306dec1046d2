"""Ten planted situations, each by its name in `mproc locks` and on the page."""

from __future__ import annotations

import html
import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

import mproc
from mproc import inspect

# ---------------------------------------------------------------- what children do


def hold_and_take(
    first: Any, second: Any, mine: Any, others: list[Any], timeout: float | None
) -> None:
    first.acquire()
    mine.set()
    for other in others:
        other.wait()
    second.acquire(timeout=timeout)


def hold_and_fill(lock: Any, queue: Any, held: Any) -> None:
    lock.acquire()
    held.set()
    queue.put(1)
    queue.put(2)


def drain_by_lock(lock: Any, queue: Any, held: Any) -> None:
    held.wait()
    with lock:
        queue.get()


def wait_for(event: Any) -> None:
    event.wait()


def come_to(barrier: Any) -> None:
    barrier.wait()


def end_at_once() -> None:
    pass


def wait_for_notice(condition: Any) -> None:
    with condition:
        condition.wait()


def take_from(queue: Any) -> None:
    queue.get()


def put_one(queue: Any) -> None:
    queue.put(1)


def hold_and_stop(lock: Any, held: Any) -> None:
    with lock:
        held.set()
        os.kill(os.getpid(), signal.SIGSTOP)


def take(lock: Any, held: Any) -> None:
    held.wait()
    lock.acquire()


class Shared:
    """What an initializer leaves for the tasks of a pool."""

    event: Any = None


def keep(event: Any) -> None:
    Shared.event = event


def wait_for_other_task() -> None:
    Shared.event.wait()


def set_for_other_tasks() -> None:
    Shared.event.set()


# ---------------------------------------------------------------- the stage


def start(context: Any, *errands: tuple[Callable[..., None], tuple[Any, ...]]) -> list[Any]:
    children = [context.Process(target=target, args=args) for target, args in errands]
    for child in children:
        child.start()
    return children


def plant_ring(context: Any, n: int, timeout: float | None = None) -> None:
    locks, events = [context.Lock() for _ in range(n)], [context.Event() for _ in range(n)]
    errands = [
        (hold_and_take, (locks[i], locks[(i + 1) % n], events[i], events, timeout))
        for i in range(n)
    ]
    start(context, *errands)[0].join()


def plant_crossed(context: Any) -> None:
    plant_ring(context, 2)


def plant_three(context: Any) -> None:
    plant_ring(context, 3)


def plant_apparent(context: Any) -> None:
    plant_ring(context, 2, timeout=600)


def plant_full(context: Any) -> None:
    lock, queue, held = context.Lock(), context.Queue(1), context.Event()
    start(context, (hold_and_fill, (lock, queue, held)), (drain_by_lock, (lock, queue, held)))[
        0
    ].join()


def plant_join(context: Any) -> None:
    event = context.Event()
    start(context, (wait_for, (event,)))[0].join()
    event.set()


def plant_barrier(context: Any) -> None:
    barrier = context.Barrier(2)
    start(context, (end_at_once, ()))[0].join()
    start(context, (come_to, (barrier,)))[0].join()


def plant_condition(context: Any) -> None:
    start(context, (wait_for_notice, (context.Condition(),)))[0].join()


def plant_empty(context: Any) -> None:
    queue = context.Queue()
    start(context, (put_one, (queue,)))[0].join()
    start(context, (take_from, (queue,)), (take_from, (queue,)))
    for child in mproc.active_children():
        child.join()


def plant_stopped(context: Any) -> None:
    lock, held = context.Lock(), context.Event()
    start(context, (hold_and_stop, (lock, held)), (take, (lock, held)))[1].join()


def plant_starved(context: Any) -> None:
    event = context.Event()
    with context.Pool(2, keep, (event,)) as pool:
        waits = [pool.apply_async(wait_for_other_task) for _ in range(2)]
        pool.apply_async(set_for_other_tasks)
        waits[0].get()


def set_the_stage(plant: Callable[[Any], None], method: str) -> None:
    plant(mproc.get_context(method))


LOCK = r"waits for the lock @\w+, which \S+ \(pid \d+(, stopped)?\) holds"
END = r"waits for the end of \S+ \(pid \d+\)"
SITUATIONS: list[tuple[Callable[[Any], None], list[str]]] = [
    (plant_crossed, [r"DEADLOCK of 3: they wait for each other", LOCK + r"[\s\S]*" + LOCK, END]),
    (plant_three, [r"DEADLOCK of 4: they wait", LOCK + r"[\s\S]*" + LOCK + r"[\s\S]*" + LOCK]),
    (
        plant_full,
        [
            r"DEADLOCK of 3: they",
            LOCK,
            r"waits for room in the queue @\w+, which has 1 message of at most 1",
        ],
    ),
    (plant_join, [r"DEADLOCK of 2: they", END, r"waits until the event @\w+ is set"]),
    (plant_barrier, [r"DEADLOCK", r"waits at the barrier @\w+, to which 1 of 2 has come"]),
    (plant_condition, [r"DEADLOCK", r"waits until it is notified by the condition @\w+"]),
    (plant_empty, [r"DEADLOCK", r"waits for a message of the queue @\w+, which is empty"]),
    (plant_stopped, [r"STOPPED: \S+ \(pid \d+, stopped\) goes on only when it gets SIGCONT", LOCK]),
    (
        plant_starved,
        [r"DEADLOCK of \d+, the pool @\w+ is starved: each of its 2 workers has a task that waits"],
    ),
]


def tell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [inspect.PROGRAM, *arguments], capture_output=True, text=True, check=False
    )


def kill_all(stage: Any) -> None:
    """End the stage and all whom it has started."""
    seen = inspect.family()
    parents = {m["pid"]: m["parent"] for m in seen["members"] if m["alive"]}
    late = {stage.pid}
    while more := {pid for pid, parent in parents.items() if parent in late} - late:
        late |= more
    for pid in late:
        os.kill(pid, signal.SIGKILL)
    stage.join()


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("plant", "words"), SITUATIONS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_planted_situation_is_named(
    plant: Callable[[Any], None], words: list[str], method: str, tmp_path: pathlib.Path
) -> None:
    page = tmp_path / "page.html"
    stage = mproc.get_context(method).Process(
        target=set_the_stage, args=(plant, method), name="stage"
    )
    stage.start()
    try:
        told = tell("locks", str(stage.pid))
        while not all(re.search(word, told.stdout) for word in words):
            time.sleep(0.02)
            told = tell("locks", str(stage.pid))
        assert told.returncode == (0 if plant is plant_stopped else 3)
        assert re.match(words[0], told.stdout.splitlines()[1])
        shown = ""
        while not all(re.search(word, shown) for word in words):
            assert tell("report", "-o", str(page), str(stage.pid)).returncode == 0
            shown = html.unescape(page.read_text())
    finally:
        kill_all(stage)


def test_what_only_looks_like_a_deadlock_is_none(method: str, tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.html"
    stage = mproc.get_context(method).Process(
        target=set_the_stage, args=(plant_apparent, method), name="stage"
    )
    stage.start()
    try:
        while len(re.findall(LOCK, tell("locks", str(stage.pid)).stdout)) < 2:
            time.sleep(0.02)
        for _ in range(20):
            told = tell("locks", str(stage.pid))
            assert told.returncode == 0
            assert "DEADLOCK" not in told.stdout
        assert tell("report", "-o", str(page), str(stage.pid)).returncode == 0
        assert "DEADLOCK" not in page.read_text()
    finally:
        kill_all(stage)
