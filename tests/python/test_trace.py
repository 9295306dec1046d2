"""MPROC_TRACE and `mproc record`: the file that it writes, also when members are killed."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from mproc.inspect import PROGRAM

Event = dict[str, Any]

PROGRAM_OF_ALL = """\
import os, signal, sys
import mproc as mp

def double(x):
    return 2 * x

def fall(pid):
    os.kill(os.getpid(), signal.SIGKILL)

def use(queue, lock):
    for i in range(5):
        with lock:
            queue.put(i)

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    with mp.Pool(2) as pool:
        assert pool.map(double, range(200), chunksize=1)[3] == 6
    queue, lock = mp.Queue(), mp.Lock()
    children = [mp.Process(target=use, args=(queue, lock), name=f"user {i}") for i in range(2)]
    for child in children:
        child.start()
    assert sum(queue.get() for _ in range(10)) == 20
    for child in children:
        child.join()
    print(os.getpid())
"""

PROGRAM_OF_DEATHS = """\
import os, signal, threading
import mproc as mp
from mproc.futures import ProcessPoolExecutor

def hold(lock, held):
    lock.acquire()
    held.set()
    signal.pause()

def fall():
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    mp.set_start_method("fork")
    lock, held = mp.Lock(), mp.Event()
    child = mp.Process(target=hold, args=(lock, held))
    child.start()
    held.wait()
    child.kill()
    child.join()
    with ProcessPoolExecutor(2) as pool:
        try:
            pool.submit(fall).result()
        except Exception as error:
            print(type(error).__name__)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def read_when_whole(path: pathlib.Path) -> list[Event]:
    """Return the events of a finished file: that is a moment after the family's end."""
    words = "record --behind", str(path.parent)
    while any(all(word in line for word in words) for line in _command_lines()):
        time.sleep(0.01)
    events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return events


def _command_lines() -> list[str]:
    lines = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                line = pathlib.Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue
            lines.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return lines


def check_pairs(events: list[Event]) -> None:
    """Each thread's B and E, and each process' b and e of a lock, are in pairs, in their order."""
    spans: dict[Any, list[float]] = collections.defaultdict(list)
    held: dict[Any, bool] = collections.defaultdict(bool)
    for event in events:
        thread = event["pid"], event["tid"]
        if event["ph"] == "B":
            assert not spans[thread] or spans[thread][-1] <= event["ts"]
            spans[thread].append(event["ts"])
        elif event["ph"] == "E":
            assert spans[thread].pop() <= event["ts"]
        elif event["ph"] in "be":
            lock = event["pid"], event["id2"]["local"]
            assert held[lock] == (event["ph"] == "e"), event
            held[lock] = event["ph"] == "b"
    assert not any(spans.values()) and not any(held.values())


def run(
    tmp_path: pathlib.Path, source: str, *arguments: str, code: int = 0
) -> tuple[str, list[Event]]:
    script, path = tmp_path / "program.py", tmp_path / "trace.json"
    script.write_text(source)
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "MPROC_TRACE": str(path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == code
    return done.stdout, read_when_whole(path)


def named(events: list[Event], phase: str, name: str) -> list[Event]:
    return [e for e in events if e["ph"] == phase and e.get("name", "").split(" @")[0] == name]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_all_that_a_program_does_is_in_the_file(tmp_path: pathlib.Path, method: str) -> None:
    told, events = run(tmp_path, PROGRAM_OF_ALL, method)
    check_pairs(events)
    assert len(named(events, "B", "double")) == 200
    assert len(named(events, "i", "put queue")) == 10
    assert sum(e.get("args", {}).get("messages", 1) for e in named(events, "i", "put queue")) == 10
    assert len(named(events, "b", "lock")) == len(named(events, "e", "lock")) == 10
    assert {e["pid"] for e in named(events, "i", "get queue")} >= {int(told)}
    names = {e["args"]["name"] for e in events if e["ph"] == "M"}
    assert {"main", "user 0", "user 1"} <= names


def test_what_is_killed_ends_in_the_file(tmp_path: pathlib.Path) -> None:
    told, events = run(tmp_path, PROGRAM_OF_DEATHS, code=-signal.SIGKILL)
    check_pairs(events)
    assert len(named(events, "b", "lock")) == 1
    assert len(named(events, "B", "fall")) == 1
    assert told != ""


PROGRAM_WITHOUT_END = """\
import mproc as mp
queue = mp.Queue()
print(flush=True)
while True:
    queue.put(1)
    queue.get()
"""


@pytest.fixture(name="busy")
def _busy() -> Any:
    command = [sys.executable, "-c", PROGRAM_WITHOUT_END]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        yield program
        program.kill()


def record(busy: Any, path: pathlib.Path, *options: str) -> subprocess.Popen[bytes]:
    command = [PROGRAM, "record", "-o", str(path), *options, str(busy.pid)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_a_living_family_is_recorded_until_ctrl_c(busy: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "trace.json"
    with record(busy, path) as recorder:
        while not path.exists() or path.stat().st_size < 1000:
            time.sleep(0.01)
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait() == 0
    events = json.loads(path.read_text())["traceEvents"]
    check_pairs(events)
    assert {e["pid"] for e in events} == {busy.pid}
    assert named(events, "i", "put queue") and named(events, "i", "get queue")


def test_a_recorder_may_be_killed_and_another_goes_on(busy: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "trace.json"
    with record(busy, path) as recorder:
        while not path.exists() or path.read_text().count("\n") < 20:
            time.sleep(0.01)
        recorder.kill()
        recorder.wait()
    lines = path.read_text().split("\n")[1:-2]  # the last ones may be cut off
    assert len([json.loads(line.rstrip(",")) for line in lines if line.startswith("{")]) > 5
    again = tmp_path / "again.json"
    with record(busy, again, "--for", "0.05") as recorder:
        assert recorder.wait() == 0
    assert named(json.loads(again.read_text())["traceEvents"], "i", "put queue")
    assert busy.poll() is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["record"], 2, "usage"),
        (["record", "1"], 2, "usage"),
        (["record", "-o", "x", "--for", "0", "1"], 2, "usage"),
        (["record", "-o", "x", "--for", "nan", "1"], 2, "usage"),
        (["record", "-o", "x", "0"], 2, "usage"),
        (["record", "-o", "x", "999999999"], 1, "no such process"),
        (["record", "-o", "no/such/place", "SELF"], 1, "no/such/place"),
    ],
)
def test_what_cannot_be_recorded_is_said(
    busy: Any, tmp_path: pathlib.Path, arguments: list[str], code: int, words: str
) -> None:
    said = [str(busy.pid) if word == "SELF" else word for word in arguments]
    done = subprocess.run(
        [PROGRAM, *said], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_a_family_goes_on_without_the_file(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import mproc; mproc.Lock(); print('goes on')"],
        env={**os.environ, "MPROC_TRACE": str(tmp_path / "no" / "such")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")
    assert "no/such" in done.stderr


def test_the_pid_stands_in_the_name(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os, mproc; mproc.Lock(); print(os.getpid())"],
        env={**os.environ, "MPROC_TRACE": str(tmp_path / "%p.json")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert read_when_whole(tmp_path / f"{int(done.stdout)}.json") is not None


PROGRAM_OF_A_PAGE = """\
import os, subprocess, sys, time
import mproc as mp
from mproc.inspect import PROGRAM

def nap(n):
    time.sleep(0.001)

def recording(file):
    while not os.path.exists(file) or os.path.getsize(file) == 0:
        time.sleep(0.001)

if __name__ == "__main__":
    file, page = sys.argv[1:]
    with mp.get_context("fork").Pool(1) as pool:
        words = [PROGRAM, "record", "-o", file, str(os.getpid())]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as recorder:
            recording(file)
            pool.map(nap, range(20), chunksize=1)
            subprocess.run([PROGRAM, "report", "-o", page, str(os.getpid())], check=True)
            recorder.terminate()
"""


def test_a_task_that_follows_at_once_ends_the_one_before(tmp_path: pathlib.Path) -> None:
    """Both in the page and in the file: no task is within another one."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM_OF_A_PAGE)
    file, page = tmp_path / "trace.json", tmp_path / "page.html"
    subprocess.run([sys.executable, program, file, page], check=True)
    titles = re.findall(r'class="task"><title>nap, (.*?)</title>', page.read_text())
    lengths = [float(title[:-3]) for title in titles if title.endswith(" us")]  # not of long ones
    events: list[Event] = json.loads(file.read_text())["traceEvents"]
    begins = [event["ts"] for event in events if event.get("name") == "nap"]
    last_end = max(event["ts"] for event in events if event["ph"] == "E")
    assert len(titles) == len(begins) >= 18  # the first ones may come before the recorder
    assert min(lengths) >= 1000 and sum(lengths) <= last_end - begins[0] + 20, lengths
    check_pairs([event for event in events if event["ph"] in "BE"])
