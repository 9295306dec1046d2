"""Wrong calls raise what the standard library raises; docs/moving.md lists the others."""

import json
from pathlib import Path

import pytest
import wrong_calls

PROGRAM = Path(wrong_calls.__file__)

# What differs, for a reason that docs/moving.md gives: what is raised here.
OTHERWISE = {
    "SL[-7]": "IndexError",
    "SL[-7] = 1": "IndexError",
    "SHUT[9]": "TypeError",
    'ShareableList([1], name="a\\0b")': "ValueError",
    'SharedMemory(name="a\\0b", create=True, size=1)': "ValueError",
    "mp.Semaphore(-1)": "ValueError",
    "mp.Semaphore(2**31)": "ValueError",
    "mp.BoundedSemaphore(-1)": "ValueError",
    "mp.Condition(5)": "TypeError",
    'mp.Barrier("x")': "TypeError",
    'connection.Connection("x")': "TypeError",
    'connection.Client("x", family="AF_NONE")': "ValueError",
    'connection.Client("/no/such/path", authkey="text")': "TypeError",
    'connection.Listener("x", family="AF_NONE")': "ValueError",
    "P.imap(abs, 5)": "TypeError",
    'P.imap(abs, [1]).next("x")': "no error",
    "sharedctypes.synchronized(5)": "no error",
    'managers.SyncManager("/no/such/path", b"key").start()': "FileNotFoundError",
    'managers.BaseManager.register("x", proxytype=5); managers.BaseManager().x()': "TypeError",
    "d = M.list(); M.shutdown(); d.append(1)": "ConnectionRefusedError",
}


def raised(program, kind, *options):
    run = program.run(*options, PROGRAM, kind, timeout=300)
    assert run.returncode == 0, run.stderr
    return {line: error for line, error, _ in map(json.loads, run.stdout.splitlines())}


@pytest.mark.parametrize("kind", wrong_calls.KINDS)
def test_wrong_calls(program, kind):
    theirs, ours = raised(program, kind), raised(program, kind, "-m", "mproc")
    assert list(theirs) == list(ours) == wrong_calls.KINDS[kind]
    differ = {line: ours[line] for line in ours if ours[line] != theirs[line]}
    assert {line: error for line, error in differ.items() if OTHERWISE.get(line) != error} == {}


def test_what_differs_is_about_calls_that_are_made():
    made = {line for lines in wrong_calls.KINDS.values() for line in lines}
    assert set(OTHERWISE) <= made
