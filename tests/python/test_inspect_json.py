"""What the program mproc says as JSON: for every verb as docs/inspect.schema.json describes it."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mproc
from mproc import inspect

SCHEMA: dict[str, Any] = json.loads(
    (pathlib.Path(__file__).parents[2] / "docs" / "inspect.schema.json").read_text()
)
TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
KNOWN = {
    *("$ref", "$defs", "$schema", "additionalProperties", "anyOf", "description", "enum"),
    *("items", "minimum", "properties", "required", "title", "type"),
}


def faults(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Say what is not as the part of JSON Schema that the file uses demands."""
    assert set(schema) <= KNOWN, f"the test does not know {set(schema) - KNOWN}"
    if "$ref" in schema:
        yield from faults(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], at)
        return
    if "anyOf" in schema and all(list(faults(value, one, at)) for one in schema["anyOf"]):
        yield f"{at}: {value!r} is none of them"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not in {schema['enum']}"
    wanted = schema.get("type", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    if names and not any(TYPES[name](value) for name in names):
        yield f"{at}: {value!r} is no {wanted}"
        return
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        yield f"{at}: {value!r} is below {schema['minimum']}"
    if isinstance(value, list):
        for i, one in enumerate(value):
            yield from faults(one, schema.get("items", {}), f"{at}[{i}]")
    if isinstance(value, dict):
        yield from faults_of_keys(value, schema, at)


def faults_of_keys(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    for key in schema.get("required", []):
        if key not in value:
            yield f"{at}: {key} is missing"
    for key, one in value.items():
        part = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
        if part is False:
            yield f"{at}: nobody has described {key}"
        else:
            yield from faults(one, part, f"{at}.{key}")


def look(*arguments: str) -> Any:
    told = subprocess.run(
        [inspect.PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert told.stderr == ""
    assert told.returncode in (0, 3)
    return json.loads(told.stdout)


def wait_for(event: Any, lock: Any) -> None:
    with lock:
        event.wait()


def take(lock: Any) -> None:
    with lock:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    """A family with something of everything: this process, a pool, waits, containers."""
    context = mproc.get_context("fork")
    event, lock, queue = context.Event(), context.Lock(name="l\u00e4den"), context.Queue(5)
    kept = (mproc.Dict(), mproc.List(), context.Semaphore(2), context.Barrier(2), context.RLock())
    kept[0]["a"] = 1
    queue.put("first")
    holder = context.Process(target=wait_for, args=(event, lock), name="holder")
    waiter = context.Process(target=take, args=(lock,), name="waiter")
    holder.start()
    while not any(o["held_by"] == holder.pid for o in inspect.family()["objects"]):
        time.sleep(0.005)
    waiter.start()
    with context.Pool(1, initializer=keep, initargs=(event,)) as pool:
        result = pool.apply_async(wait_in_pool)
        while not any(w["pid"] == waiter.pid for w in inspect.family()["waits"]):
            time.sleep(0.005)
        with pytest.raises(mproc.TimeoutError):
            result.get(0.2)  # its owner looks after its worker meanwhile
        yield str(os.getpid())
        event.set()
        result.get()
    holder.join()
    waiter.join()


class Kept:
    event: Any = None


def keep(event: Any) -> None:
    Kept.event = event


def wait_in_pool() -> None:
    Kept.event.wait()


def test_a_bounded_semaphore_tells_who_has_its_permits() -> None:
    context = mproc.get_context("fork")
    semaphore = context.BoundedSemaphore(2)
    semaphore.acquire()
    semaphore.acquire()
    child = context.Process(target=semaphore.acquire)
    child.start()

    def taker() -> dict[str, Any]:
        found = [o for o in inspect.family()["objects"] if o["kind"] == "bounded semaphore"]
        assert list(faults(found[0], SCHEMA["$defs"]["object"])) == []
        (one,) = found[0]["takers"]
        return dict(one)

    while taker()["held"] is None:
        time.sleep(0.005)
    assert (taker()["pid"], taker()["permits"]) == (os.getpid(), 2)
    assert taker()["held"] >= 0
    semaphore.release()
    child.join()
    semaphore.release()


def test_permits_of_more_members_than_are_named_are_counted() -> None:
    context = mproc.get_context("fork")
    semaphore, go = context.BoundedSemaphore(9), context.Event()
    children = [context.Process(target=take_and_wait, args=(semaphore, go)) for _ in range(9)]
    for child in children:
        child.start()
    while semaphore.get_value() > 0:
        time.sleep(0.005)
    told = subprocess.run(
        [inspect.PROGRAM, "locks", str(os.getpid())], capture_output=True, text=True
    ).stdout
    go.set()
    for child in children:
        child.join()
    assert told.count(", 1 taken by ") == 6
    assert ", 3 taken by others" in told


def take_and_wait(semaphore: Any, go: Any) -> None:
    with semaphore:
        go.wait()


def test_the_schema_refuses_what_it_does_not_describe() -> None:
    seen = inspect.family()
    family = SCHEMA["$defs"]["family"]
    assert list(faults(seen, family)) == []
    assert list(faults({**seen, "more": 1}, family)) == [": nobody has described more"]
    assert list(faults({**seen, "deadlocks": -1}, family)) == [".deadlocks: -1 is below 0"]
    assert list(faults({**seen, "deadlocks": True}, family))
    assert list(faults({k: v for k, v in seen.items() if k != "waits"}, family))


@pytest.mark.parametrize("verb", ["ps", "locks", "queues", "graph", "stacks"])
def test_every_verb_is_as_described(shop: str, verb: str) -> None:
    told = look(verb, "--json", shop)
    assert list(faults(told, SCHEMA)) == []
    (family,) = told
    assert (family["rates"] is not None) == (verb == "queues")
    assert ("stacks" in family) == (verb == "stacks")
    (lock,) = [o for o in family["objects"] if o["name"] == "l\u00e4den"]
    assert lock["held"] >= 0
    if verb == "stacks":
        assert {s["pid"] for s in family["stacks"]} >= {m["pid"] for m in family["members"]}


def test_a_report_is_as_described(shop: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.json"
    for order in (["--json", "-o", str(path)], ["-o", str(path), "--json"]):
        subprocess.run([inspect.PROGRAM, "report", *order, shop], check=True)
        assert list(faults(json.loads(path.read_text()), SCHEMA)) == []


def test_top_has_a_line_for_each_picture(shop: str) -> None:
    told = subprocess.run(
        [inspect.PROGRAM, "top", "--json", "-d", "0.1", "-n", "3", shop],
        capture_output=True,
        text=True,
        check=True,
    )
    pictures = [json.loads(line) for line in told.stdout.splitlines() if line]
    assert [f for p in pictures for f in faults(p, SCHEMA["$defs"]["family"])] == []
    assert [p["rates"] is None for p in pictures] == [True, False, False]
    oldest = [o["oldest"] for p in pictures for o in p["objects"] if o["bound"] == 5]
    assert oldest[0] is None
    assert 0 < oldest[1] < oldest[2]


def test_a_pool_tells_what_its_workers_run(shop: str) -> None:
    (family,) = look("queues", "--json", shop)
    (task,) = [t for o in family["objects"] for t in o.get("tasks", [])]
    assert (task["function"], task["ticket"]) == ("wait_in_pool", 0)
    assert task["running"] > 0
    told = subprocess.run(
        [inspect.PROGRAM, "queues", shop], capture_output=True, text=True, check=True
    ).stdout
    assert f"(pid {task['pid']}) runs wait_in_pool, for " in told
    top = subprocess.run(
        [inspect.PROGRAM, "top", "-n", "1", shop], capture_output=True, text=True, check=True
    ).stdout
    assert f"(pid {task['pid']}) runs wait_in_pool, for " in top
    line = ": 1 worker, 1 of them with a task; 0 tasks wait, 0 results wait; 0 done"
    assert line in told and line in top
    assert "  pool @" not in top  # its queues are in its line


def wait_again() -> None:
    Kept.event.wait()


class Waiter:
    def __call__(self) -> None:
        Kept.event.wait()

    def __getattr__(self, name: str) -> Any:
        assert name != "__qualname__", "a look runs code of the program"
        raise AttributeError(name)


def running(pid: int) -> list[Any]:
    seen = inspect.family()
    return [t["function"] for o in seen["objects"] for t in o.get("tasks", []) if t["pid"] == pid]


def test_the_function_is_that_of_the_task_in_hand() -> None:
    context = mproc.get_context("fork")
    event = context.Event()
    with context.Pool(1, initializer=keep, initargs=(event,)) as pool:
        pid = pool.apply(os.getpid)
        for function, name in (
            (wait_in_pool, "wait_in_pool"),
            (wait_again, "wait_again"),
            (wait_in_pool, "wait_in_pool"),
            (functools.partial(wait_again), "functools.partial"),
            (Waiter(), "Waiter"),
        ):
            event.clear()
            result = pool.apply_async(function)
            while running(pid) != [name]:  # found, and its arguments read
                assert not result.ready()
                time.sleep(0.005)
            event.set()
            result.get()


def test_json_is_no_drawing() -> None:
    for words in (["graph", "--json", "--dot", "1"], ["graph", "--svg", "--json", "1"]):
        told = subprocess.run(
            [inspect.PROGRAM, *words], capture_output=True, text=True, check=False
        )
        assert told.returncode == 2
        assert told.stderr.startswith("mproc graph: what is --")
