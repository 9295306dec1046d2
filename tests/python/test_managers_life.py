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


def fork_one_that_looks(q, word, found):
    """Make an object that is on its way, and end before one's child gets it."""
    manager = mproc.get_context("fork").Manager()
    q.put(manager.dict(a=1))
    mine = life.me()
    if os.fork() == 0:
        with contextlib.suppress(BaseException):
            word.recv()
            found.send(life._lives_on(mine))
            try:
                q.get()
            except Exception as error:
                found.send(type(error).__name__)
    os._exit(0)


def test_a_child_does_not_take_its_dead_parent_for_itself():
    """It would use what has taken the place of the objects that its parent kept."""
    fork = mproc.get_context("fork")
    q, (word, say), (found, tell) = fork.Queue(), fork.Pipe(False), fork.Pipe(False)
    parent = fork.Process(target=fork_one_that_looks, args=(q, word, tell))
    parent.start()
    parent.join()
    parent.close()
    wait_until(lambda: mproc._mproc.reap() == 0)
    say.send("it has ended")
    assert (found.recv(), found.recv()) == (False, "RemoteError")
    for end in (word, say, found, tell):
        end.close()


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


# ---- keeping


def test_nothing_is_kept_for_a_manager_that_has_ended(begun):
    begun[0].end()
    ident, _ = life.keep(begun[0], ())
    assert ident not in life._kept


def test_the_end_of_a_manager_is_no_others(begun, monkeypatch):
    monkeypatch.setattr(life, "_is_used", lambda ident, token: True)
    other = life.begin("\0nowhere")
    mine, others = life.keep(begun[0], ())[0], life.keep(other, ())[0]
    other.end()
    assert mine in life._kept and others not in life._kept


@pytest.fixture
def three(begun, monkeypatch):
    """Three objects that are kept, and the set of the idents of those that somebody uses."""
    monkeypatch.setattr(life, "_kept", {})
    used = set()
    monkeypatch.setattr(life, "_is_used", lambda ident, token: ident in used)
    idents = []
    for _ in range(3):
        ident, _ = life.keep(begun[0], ())
        idents.append(ident)
        used.add(ident)
    return idents, used


def test_objects_are_looked_at_in_turn(three, begun):
    """Or some that are used for long would hide all those behind them."""
    _, used = three
    order = [*life._kept]
    life._sweep(2)
    assert [*life._kept] == [order[2], *order[:2]]
    used.clear()
    newest, _ = life.keep(begun[0], ())  # two are looked at whenever one is made
    assert [*life._kept] == [order[1], newest]
    life._sweep(2)
    assert life._kept == {}
    life._keep_or_let_go(newest)


def test_what_a_child_does_not_keep_is_not_kept_again(three, monkeypatch):
    """A handler of a signal may fork while the object is looked at."""
    (a, _, _), _ = three

    def forked(ident, token):
        life._kept.clear()
        return True

    monkeypatch.setattr(life, "_is_used", forked)
    life._keep_or_let_go(a)
    assert life._kept == {}


def test_an_object_that_is_loaded_before_its_key_is_locked_stays(three, monkeypatch):
    (a, _, _), _ = three
    looks = iter([False, True])
    monkeypatch.setattr(life, "_is_used", lambda ident, token: next(looks))
    life._keep_or_let_go(a)
    assert a in life._kept and next(looks, None) is None


def test_nobody_loads_an_object_while_it_is_given_up(three, begun, monkeypatch):
    (a, _, _), used = three
    used.discard(a)
    address, seen = life._kept[a][1].address, []
    assert life.held_buffer(address, a.encode()) is not None

    leave = life._locked.__exit__

    def look_and_leave(self, *error):
        seen.append((is_locked(begun[0].record, a), life.held_buffer(address, a.encode())))
        leave(self, *error)

    # No class of the test's own, which would live for ever, and what it knows, in a free-threaded
    # 3.13 that has had a thread.
    monkeypatch.setattr(life._locked, "__exit__", look_and_leave)
    life._keep_or_let_go(a)
    assert seen == [(True, None)] and not is_locked(begun[0].record, a)


def test_nothing_is_left_in_the_record(fast):
    d = fast.dict(a=1)
    record, ident = d._direct.life.record, d._direct.ident
    outer = fast.list([d])
    assert outer[0]["a"] == 1
    del outer
    assert [k for k in record._list_keys() if ident in k] == []
    pickle.loads(pickle.dumps(d))
    assert {k for k in record._list_keys() if ident in k} == {"s" + ident, "l" + ident, "o" + ident}
    del d
    assert [k for k in record._list_keys() if ident in k] == []


def test_pickles_are_loaded_in_any_order(fast):
    d = fast.dict(a=1)
    first, second = pickle.dumps(d), pickle.dumps(d)
    del d
    late = pickle.loads(second)
    assert pickle.loads(first)["a"] == late["a"] == 1
    del late
    assert fast._number_of_objects() == 0


def test_who_drops_an_object_while_others_are_looked_at_waits_for_nobody(fast):
    d = fast.dict(a=1)
    ident = d._direct.ident
    with life._sweeping:
        del d
        fast.dict(b=1)
        assert ident in life._kept
    assert fast._number_of_objects() == 0


def test_who_drops_an_object_does_not_wait_for_one_that_loads_it(fast):
    """That one may be stopped; or it drops, as it loads, what the other one loads and keeps.

    The thread that made the object drops it: without the interpreter's lock its end is seen there,
    whoever drops it.
    """
    d = fast.dict(a=1)
    record, ident = d._direct.life.record, d._direct.ident
    locked, dropped, ended = threading.Event(), threading.Event(), []

    def load():
        record._lock(ident, None)
        locked.set()
        ended.append(dropped.wait(ENDLESS))
        record._unlock(ident)

    loading = threading.Thread(target=load)
    loading.start()
    locked.wait()
    del d
    dropped.set()
    loading.join()
    assert ended == [True] and ident in life._kept
    assert fast._number_of_objects() == 0


def test_a_look_that_fails_does_not_prevent_the_next_one(three, monkeypatch):
    (a, _, _), _ = three
    monkeypatch.setattr(life, "_keep_or_let_go", fail)
    for look in (lambda: life._look_who_needs(a), lambda: life._sweep(1)):
        with pytest.raises(Failure):
            look()
        assert not life._sweeping.locked()


def test_the_oldest_objects_are_found_though_another_one_comes(monkeypatch):
    class Changing(dict):
        turns = iter([True])

        def __iter__(self):
            if next(self.turns, False):
                raise RuntimeError
            return super().__iter__()

    monkeypatch.setattr(life, "_kept", Changing.fromkeys("abc"))
    assert life._oldest(2) == ["a", "b"]


def test_a_child_keeps_nothing_for_others(fast):
    d = fast.dict(a=1)
    with life._sweeping, life.riding(True):
        assert in_fork(lambda: not life._kept and not life._sweeping.locked() and not life.stays())
    assert d["a"] == 1


# ---- the arrival of an object


@pytest.fixture
def on_its_way(fast):
    """A pickle of an object that nobody has, the record, and the object's ident."""
    d = fast.dict(a=1)
    message, direct = pickle.dumps(d), d._direct
    record, ident = direct.life.record, direct.ident
    del d, direct
    yield message, record, ident
    fast.shutdown()


def test_an_object_is_locked_while_it_arrives(on_its_way, monkeypatch):
    message, record, ident = on_its_way
    held, locked = life.held_buffer, []

    def look(address, begin, at=0):
        locked.append(is_locked(record, ident))
        return held(address, begin, at)

    monkeypatch.setattr(life, "held_buffer", look)
    arrived = pickle.loads(message)
    assert arrived["a"] == 1 and locked == [True] and not is_locked(record, ident)


def test_a_hold_is_taken_first_and_the_keeper_looked_for_then(on_its_way, foreign, monkeypatch):
    message, _, _ = on_its_way
    adopted, steps = life._adopted, []

    def adopt(kind, address):
        steps.append("hold")
        return adopted(kind, address)

    def look(keeper):
        steps.append("look")
        return True

    monkeypatch.setattr(life, "_adopted", adopt)
    monkeypatch.setattr(life, "_lives_on", look)
    assert pickle.loads(message)["a"] == 1
    assert steps == ["hold", "look"]
    load(foreign)
    assert steps == ["hold", "look"] * 2


def test_an_object_whose_keeper_has_ended(on_its_way, monkeypatch):
    monkeypatch.setattr(life, "_lives_on", lambda keeper: False)
    with pytest.raises(RemoteError, match="no object"):
        pickle.loads(on_its_way[0])


def test_an_object_a_part_of_which_has_gone(on_its_way, monkeypatch):
    """Its keeper has ended, or the part would be there; the manager may live."""
    hold, seen = mproc._mproc.hold, []

    def hold_the_token_only(address):
        seen.append(address)
        if len(seen) > 1:
            raise ValueError
        hold(address)

    monkeypatch.setattr(mproc._mproc, "hold", hold_the_token_only)
    with pytest.raises(RemoteError, match="no object"):
        pickle.loads(on_its_way[0])


def test_a_pickle_of_an_object_that_is_known_has_been_loaded(fast):
    d = fast.dict(a=1)
    assert pickle.loads(pickle.dumps(d))._direct is d._direct
    del d
    assert fast._number_of_objects() == 0


def test_the_record_is_locked_when_another_family_has_loaded_a_pickle(begun, monkeypatch):
    record, loaded, locked = begun[0].record, life._loaded, []

    def note(*what):
        locked.append(is_locked(record, "ident"))
        loaded(*what)

    monkeypatch.setattr(life, "_loaded", note)
    life.note_loaded(begun[0], "ident", 3)
    life.note_loaded(begun[0], "ident", 2)
    assert record["lident"] == 3 and locked == [True, True] and not is_locked(record, "ident")


def test_a_server_finds_what_is_there_only(begun):
    assert life.find(begun[0], "no such") is None
    begun[0].record["ogone"] = Thing, "dict", None, 12345, ()
    assert life.find(begun[0], "gone") is None


# ---- what is pickled into a container


def test_a_container_within_a_container(fast):
    direct = fast.dict()._direct
    with life.riding(False):
        with life.riding(True):
            assert life.stays()
        assert not life.stays() and life.count_pickle(direct) == 0
        assert in_thread(life.count_pickle, direct) == 1
    with life.riding(True):
        with life.riding(False):
            assert not life.stays()
        assert life.stays()
    assert not life.stays() and life.count_pickle(direct) == 2


def test_a_child_that_is_forked_within_a_pickling_leaves_it():
    """A handler of a signal may fork, and what it raises in the child passes the pickling."""
    pid = -1
    try:
        with life.riding(False):
            pid = os.fork()
            if pid == 0:
                sys.exit()
    except BaseException as error:
        os._exit(0 if isinstance(error, SystemExit) else 1)
    assert os.waitpid(pid, 0)[1] == 0


# ---- what is known as long as it lives


def test_the_known_may_go_before_its_objects():
    known, thing = Known(fail), Thing()
    known.put("key", thing)
    late = known._references["key"]
    del known
    late.__callback__(late)


def test_what_has_gone_is_not_known():
    known, thing = Known(), Thing()
    known.put("key", thing)
    known.put("other", thing)
    callbacks = [known._references[key].__callback__ for key in ("key", "other")]
    known._references["key"] = type(known._references["key"])(gone := Thing())  # is not removed
    del gone
    assert callbacks and known.get("key") is None and known.items() == [("other", thing)]
    assert known.first("key", thing) is thing and known.get("key") is thing
    known.pop("key")
    known.pop("key")
    assert known.get("key") is None
