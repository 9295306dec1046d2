"""install() after others have imported the standard library's multiprocessing."""

import pytest

LIBRARY = """
import functools
import multiprocessing
import multiprocessing as mp, multiprocessing.pool, multiprocessing.connection as connection
import multiprocessing.managers
from multiprocessing import Process, Queue, Lock, Event, Manager, Pool, get_context, current_process
from multiprocessing.context import BaseContext
from multiprocessing.queues import Empty
from multiprocessing.reduction import ForkingPickler
from concurrent.futures import ProcessPoolExecutor
spawn = get_context("spawn")
make_queue = spawn.Queue
KINDS = (Process, 1)
MAKERS = [Queue, Lock]
BY_NAME = {"event": Event}
class Worker(Process):
    def __init__(self, end):
        super().__init__()
        self.end = end
    def run(self):
        self.end.send(("worked", type(self).__mro__[1].__module__))
class Manager2(multiprocessing.managers.BaseManager):
    pass
class Holder:
    process_class = Process
    @staticmethod
    def make(kind=Process, *, lock=Lock):
        return kind, lock
    class Inner:
        queue = staticmethod(Queue)
def decorate(kind):
    @functools.wraps(kind)
    def wrapper():
        return kind
    return wrapper
wrapped = decorate(Process)
class Point:
    def __init__(self, x): self.x = x
def rebuild(x): return Point(x + 1)
ForkingPickler.register(Point, lambda point: (rebuild, (point.x,)))
"""


@pytest.fixture
def library(program):
    program.write("library.py", LIBRARY)
    return program


def test_names_become_ours(library):
    library.output(
        "-c",
        """
import library, sys
from multiprocessing import *
from multiprocessing import Process as P
import mproc
mproc.install()
assert Process is P is mproc.Process and Queue.__self__ is mproc.context._default_context
l = library
for name in ("Process", "Queue", "Lock", "Event", "Manager", "Pool", "get_context"):
    assert getattr(l, name) == getattr(mproc, name), name
assert l.current_process is mproc.current_process
assert l.multiprocessing is l.mp is mproc and l.connection is mproc.connection
assert l.BaseContext is mproc.context.BaseContext and l.spawn is mproc.get_context("spawn")
assert l.make_queue == l.spawn.Queue
assert l.ForkingPickler is mproc.reduction.ForkingPickler
assert l.ProcessPoolExecutor is mproc.ProcessPoolExecutor
assert l.KINDS == (mproc.Process, 1) and l.MAKERS == [mproc.Queue, mproc.Lock]
assert l.BY_NAME == {"event": mproc.Event}
assert l.Worker.__bases__ == (mproc.Process,)
assert l.Manager2.__bases__ == (mproc.managers.BaseManager,)
assert l.Holder.process_class is mproc.Process
assert l.Holder.make() == (mproc.Process, mproc.Lock) and l.Holder.Inner.queue == mproc.Queue
assert l.wrapped() is mproc.Process
import queue
assert l.Empty is queue.Empty
assert all(m.__name__.startswith("mproc") for n, m in sys.modules.items()
           if n.partition(".")[0] in ("multiprocessing", "_multiprocessing"))
""",
    )


def test_programs_run(library, method):
    library.write(
        "main.py",
        """
import sys
import library
from multiprocessing import Process, Pipe, Queue, Lock, Event, Manager, Pool, set_start_method
import mproc; mproc.install()
def f(q, lock, event):
    with lock: q.put(event.is_set())
def g(point): return point.x
if __name__ == "__main__":
    set_start_method(sys.argv[1])
    q, lock, event = Queue(), Lock(), Event()
    event.set()
    p = Process(target=f, args=(q, lock, event)); p.start(); print(q.get()); p.join()
    reader, writer = Pipe(False)
    w = library.Worker(writer); w.start(); print(reader.recv()); w.join()
    print(p.exitcode, w.exitcode)
    with Manager() as m: print(m.dict(a=1))
    with Pool(1) as pool: print(pool.map(g, [library.Point(1)]))
    with library.ProcessPoolExecutor(1) as e: print(e.submit(abs, -1).result())
""",
    )
    done = library.output("main.py", method)
    assert done == "True\n('worked', 'mproc.context')\n0 0\n{'a': 1}\n[2]\n1\n"


def test_settings_are_kept(program):
    program.output(
        "-c",
        """
import multiprocessing as mp, multiprocessing.util
mp.set_start_method("spawn")
mp.set_executable("/some/python")
mp.set_forkserver_preload(["json"])
mp.current_process().authkey = b"the key"
mp.current_process().name = "Renamed"
logger = mp.log_to_stderr()
import mproc; mproc.install()
import multiprocessing.spawn, multiprocessing.forkserver, multiprocessing.util
assert mp is mproc and mp.get_start_method() == "spawn"
assert multiprocessing.spawn.get_executable() == b"/some/python"
assert multiprocessing.forkserver._forkserver._preload_modules == ["json"]
assert mp.current_process().authkey == b"the key" and mp.current_process().name == "Renamed"
assert mp.get_logger() is logger and multiprocessing.util._log_to_stderr
""",
    )


def test_nothing_is_set_that_the_program_has_not_set(program):
    program.output(
        "-c",
        """
import multiprocessing, mproc; mproc.install()
assert mproc.get_start_method(allow_none=True) is None
mproc.set_start_method("spawn")
""",
    )


# ---- what cannot be


OTHER_BASE = """
from multiprocessing import queues
class Q(queues.SimpleQueue): __slots__ = ('x',)
"""
ONLY_THERE = """
import multiprocessing.util as util
util.only_there = type('T', (), {'__module__': util.__name__})
from multiprocessing.util import only_there
"""


@pytest.mark.parametrize(
    "text, said", [(OTHER_BASE, "library.Q"), (ONLY_THERE, "multiprocessing.util.only_there")]
)
def test_what_cannot_be_replaced(program, text, said):
    """install() says which module has imported what, and nothing is changed."""
    program.write("library.py", text)
    program.output(
        "-c",
        f"""
import library, multiprocessing, sys
from multiprocessing import Process
import mproc, mproc._mproc  # which is in sys.meta_path from now on
before = Process, sys.modules["multiprocessing"], list(sys.meta_path)
try: mproc.install()
except RuntimeError as error:
    assert {said!r} in str(error) and "library" in str(error), error
    assert "python -m mproc" in str(error)
else: raise AssertionError
assert not mproc.installed()
assert before == (Process, sys.modules["multiprocessing"], list(sys.meta_path))
p = Process(target=print, args=("still works",), name="x")
""",
    )


def test_processes_of_the_standard_library_that_run(program):
    program.output(
        "-c",
        """
import multiprocessing, time, mproc
p = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)); p.start()
try: mproc.install()
except RuntimeError as error: assert "was started by the standard" in str(error)
else: raise AssertionError
p.kill(); p.join()
mproc.install()
""",
    )


# ---- objects of the standard library beside mproc


def test_its_queue_in_a_forked_child(program):
    """What is put is sent before the child ends, as by a child of its own."""
    program.output(
        "-c",
        """
import multiprocessing, mproc
queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
def f(n):
    with lock: queue.put(n)
ctx = mproc.get_context("fork")
for n in range(5):
    p = ctx.Process(target=f, args=(n,)); p.start(); p.join()
    assert p.exitcode == 0
assert sorted(queue.get(timeout=60) for _ in range(5)) == list(range(5))
mproc.install()
for n in range(5):
    p = ctx.Process(target=f, args=(n,)); p.start(); p.join()
assert sorted(queue.get(timeout=60) for _ in range(5)) == list(range(5))
""",
    )


def test_its_semaphores_are_unregistered_in_the_end(program):
    """Named ones, whose tracker warns of those that nobody has unregistered."""
    program.output(
        "-c",
        """
import multiprocessing, mproc
ctx = multiprocessing.get_context("spawn")
kept = [ctx.Lock(), ctx.Queue(), ctx.Event()]
mproc.install()
mproc.resource_tracker.unregister("mproc_not_registered", "shared_memory")
""",
    )


def test_its_tracker_is_that_of_forked_children(program):
    """A child with a tracker of its own would remove at its end what it has attached."""
    assert program.output(
        "-c",
        """
import mproc, os
from multiprocessing import resource_tracker, shared_memory
tracker = resource_tracker._resource_tracker
segment = shared_memory.SharedMemory(create=True, size=1)
def pipe(): return os.readlink(f"/proc/self/fd/{tracker._fd}")
def f():
    mine = shared_memory.SharedMemory(segment.name)
    mine.close()
    print(pipe() == its_pipe, flush=True)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
its_pipe = pipe()
for _ in range(2):
    p = mproc.get_context("fork").Process(target=f); p.start(); p.join()
assert p.exitcode == 0
shared_memory.SharedMemory(segment.name).close()
segment.close(); segment.unlink()
"""
    ) == "True\nTrue\n"  # fmt: skip


def test_its_at_fork_functions_and_finalizers(program):
    program.output(
        "-c",
        """
import multiprocessing.util as util, os, mproc
reader, writer = os.pipe()
class C: pass
c = C()
util.register_after_fork(c, lambda c: os.write(writer, b"forked "))
util.Finalize(None, os.write, (writer, b"parent's "), exitpriority=1)
def f(): util.Finalize(None, os.write, (writer, b"child's "), exitpriority=1)
p = mproc.get_context("fork").Process(target=f); p.start(); p.join()
assert os.read(reader, 100) == b"forked child's ", p
os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
""",
    )


@pytest.mark.parametrize("other", ["spawn", "forkserver"])
def test_its_objects_are_refused_elsewhere(program, other):
    """They cannot be sent to a process that is no copy; the error says whose they are."""
    program.write(
        "main.py",
        f"""
import multiprocessing, mproc
def f(q): pass
if __name__ == "__main__":
    p = mproc.get_context({other!r}).Process(target=f, args=(multiprocessing.Queue(),))
    try: p.start()
    except RuntimeError as error:
        print(*error.__notes__)
""",
    )
    printed = program.output("main.py")
    assert "args[0]" in printed and "standard library's multiprocessing" in printed


# ---- uninstall()


def test_uninstall(program, method):
    program.write(
        "main.py",
        """
import sys, mproc, concurrent.futures
mproc.uninstall()
assert not mproc.installed()
mproc.install()
assert mproc.installed()
import multiprocessing.queues, _multiprocessing
ours = multiprocessing, concurrent.futures.ProcessPoolExecutor
mproc.uninstall()
assert not mproc.installed()
import multiprocessing.queues
assert multiprocessing is not mproc and multiprocessing.queues.__name__ == "multiprocessing.queues"
assert concurrent.futures.ProcessPoolExecutor is not ours[1]
def f(q):
    import multiprocessing
    q.put((multiprocessing.__name__, mproc.installed()))
if __name__ == "__main__":
    ctx = mproc.get_context(sys.argv[1])
    q = ctx.SimpleQueue()
    p = ctx.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join()
    mproc.install()
    import multiprocessing
    assert multiprocessing is mproc
""",
    )
    assert program.output("main.py", method) == "('multiprocessing', False)\n"
