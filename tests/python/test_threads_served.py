"""Eight threads at one manager, listener, engine or end of a queue, with and without the GIL."""

import concurrent.futures
import gc
import os
import select
import threading
from collections import OrderedDict

import pytest
from test_engines import Here
from test_threads import PATIENCE, THREADS, at_once, changing
from test_threads_pools import ROUNDS, double, in_rounds

import mproc
from mproc import engines, forkserver
from mproc._managers import peers, proxies
from mproc._managers.known import Known
from mproc.connection import Client, Listener
from mproc.engines import mpi, remote
from mproc.engines.cluster import NodeInfo
from mproc.engines.errors import EngineError
from mproc.futures import ProcessPoolExecutor
from mproc.managers import BaseManager

KEY = b"a key that both ends know"


def use_descriptors(_round):
    """Fail if another thread closes a descriptor twice, which is this one's by then."""
    for _ in range(20):
        reader, writer = os.pipe()
        os.write(writer, b"x")
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        os.close(writer)


# ---- the ends of queues


@pytest.mark.parametrize("kind", [mproc.Queue, mproc.SimpleQueue])
def test_parts_of_a_queue_are_made_once(kind):
    made, found = [kind() for _ in range(ROUNDS)], [set() for _ in range(ROUNDS)]

    def step(i, _):
        queue = made[i]
        found[i].add((id(queue._rlock), id(queue._wlock), id(queue._reader), id(queue._writer)))

    in_rounds(step)
    assert {len(ids) for ids in found} == {1}


def test_the_condition_of_a_queue_is_made_once():
    made, found = [mproc.Queue() for _ in range(ROUNDS)], [set() for _ in range(ROUNDS)]
    in_rounds(lambda i, _: found[i].add(id(made[i]._notempty)))
    assert {len(ids) for ids in found} == {1}


def test_descriptors_of_a_queue_are_made_once():
    made, found = [mproc.SimpleQueue() for _ in range(ROUNDS)], [set() for _ in range(ROUNDS)]

    def step(i, _):
        found[i].add((made[i]._reader.fileno(), made[i]._writer.fileno()))

    in_rounds(step)
    assert {len(numbers) for numbers in found} == {1}
    for queue in made:
        queue.put(1)
        assert select.select([queue._reader], [], [], PATIENCE)[0] == [queue._reader]
        queue.close()


def test_ends_of_a_queue_are_closed_by_all_threads():
    made = [mproc.SimpleQueue() for _ in range(ROUNDS)]
    for queue in made:
        queue._reader.fileno(), queue._writer.fileno()

    def step(i, thread):
        if thread < 2:
            use_descriptors(i)
        elif thread < 4:
            made[i]._reader._update()
        elif thread % 2:
            made[i]._reader.close()
        else:
            made[i]._writer.close()

    in_rounds(step)
    assert all(queue._reader.closed and queue._writer.closed for queue in made)


# ---- what is known as long as it lives


class Thing:
    pass


@pytest.mark.parametrize("end", ["_reader", "_writer"])
def test_an_end_that_is_closed_while_it_is_asked_for_its_descriptor(end, monkeypatch):
    end = getattr(mproc.SimpleQueue(), end)
    looks = end._check_open

    def close_behind_the_look():
        looks()
        at_once(end.close)

    monkeypatch.setattr(end, "_check_open", close_behind_the_look)
    with pytest.raises(OSError, match="closed"):
        end.fileno()
    assert end._fd == -1


class Circle:
    """What only the garbage collector takes away."""

    def __init__(self):
        self.itself = self


def test_what_is_known_is_listed_while_some_of_it_goes():
    known, kept = Known(), [Circle() for _ in range(300)]
    for i, one in enumerate(kept):
        known.put(i, one)
    pairs = [(i, None) for i in range(2500)]  # so that a pair is new memory, which is counted
    before = gc.get_threshold()
    try:
        for i in range(20):
            gc.disable()
            for j in range(200):
                known.put((i, j), Circle())
            gc.set_threshold(gc.get_count()[0] + 20, 1, 1)
            gc.enable()
            assert {key for key, _ in known.items()} >= {*range(300)}
    finally:
        gc.set_threshold(*before)
        gc.enable()
    del pairs


def test_the_first_object_of_a_key_is_everybodys():
    known, found = Known(), [[] for _ in range(ROUNDS)]
    in_rounds(lambda i, _: found[i].append(known.first(i, Thing())))
    assert {len({id(thing) for thing in things}) for things in found} == {1}
    assert len(known.items()) == ROUNDS
    found.clear()
    assert known.items() == []
    assert known._references == {}


def test_what_goes_while_others_come():
    gone = []
    known = Known(gone.append)

    def come_and_go(i):
        thing = known.first(i % 3, Thing())
        assert known.get(i % 3) is thing

    at_once(*[changing(come_and_go, 2_000)] * THREADS)
    assert known.items() == []
    assert {0, 1, 2} == {*gone}


def test_a_finalizer_that_comes_late_removes_nothing():
    known, first, second = Known(), Thing(), Thing()
    known.put("key", first)
    late = known._references["key"]
    known.put("key", second)
    late.__callback__(late)
    assert known.get("key") is second


# ---- managers


class Counter:
    def __init__(self):
        self._mutex = threading.Lock()
        self._n = 0

    def add(self):
        with self._mutex:
            self._n += 1

    def get(self):
        return self._n


class OwnManager(BaseManager):
    pass


OwnManager.register("Counter", Counter)
OwnManager.register("dict", dict)


def test_objects_of_a_server_are_used_by_all_threads():
    with OwnManager(ctx=mproc.get_context("fork")) as manager:
        counter = manager.Counter()

        def use(i):
            counter.add()
            mine = manager.dict([(i, i)])
            assert mine.get(i) == i
            if i % 10 == 0:
                assert manager._number_of_objects() > 0

        at_once(*[changing(use, 60)] * THREADS)
        assert counter.get() == 60 * THREADS
        assert manager._number_of_objects() == 1


def test_objects_of_the_arena_are_used_by_all_threads():
    with mproc.Manager() as manager:
        total, lock, queue = manager.Value("i", 0), manager.Lock(), manager.Queue()
        shared, items = manager.dict(), manager.list()

        def use(i):
            with lock:
                total.value += 1
            mine = manager.list([i])
            shared[i] = mine
            assert isinstance(shared[i], proxies.ListProxy)
            queue.put(i)
            queue.get()
            items.append(i)
            if i % 10 == 0:
                assert manager._number_of_objects() > 4

        at_once(*[changing(use, 60)] * THREADS)
        assert (total.value, len(items), queue.qsize()) == (60 * THREADS, 60 * THREADS, 0)
        shared.clear()
        assert manager._number_of_objects() == 5


def test_a_manager_ends_while_all_threads_use_it():
    for _ in range(5):
        manager = mproc.Manager()
        begun = threading.Barrier(THREADS)

        def use(manager=manager, begun=begun):
            begun.wait(PATIENCE)
            with pytest.raises((AssertionError, OSError)):
                while True:
                    manager.dict(a=1).get("a")

        def end(manager=manager, begun=begun):
            begun.wait(PATIENCE)
            manager.shutdown()

        at_once(end, *[use] * (THREADS - 1))


def test_a_server_has_one_peer():
    found = [[] for _ in range(ROUNDS)]
    in_rounds(lambda i, _: found[i].append(peers.peer_of(f"\0nobody-{i}", "pickle", KEY)))
    assert {len({id(peer) for peer in each}) for each in found} == {1}


def test_a_type_of_proxies_is_made_once():
    found = [set() for _ in range(ROUNDS)]
    in_rounds(lambda i, _: found[i].add(proxies.MakeProxyType(f"Proxy{i}", ("get",))))
    assert {len(types) for types in found} == {1}


def test_types_are_registered_by_all_threads():
    made = [type(f"Manager{i}", (BaseManager,), {}) for i in range(ROUNDS)]
    in_rounds(lambda i, thread: made[i].register(f"Type{thread}", Counter))
    assert all(len(manager._registry) == THREADS for manager in made)


class Registers(type):
    """A class of managers that registers at another one when it is changed."""

    def __setattr__(cls, name, value):
        type.__setattr__(cls, name, value)
        if name == "_registry" and cls.__name__ == "Changed":
            cls.other.register("more", dict)


def test_a_type_is_registered_while_another_one_is():
    def register():
        other = type("Other", (BaseManager,), {})
        changed = Registers("Changed", (BaseManager,), {"other": other})
        changed.register("one", dict)
        assert {*other._registry} == {"more"} and {*changed._registry} == {"one"}

    at_once(register)


def test_types_of_all_managers_are_registered_by_all_threads(program):
    """They are made when somebody asks for them first, and what is added then stays."""
    program.write(
        "register.py",
        """
import threading
from mproc.managers import SyncManager
start = threading.Barrier(8)
def register(n):
    start.wait()
    SyncManager.register(f"Type{n}", dict)
threads = [threading.Thread(target=register, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(name for name in SyncManager._registry if name[:4] == "Type"))
""",
    )
    wanted = str([f"Type{n}" for n in range(8)])
    assert [program.output("register.py").strip() for _ in range(5)] == [wanted] * 5


# ---- listeners and clients


def test_all_threads_accept_and_connect():
    for _ in range(20):
        with Listener(authkey=KEY, backlog=THREADS) as listener:

            def serve(listener=listener):
                for _ in range(5):
                    with listener.accept() as connection:
                        connection.send(connection.recv())

            def ask(listener=listener):
                for i in range(5):
                    with Client(listener.address, authkey=KEY) as connection:
                        connection.send(i)
                        assert connection.recv() == i

            at_once(*[serve, ask] * (THREADS // 2))


def test_a_listener_is_closed_by_all_threads():
    made = [Listener(authkey=KEY) for _ in range(ROUNDS)]

    def step(i, thread):
        if thread < 4:
            use_descriptors(i)
        else:
            made[i].close()

    in_rounds(step)


# ---- engines


def test_an_engine_is_had_while_another_one_is_opened(monkeypatch):
    opened, go_on = threading.Event(), threading.Event()

    def connect(choice):
        if choice.address == "slow":
            opened.set()
            assert go_on.wait(PATIENCE)
        return Here()

    monkeypatch.setattr(engines.Choice, "_connect", connect)
    monkeypatch.setattr(engines, "_open", {})
    slow = threading.Thread(target=engines.Choice("ray", "slow").open)
    slow.start()
    assert opened.wait(PATIENCE)
    other = concurrent.futures.ThreadPoolExecutor(1).submit(engines.Choice("ray", "other").open)
    try:
        assert isinstance(other.result(PATIENCE), Here)
    finally:
        go_on.set()
        slow.join()


def test_an_engine_is_opened_once(monkeypatch):
    opened = []

    def connect(choice):
        opened.append(choice.address)
        os.sched_yield()
        return Here()

    monkeypatch.setattr(engines.Choice, "_connect", connect)
    monkeypatch.setattr(engines, "_open", {})
    found = [set() for _ in range(ROUNDS)]
    in_rounds(lambda i, _: found[i].add(engines.Choice("ray", str(i)).open()))
    assert {len(clusters) for clusters in found} == {1}
    assert opened == [str(i) for i in range(ROUNDS)]


def test_what_stays_here_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr(engines, "_unsaid", [True])
    monkeypatch.setattr(engines._current, "engine", engines.Choice("ray"))
    process = mproc.Process(target=double)
    at_once(*[lambda: engines.say_what_stays(process)] * THREADS)
    assert capsys.readouterr().err.count("stay on this machine") == 1


def test_what_tasks_have_of_the_program_is_kept_by_all_threads(monkeypatch):
    monkeypatch.setattr(remote, "_recent", OrderedDict())

    def keep(i):
        made = Thing()
        kept = remote._keep(str(i % 100), made)
        assert type(kept) is Thing

    at_once(*[changing(keep, 2_000)] * THREADS)
    assert len(remote._recent) == remote.KEPT


def test_ranks_of_mpi_are_lost_once():
    """Each pool has a thread that asks which nodes there are."""
    for _ in range(20):
        cluster = mpi.MPICluster.__new__(mpi.MPICluster)
        cluster._lock = threading.Lock()
        cluster._infos = {rank: NodeInfo("host", 1, 2) for rank in range(1, 200)}
        cluster._mail = Thing()
        cluster._mail.heard = dict.fromkeys(cluster._infos, -1e9)

        def look(cluster=cluster):
            with pytest.raises(EngineError, match="all ranks of MPI are lost"):
                while True:
                    for _rank in cluster.nodes().items():
                        pass

        at_once(*[look] * THREADS)
    mpi._lost.clear()


def test_a_pool_on_an_engine_is_used_by_all_threads():
    with mproc.Pool(engine=Here(nodes=2)) as pool:

        def use(i):
            assert pool.apply(double, (i,)) == 2 * i
            assert pool.map(double, range(10)) == list(range(0, 20, 2))
            assert list(pool.imap(double, range(5))) == list(range(0, 10, 2))

        at_once(*[changing(use, 10)] * THREADS)
    pool.join()


def test_futures_of_an_engine_in_all_threads():
    with ProcessPoolExecutor(engine=Here(nodes=2)) as executor:

        def use(_):
            made = [executor.submit(double, j) for j in range(10)]
            made[-1].cancel()
            assert [future.result(PATIENCE) for future in made[:-1]] == list(range(0, 18, 2))
            assert len(concurrent.futures.wait(made, PATIENCE).done) == len(made)

        at_once(*[changing(use, 10)] * THREADS)


# ---- the template of children


def test_a_template_is_dropped_by_all_threads():
    for _ in range(3):
        template = forkserver._forkserver._start()

        def drop(template=template):
            assert template.pid >= 0
            template.drop()

        at_once(*[drop] * THREADS)
        assert template.pid == 0
