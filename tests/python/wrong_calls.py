"""Makes wrong calls, a line each, and prints as JSON what each raised: type and text.

Run by test_wrong_calls.py on the standard library and on mproc.
"""

import json
import multiprocessing as mp
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.shared_memory import ShareableList, SharedMemory

SECONDS = 60  # that no call takes

# In each line SL is a new list of an int, a float, a str, bytes, None and a bool; SHUT one that is
# closed; SHM a new segment, CLOSED one that is closed; R and W the ends of a new pipe.
LISTS = """
SL[6]
SL[-7]
SL["0"]
SL[0.5]
SL[None]
SL[0:2]
SL[10**30]
SL[6] = 1
SL[-7] = 1
SL["0"] = 1
SL[0.5] = 1
SL[0:2] = [1, 2]
SL[10**30] = 1
SL[0] = 2**63
SL[0] = -(2**63) - 1
SL[0] = "more than eight"
SL[0] = b"more than eight"
SL[2] = "x" * 100
SL[3] = b"x" * 100
SL[2] = "\\u00e4" * 6
SL[2] = "\\ud800"
SL[0] = []
SL[0] = object()
SL[0] = 1j
SL[0] = (1, 2)
SL[0] = bytearray(b"x")
del SL[0]
SL.append(1)
SL.index(77)
SL.index()
SL.index(1, 2)
SL.count()
SL.count(1, 2)
SL.format = "q"
SL + [1]
SL < [1]
hash(SL)
SL()
ShareableList(5)
ShareableList(object())
ShareableList([[]])
ShareableList([object()])
ShareableList([2**63])
ShareableList(["\\ud800"])
ShareableList([1], 2)
ShareableList(name="mproc_no_such_list")
ShareableList(name=5)
ShareableList([1], name=SL.shm.name)
ShareableList([1], name="a/b")
ShareableList([1], name="a\\0b")
ShareableList([1], name=5)
ShareableList([1], name="x" * 300)
ShareableList([1], size=5)
SHUT[0]
SHUT[0] = 1
SHUT[9]
len(SHUT)
list(SHUT)
1 in SHUT
repr(SHUT)
SHUT.count(1)
SHUT.index(1)
SHUT.format
reversed(SHUT)
pickle.loads(pickle.dumps(SHUT))
SHUT.shm.unlink(); SHUT.shm.unlink()
SHUT.shm.unlink(); pickle.loads(pickle.dumps(SHUT))
"""

SEGMENTS = """
SharedMemory()
SharedMemory(create=True)
SharedMemory(create=True, size=0)
SharedMemory(create=True, size=-1)
SharedMemory(create=True, size="5")
SharedMemory(create=True, size=None)
SharedMemory(create=True, size=1.5)
SharedMemory(create=True, size=2**70)
SharedMemory(name="mproc_no_such_segment")
SharedMemory(name=5)
SharedMemory(name="a/b", create=True, size=1)
SharedMemory(name="a\\0b", create=True, size=1)
SharedMemory(name="x" * 300, create=True, size=1)
SharedMemory(name=SHM.name, create=True, size=1)
SharedMemory(name="", create=True, size=1)
SHM.buf[10**6]
SHM.buf[0] = 256
SHM.buf["0"]
SHM.buf[0:2] = b"x"
SHM.size = 5
SHM.name = "x"
SHM.buf = b""
held = SHM.buf[:4]; SHM.close()
SHM.unlink(); SHM.unlink()
CLOSED.buf[0]
CLOSED.close(); CLOSED.close()
pickle.loads(pickle.dumps(CLOSED))
CLOSED.unlink(); pickle.loads(pickle.dumps(CLOSED))
"""

LOCKS = """
mp.Lock().release()
mp.RLock().release()
mp.Lock().acquire(True, "x")
mp.Lock().acquire(timeout=[])
mp.Lock().acquire(1, 2, 3)
mp.Lock().acquire(blocking=True)
mp.Lock(5, 6)
mp.Lock() < mp.Lock()
pickle.dumps(mp.Lock())
pickle.dumps(mp.RLock())
pickle.dumps(mp.Event())
pickle.dumps(mp.Condition())
pickle.dumps(mp.Barrier(2))
pickle.dumps(mp.Semaphore())
mp.Semaphore(-1)
mp.Semaphore(2**31)
mp.Semaphore(2**70)
mp.Semaphore("1")
mp.Semaphore(1.5)
mp.Semaphore(None)
mp.BoundedSemaphore(-1)
mp.BoundedSemaphore("1")
mp.BoundedSemaphore(1).release()
mp.Condition().wait()
mp.Condition().wait(0)
mp.Condition().notify()
mp.Condition().notify_all()
mp.Condition().release()
mp.Condition(5)
c = mp.Condition(); c.acquire(); c.wait_for(None)
c = mp.Condition(); c.acquire(); c.wait("x")
mp.Event().wait("x")
mp.Event().wait([])
mp.Barrier()
mp.Barrier("x")
mp.Barrier(2).wait(0)
mp.Barrier(2).wait("x")
b = mp.Barrier(2); b.abort(); b.wait()
"""

QUEUES = """
mp.Queue().get_nowait()
mp.Queue().get(timeout=0.01)
mp.Queue().get(False)
mp.Queue().get(timeout="x")
q = mp.Queue(1); q.put(1); q.put(2, False)
q = mp.Queue(1); q.put(1); q.put_nowait(2)
q = mp.Queue(1); q.put(1); q.put(2, timeout=0.01)
mp.Queue("x")
mp.Queue([])
mp.Queue(1, 2)
mp.Queue().put()
q = mp.Queue(); q.close(); q.put(1)
q = mp.Queue(); q.close(); q.get()
q = mp.Queue(); q.close(); q.get_nowait()
q = mp.Queue(); q.close(); q.empty()
mp.Queue().join_thread()
pickle.dumps(mp.Queue())
pickle.dumps(mp.SimpleQueue())
pickle.dumps(mp.JoinableQueue())
mp.JoinableQueue().task_done()
q = mp.SimpleQueue(); q.close(); q.put(1)
q = mp.SimpleQueue(); q.close(); q.get()
q = mp.SimpleQueue(); q.close(); q.empty()
mp.SimpleQueue().put(lambda: 0)
mp.SimpleQueue(5)
"""

PIPES = """
mp.Pipe(1, 2)
R.send(1)
W.recv()
W.poll()
W.close(); W.send(1)
R.close(); R.recv()
R.close(); R.poll()
R.close(); R.fileno()
W.close(); R.recv()
W.close(); R.recv_bytes()
R.close(); W.send(1)
W.send()
W.send(lambda: 0)
W.send_bytes("text")
W.send_bytes(5)
W.send_bytes(b"abc", -1)
W.send_bytes(b"abc", 4)
W.send_bytes(b"abc", 1, -1)
W.send_bytes(b"abc", 1, 3)
W.send_bytes(b"abc", "x")
W.send_bytes(b"abc"); R.recv_bytes(2)
W.send_bytes(b"abc"); R.recv_bytes(-1)
W.send_bytes(b"abc"); R.recv_bytes("x")
W.send_bytes(b"abc"); R.recv_bytes_into(bytearray(2))
W.send_bytes(b"abc"); R.recv_bytes_into(b"immutable")
W.send_bytes(b"abc"); R.recv_bytes_into(5)
W.send_bytes(b"abc"); R.recv_bytes_into(bytearray(9), -1)
W.send_bytes(b"abc"); R.recv_bytes_into(bytearray(9), 10)
W.send_bytes(b"abc"); R.recv_bytes_into(bytearray(9), 8)
W.send_bytes(b"abc"); R.recv()
R.poll("x")
R.poll([])
pickle.dumps(R)
connection.Connection(-1)
connection.Connection("x")
connection.Connection(R.fileno(), False, False)
connection.wait([5.5])
connection.wait([object()])
connection.wait(5)
connection.wait([R], "x")
connection.Client("/no/such/path")
connection.Client(("127.0.0.1", 1))
connection.Client("x", family="AF_NONE")
connection.Client(5)
connection.Client("/no/such/path", authkey="text")
connection.Listener(5)
connection.Listener("x", family="AF_NONE")
connection.Listener("/no/such/path/x")
connection.Listener(authkey="text")
l = connection.Listener(); l.close(); l.accept()
connection.deliver_challenge(W, "text")
connection.answer_challenge(R, "text")
connection.deliver_challenge(W, 5)
"""

PROCESSES = """
mp.Process(1)
mp.Process(target=len, args=5)
mp.Process(target=len, kwargs=5)
mp.Process(name=5)
mp.Process(nothing=5)
mp.Process().join()
mp.Process().join("x")
mp.Process().terminate()
mp.Process().kill()
mp.Process().is_alive()
mp.Process().exitcode
mp.Process().sentinel
mp.Process().authkey
mp.Process().pid
mp.Process().ident
p = mp.Process(); p.name = 5
p = mp.Process(); p.daemon = 5
p = mp.Process(); p.exitcode = 5
p = mp.Process(); p.authkey = 5
p = mp.Process(); p.start(); p.join(); p.start()
p = mp.Process(); p.start(); p.join(); p.daemon = True
p = mp.Process(); p.start(); p.join("x")
p = mp.Process(); p.start(); p.join(); p.close(); p.join()
p = mp.Process(); p.start(); p.join(); p.close(); p.start()
p = mp.Process(); p.start(); p.join(); p.close(); p.exitcode
p = mp.Process(); p.start(); p.join(); p.close(); p.pid
p = mp.Process(); p.start(); p.join(); p.close(); p.is_alive()
p = mp.Process(); p.start(); p.join(); p.close(); p.sentinel
p = mp.Process(); p.start(); p.join(); p.close(); p.kill()
p = mp.Process(); p.start(); p.join(); p.close(); p.close()
p = mp.Process(target=signal.pause); p.start(); RUNNING.append(p); p.close()
pickle.dumps(mp.Process())
mp.current_process().join()
mp.current_process().start()
mp.current_process().is_alive()
mp.current_process().close()
mp.get_context("x")
mp.get_context(5)
mp.get_context("fork").set_start_method("spawn")
mp.set_start_method("x")
mp.set_start_method("spawn")
mp.set_forkserver_preload(5)
mp.set_forkserver_preload([5])
util.Finalize(None, print)
util.Finalize(None, print, exitpriority="x")
util.Finalize(5, 5)
util.Finalize(object(), print, exitpriority=0.5)
"""

POOLS = """
mp.Pool(0)
mp.Pool(-1)
mp.Pool("x")
mp.Pool(1.5)
mp.Pool(1, 5)
mp.Pool(1, None, 5)
mp.Pool(1, maxtasksperchild=0)
mp.Pool(1, maxtasksperchild=-1)
mp.Pool(1, maxtasksperchild="x")
pool.ThreadPool(0)
pool.ThreadPool("x")
P.map(abs, 5)
P.map(5, [1])
P.map(lambda x: x, [1])
P.map(abs, ["x"])
P.map(abs, [1], 0)
P.map(abs, [1], -1)
P.map(abs, [1], "x")
P.imap(abs, 5)
P.imap(abs, [1], 0)
P.imap(abs, [1], "x")
P.imap_unordered(abs, [1], 0)
next(P.imap(abs, []))
P.imap(abs, [1]).next("x")
P.starmap(abs, [1])
P.starmap(divmod, [(1, 0)])
P.apply(abs)
P.apply(abs, 5)
P.apply(abs, ("x",))
P.apply(abs, (), 5)
P.apply_async(signal.pause).get(0.01)
P.apply_async(signal.pause).get("x")
P.apply_async(signal.pause).successful()
P.join()
P.close(); P.apply(abs, (1,))
P.close(); P.map(abs, [1])
P.close(); P.imap(abs, [1])
P.close(); P.apply_async(abs, (1,))
P.terminate(); P.map(abs, [1])
P.close(); P.__enter__()
pickle.dumps(P)
ProcessPoolExecutor(0)
ProcessPoolExecutor(-1)
ProcessPoolExecutor("x")
ProcessPoolExecutor(1, initializer=5)
ProcessPoolExecutor(1, max_tasks_per_child=0)
ProcessPoolExecutor(1, max_tasks_per_child="x")
E.submit()
E.submit(5).result()
E.submit(abs).result()
E.submit(lambda: 0).result()
list(E.map(abs, 5))
list(E.map(abs, [1], chunksize=0))
list(E.map(abs, [1], chunksize="x"))
list(E.map(abs, ["x"]))
E.submit(signal.pause).result(0.01)
E.shutdown(); E.submit(abs, 1)
E.shutdown(); E.map(abs, [1])
"""

VALUES = """
mp.Value("?x")
mp.Value("xx")
mp.Value(5)
mp.Value("i", "a")
mp.Value("i", 1.5)
mp.Value("i", 1, 2)
mp.Value("i", lock=5)
mp.RawValue("xx")
mp.RawValue("i", "a")
mp.Value("i").value = "a"
mp.Value("i").nothing
mp.Array("xx", 5)
mp.Array("i", -1)
mp.Array("i", "ab")
mp.Array("i", 1.5)
mp.Array("i", None)
mp.Array("i", [1.5])
mp.Array("i", 5, lock=5)
mp.Array("i", 5)[5]
mp.Array("i", 5)["x"]
mp.Array("i", 5)[5] = 1
mp.Array("i", 5)[0] = "x"
mp.Array("i", 5)[0:2] = [1]
mp.Array("i", 5)[0:2] = 5
mp.Array("c", 5).value = "text"
mp.Array("c", 5).value = b"too long"
mp.Array("i", 5).value
mp.RawArray("i", -1)
pickle.dumps(mp.Value("i"))
pickle.dumps(mp.Array("i", 1))
pickle.dumps(mp.RawValue("i"))
sharedctypes.copy(5)
sharedctypes.synchronized(5)
"""

MANAGERS = """
managers.SyncManager().list()
managers.SyncManager().shutdown()
managers.SyncManager().connect()
managers.SyncManager(authkey="text")
managers.SyncManager(serializer="x")
managers.SyncManager(("127.0.0.1", 1), b"key").connect()
managers.SyncManager("/no/such/path", b"key").start()
managers.BaseManager.register("x", proxytype=5); managers.BaseManager().x()
M.start()
M.connect()
M.get_server()
M.nothing
M.list(5)
M.list()[0]
M.list([1])["x"]
M.list([1]).index(2)
M.list([1]).remove(2)
M.list().pop()
M.list([1]).append()
M.list([1]).nothing
M.list([1, "a"]).sort()
M.list([1]).append(lambda: 0)
M.dict()["x"]
M.dict(5)
M.dict().pop("x")
M.dict().popitem()
M.dict()[[]]
M.dict()[[]] = 5
M.dict().update(5)
M.Namespace().x
M.Namespace()._x
del M.Namespace().x
M.Value("xx", 5).value.nothing
M.Value("i")
M.Array("i", [1])[5]
M.Array("i")
M.Array("xx", [1])
M.Queue().get_nowait()
M.Queue(1).put()
q = M.Queue(1); q.put(1); q.put_nowait(2)
M.Queue().get(timeout=-1)
M.JoinableQueue().task_done()
M.Lock().release()
M.RLock().release()
M.Semaphore(-1)
M.BoundedSemaphore(1).release()
M.Condition().notify()
M.Condition().wait(0)
M.Barrier(2).wait(0)
M.Event().nothing
hash(M.list())
M.list() < M.list()
d = M.list(); M.shutdown(); d.append(1)
M.shutdown(); M.list()
M.shutdown(); M.start()
M.__enter__(); M.shutdown(); M.__enter__()
managers.SharedMemoryManager().SharedMemory(5)
"""

KINDS = {
    name: text.strip().splitlines()
    for name, text in {
        "lists": LISTS,
        "segments": SEGMENTS,
        "locks": LOCKS,
        "queues": QUEUES,
        "pipes": PIPES,
        "processes": PROCESSES,
        "pools": POOLS,
        "values": VALUES,
        "managers": MANAGERS,
    }.items()
}

RUNNING = []


class Things(dict):
    """The names in a line, each made when it is first used."""

    def __missing__(self, name):
        make = getattr(self, f"make_{name}", None)
        if make is None:
            raise KeyError(name)
        return make()

    def make_SL(self):
        self["SL"] = made = ShareableList([1, 2.5, "abcdefg", b"abcdefg", None, True])
        return made

    def make_SHUT(self):
        self["SHUT"] = made = ShareableList([1, "x"])
        made.shm.close()
        return made

    def make_SHM(self):
        self["SHM"] = made = SharedMemory(create=True, size=64)
        return made

    def make_CLOSED(self):
        self["CLOSED"] = made = SharedMemory(create=True, size=64)
        made.close()
        return made

    def make_R(self):
        self["R"], self["W"] = mp.Pipe(False)
        return self["R"]

    def make_W(self):
        self.make_R()
        return self["W"]

    def make_P(self):
        self["P"] = made = mp.Pool(1)
        return made

    def make_E(self):
        self["E"] = made = ProcessPoolExecutor(1)
        return made

    def make_M(self):
        self["M"] = made = mp.Manager()
        return made

    def end(self):
        for name, end in (("P", "terminate"), ("M", "shutdown")):
            if name in self:
                getattr(self[name], end)()
        if "E" in self:
            for process in (self["E"]._processes or {}).values():
                process.kill()
            self["E"].shutdown()
        self.pop("held", None)
        for name in ("SL", "SHUT", "SHM", "CLOSED"):
            if name in self:
                segment = self[name].shm if name in ("SL", "SHUT") else self[name]
                try:
                    segment.close()
                    segment.unlink()
                except FileNotFoundError:
                    pass


def what(line):
    """What a line raises: the type's name and the text; or what it is worth."""
    things = Things(globals())
    signal.alarm(SECONDS)
    try:
        try:
            worth = eval(line, {}, things)
        except SyntaxError:
            exec(line, {}, things)
            worth = None
        return "no error", repr(type(worth).__name__)
    except BaseException as error:
        return type(error).__name__, str(error)
    finally:
        things.end()
        while RUNNING:
            process = RUNNING.pop()
            process.kill()
            process.join()
        signal.alarm(0)


def main():
    mp.set_start_method("fork")
    with open(os.devnull, "w") as sys.stderr:
        for line in KINDS[sys.argv[1]]:
            print(json.dumps([line, *what(line)]), flush=True)


if __name__ == "__main__":
    main()
