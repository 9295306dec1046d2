"""What a process knows of a manager's life and keeps for it: each guard, at the point it is for."""

import contextlib
import os
import pickle
import sys
import threading

import pytest
from conftest import in_thread, wait_until
from managed import ENDLESS

import mproc
from mproc._managers import life
from mproc._managers.known import Known
from mproc.managers import RemoteError


class Thing:
    pass


class Failure(Exception):
    pass


def fail(*args):
    raise Failure(*args)


def in_fork(check):
    """Return whether the function returns true in a child, which then ends at once."""
    pid = os.fork()
    if pid == 0:
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(pid, 0)[1] == 0


def is_locked(record, ident):
    """Whether another thread than this one would have to wait for the key."""

    def look():
        had = record._lock(ident, 0)
        if had:
            record._unlock(ident)
        return not had

    return in_thread(look)


@pytest.fixture
def begun():
    """A Life that this process has begun, and where a pickle says that it is."""
    mine = life.begin("\0nowhere")
    yield mine, (mine.buffer.address, mine.record.address)
    mine.end()


@pytest.fixture
def foreign(begun):
    """As begun, but this process knows nothing of it, as one that loads its first pickle of it."""
    life._lives.pop(begun[0].nonce)
    return begun


# ---- processes


def test_a_process_that_has_ended_lives_no_more_though_nobody_has_waited_for_it():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert life._started(pid) == 0
    finally:
        os.waitpid(pid, 0)


def test_a_process_may_have_any_name():
    def rename():
        before = life._started(os.getpid())
        with open("/proc/self/comm", "w") as file:
            file.write("a) Z 1 (b")
        return 0 < before == life._started(os.getpid())

    assert in_fork(rename)


def test_a_child_is_not_its_parent(monkeypatch):
    parent = life.me()
    assert in_fork(lambda: life.me() != parent and life.me()[0] == os.getpid())
    monkeypatch.setattr(life, "_me", (1, 1))  # as if C had forked, which calls nothing
    assert life.me() == parent


# ---- the beginning of a Life in a process that loads a pickle


def load(begun, keeper=None):
    mine, where = begun
    return life.life_of(mine.nonce, mine.buffer, where, keeper or life.me())


def test_a_life_is_adopted(foreign):
    assert load(foreign) is load(foreign) is not foreign[0]


def test_nothing_of_another_family_is_touched(foreign, monkeypatch):
    monkeypatch.setattr(mproc._mproc, "hold", fail)
    with pytest.raises(ConnectionRefusedError):
        load(foreign, (2**22 + 1, 1))


def test_the_record_of_a_manager_that_has_ended_is_not_touched(foreign, monkeypatch):
    foreign[0].flags[0] = life.DEAD
    monkeypatch.setattr(mproc._mproc, "hold", fail)
    with pytest.raises(ConnectionRefusedError):
        load(foreign)


def test_the_record_of_a_process_that_has_ended_is_not_used(foreign):
    pid, started = life.me()
    with pytest.raises(ConnectionRefusedError):
        load(foreign, (pid, started + 1))


def test_a_manager_that_ends_while_its_record_is_adopted(foreign, monkeypatch):
    adopted = life._adopted

    def adopt_late(kind, address):
        foreign[0].flags[0] = life.DEAD
        return adopted(kind, address)

    monkeypatch.setattr(life, "_adopted", adopt_late)
    with pytest.raises(ConnectionRefusedError):
        load(foreign)


def test_a_record_that_has_gone(foreign, monkeypatch):
    def hold(address):
        raise ValueError

    monkeypatch.setattr(mproc._mproc, "hold", hold)
    with pytest.raises(ConnectionRefusedError):
        load(foreign)


def test_another_thread_adopts_the_same_life_first(foreign, monkeypatch):
    adopted, faster = life._adopted, []

    def adopt_twice(kind, address):
        monkeypatch.setattr(life, "_adopted", adopted)
        faster.append(load(foreign))
        return adopted(kind, address)

    monkeypatch.setattr(life, "_adopted", adopt_twice)
    assert load(foreign) is faster[0]


def test_a_life_that_another_process_has_ended(begun):
    begun[0].flags[0] = life.DEAD
    with pytest.raises(ConnectionRefusedError):
        load(begun)


def test_a_copy_of_the_buffer_is_not_the_life(foreign):
    mine, where = foreign
    copy = pickle.loads(pickle.dumps(mine.buffer))
    assert copy.address != mine.buffer.address
    found = life.life_of(mine.nonce, copy, where, life.me())
    assert found.buffer.address == mine.buffer.address
