"""What a program finds around it: closed standard streams, limits of the system, settings."""

import itertools
import subprocess
import sys

import pytest

# What the interpreter takes of the address space for itself. A free-threaded one has an allocator
# that reserves a GiB at once.
RESERVED = 1 << 30 if "t" in sys.abiflags else 0

# Tells by a file what happened, since there may be nothing to print to.
PROGRAM = """
import os, sys
import mproc as mp


def double(queue, x, closed):
    for fd, stream in (("1", sys.stdout), ("2", sys.stderr)):
        assert (stream is None) == (fd in closed), f"{fd} is {stream}"
    queue.put(x * 2)


def say_in_vain(fd):
    try:
        os.write(fd, b"a warning that nobody reads" * 200)
    except OSError:
        return
    raise AssertionError(f"something of mproc is descriptor {fd}")


if __name__ == "__main__":
    _, method, out, *closed = sys.argv
    mp.set_start_method(method)
    queue = mp.Queue()
    queue.put(1)
    first, second = mp.Pipe()
    children = [mp.Process(target=double, args=(queue, i, closed)) for i in range(2)]
    for child in children:
        child.start()
    for fd in closed:
        say_in_vain(int(fd))
    for child in children:
        child.join()
    got = [queue.get(timeout=10) for _ in range(3)]
    first.send(got)
    assert sorted(second.recv()) == [0, 1, 2], got
    assert [child.exitcode for child in children] == [0, 0]
    with mp.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    with open(out, "w") as file:
        file.write("done")
"""


def closings():
    return [c for n in (1, 2, 3) for c in itertools.combinations("012", n)]


@pytest.mark.parametrize("closed", closings(), ids="".join)
def test_closed_standard_streams(program, method, closed):
    path, out = program.write("main.py", PROGRAM), program.folder / "out"
    shell = "exec " + '"$@" ' + " ".join(f"{fd}<&-" for fd in closed)
    command = ["/bin/sh", "-c", shell, "sh", sys.executable, path, method, out, *closed]
    done = subprocess.run(command, env=program.env, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.read_text() == "done"


KEEPERS = """
import os, sys, time
import mproc as mp
from mproc.connection import Client, Listener
from mproc.reduction import DupFd


def in_place():
    found = {}
    for fd in range(3):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass
    return found


def look(out, kept):
    kept.append(mp.parent_process().sentinel)
    kept.append(mp.parent_process().is_alive())
    note(out, "child")


def note(out, who):
    deadline = time.monotonic() + 10
    found = in_place()
    while found and time.monotonic() < deadline:  # a thread may have one for a moment
        time.sleep(0.01)
        found = in_place()
    with open(out, "a") as file:
        file.write(f"{who} {found}\\n")


if __name__ == "__main__":
    _, method, out = sys.argv
    mp.set_start_method(method)
    with mp.Manager() as manager:
        kept = [manager.list([1])]
        kept[0].append(2)
        listener = Listener()
        kept.append(Client(listener.address))
        kept.append(listener.accept())
        first, second = mp.Pipe()
        kept.append(DupFd(first.fileno()))
        tracker = mp.resource_tracker.ResourceTracker()
        kept.append(tracker.getfd())
        note(out, "parent")
        child = mp.Process(target=look, args=(out, []))
        child.start()
        child.join()
        tracker._stop()
    note(out, "done")
"""


def test_closed_standard_streams_stay_closed(program, method):
    path, out = program.write("main.py", KEEPERS), program.folder / "out"
    shell = 'exec "$@" <&- >&- 2<&-'
    command = ["/bin/sh", "-c", shell, "sh", sys.executable, path, method, out]
    done = subprocess.run(command, env=program.env, timeout=60, check=False)
    said = out.read_text()
    assert done.returncode == 0, said
    assert said == "parent {}\nchild {}\ndone {}\n"


# ---------------------------------------------------------------- limits and settings

# Sets a limit, or none, and then uses what most programs use.
LIMITED = """
import ctypes, resource, sys
import mproc as mp
import mproc.queues


def give_up_right_to_lift_limits():
    libc = ctypes.CDLL(None, use_errno=True)
    head, sets = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    sets[0] &= ~(1 << 24)  # CAP_SYS_RESOURCE
    sets[1] &= ~(1 << 24)
    assert libc.capset(head, sets) == 0


def double(queue, x):
    queue.put(x * 2)


if __name__ == "__main__":
    method, limit, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if limit == "RLIMIT_FSIZE":
        give_up_right_to_lift_limits()
    if limit != "none":
        resource.setrlimit(getattr(resource, limit), (size, size))
    mp.set_start_method(method)
    try:
        queue = mp.Queue()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        raise SystemExit
    child = mp.Process(target=double, args=(queue, b"x" * 100000))
    child.start()
    assert len(queue.get(timeout=20)) == 200000
    child.join()
    with mp.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    print("done")
"""


@pytest.mark.parametrize(
    ("limit", "size"),
    [("RLIMIT_FSIZE", 20000 << 10), ("RLIMIT_AS", RESERVED + (200000 << 10))],
)
def test_small_limits(program, method, limit, size):
    path = program.write("main.py", LIMITED)
    assert program.output(path, method, limit, size) == "done\n"


def test_a_soft_limit_of_files_may_be_as_low_as_it_likes(program, method):
    """It is the program's own still: neither it nor its children may write larger files."""
    path = program.write(
        "main.py",
        """
import os
import sys
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import mproc as mp


def look(queue):
    queue.put(getrlimit(RLIMIT_FSIZE)[0])
    with open("file", "wb", 0) as file:
        try:
            print(file.write(b"x" * 3000), end=" ")
            print(file.write(b"x" * 3000))
        except OSError as error:
            print(os.strerror(error.errno), flush=True)


if __name__ == "__main__":
    setrlimit(RLIMIT_FSIZE, (1000, getrlimit(RLIMIT_FSIZE)[1]))
    mp.set_start_method(sys.argv[1])
    queue = mp.Queue()
    child = mp.Process(target=look, args=(queue,))
    child.start()
    assert queue.get(timeout=20) == 1000
    child.join()
    assert child.exitcode == 0
    queue.put(b"x" * 30000)
    assert len(queue.get()) == 30000
    look(queue)
    assert queue.get() == 1000
""",
    )
    assert program.output(path, method) == "1000 File too large\n" * 2


@pytest.mark.parametrize(
    ("limit", "size", "text"),
    [
        ("RLIMIT_FSIZE", 1 << 20, "MemoryError: the arena's file needs "),
        ("RLIMIT_NOFILE", 3, "OSError: [Errno 24] the arena needs a descriptor, and RLIMIT_NOFILE"),
    ],
)
def test_the_reason_why_there_is_no_arena(program, limit, size, text):
    said = program.output(program.write("main.py", LIMITED), "fork", limit, size)
    assert said.startswith(text), said
    assert limit in said


@pytest.mark.parametrize("name", ["MPROC_ARENA_LIMIT", "MPROC_ARENA_SPAN"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "64Q", "99999999999999999999"])
def test_settings_that_are_refused(program, name, value):
    program.env[name] = value
    done = program.run(program.write("main.py", LIMITED), "fork", "none", 0)
    assert done.returncode == 0
    assert done.stdout.startswith(f"ValueError: {name}={value}: "), done.stdout
    assert done.stderr.startswith(f"mproc: {name}={value}: "), done.stderr


@pytest.mark.parametrize(
    ("limit", "size"), [("64M", 64 << 20), ("0x4000000", 64 << 20), ("1GiB", 1 << 30)]
)
def test_settings_with_units(program, limit, size):
    program.env["MPROC_ARENA_LIMIT"] = limit
    text = "import mproc\nlock = mproc.Lock()\nprint(mproc._mproc.arena_stat()['limit'])"
    assert program.output(program.write("main.py", text)) == f"{size}\n"


# ---------------------------------------------------------------- core dumps

DUMPED = """
import os, resource, sys
import mproc as mp


def crash(queue):
    queue.get()
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    os.abort()


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    queue = mp.SimpleQueue()
    queue.put(1)
    child = mp.Process(target=crash, args=(queue,))
    child.start()
    child.join()
    print(child.exitcode, mp._mproc.arena_stat()["high_water"])
"""


def test_a_core_dump_leaves_the_arena_out(program, method):
    # At most as large as a small arena, so that a failure costs no disk.
    program.env["MPROC_ARENA_SPAN"] = "512M"
    said = program.output(program.write("main.py", DUMPED), method)
    assert said.split()[0] == "-6"
    sizes = [path.stat().st_size for path in program.folder.glob("core*")]
    assert all(size < RESERVED + (512 << 20) for size in sizes), sizes


# ---- a limit of address space that the program sets later

LIMITED_LATER = """
import resource, sys
import multiprocessing as mp
from multiprocessing import shared_memory

MOST = (1 << 30) + int(sys.argv[2])

def limit():
    resource.setrlimit(resource.RLIMIT_AS, (MOST, MOST))

def limit_by_prlimit():
    resource.prlimit(0, resource.RLIMIT_AS, (MOST, MOST))

def work(size):
    return len(bytearray(size))

def child(queue):
    limit()
    queue.put((work(200 << 20), bytes(1 << 20)))

def use(ctx, initializer=None):
    queue = ctx.Queue()
    process = ctx.Process(target=child, args=(queue,))
    process.start()
    size, data = queue.get()
    assert (size, len(data)) == (200 << 20, 1 << 20)
    process.join()
    assert process.exitcode == 0
    with ctx.Pool(2, initializer) as pool:
        assert pool.map(work, [100 << 20] * 4) == [100 << 20] * 4
    with ctx.Manager() as manager:
        assert dict(manager.dict(a=1)) == {'a': 1}
    segment = shared_memory.SharedMemory(create=True, size=1000)
    segment.close()
    segment.unlink()

def main(ctx):
    for wrong in ((0, ()), ('AS', (1, 1)), (resource.RLIMIT_AS, 5)):
        try:
            resource.setrlimit(*wrong)
        except (TypeError, ValueError):
            continue
        raise AssertionError(wrong)
    use(ctx, limit)
    use(ctx, limit_by_prlimit)
    limit()
    use(ctx)
    assert work(200 << 20) == 200 << 20
    print('all')

if __name__ == '__main__':
    main(mp.get_context(sys.argv[1]))
"""


def test_address_space_is_limited_later(program, method):
    """In a child, in workers, in the main process: as on the standard library."""
    program.write("limited.py", LIMITED_LATER)
    assert program.output("-m", "mproc", "limited.py", method, RESERVED) == "all\n"


LIMITED_BY = """
import sys

def hooks():
    try:
        return None if sys.audit(1) is None else 0
    except TypeError:  # a name that is none is seen only where somebody is told of it
        return 1

assert hooks() is None, 'this interpreter tells in any case'
if sys.argv[1] == 'before':
    from resource import RLIMIT_AS, setrlimit
import mproc
lock = mproc.Lock()
assert (hooks() is None) == (sys.argv[1] == 'after')
if sys.argv[1] == 'after':
    from resource import RLIMIT_AS, setrlimit
    assert hooks() == 1
setrlimit(RLIMIT_AS, (1 << 30, 1 << 30))
print(len(bytearray(200 << 20)))
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="sys.audit() does not show whether there is a hook"
)
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_hook_is_added_for_who_may_limit_address_space(program, order):
    """Each hook costs every open(): there is none before the program imports `resource`."""
    program.write("by.py", LIMITED_BY)
    assert program.output("by.py", order) == "209715200\n"


# The extension adds types late. Each function is the first that asks for one of its kind.
LATE = """
import concurrent.futures, multiprocessing, sys
from multiprocessing import managers, pool, shared_memory, sharedctypes


def double(x):
    return x * 2


def first_executor():
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        return list(executor.map(double, [1, 2]))


def first_pool():
    with multiprocessing.Pool(1) as workers:
        return [*workers.imap(double, [1, 2]), workers.apply(double, (3,))]


def first_threads():
    with pool.ThreadPool(1) as workers:
        return workers.map(double, [1, 2])


def first_list():
    items = shared_memory.ShareableList([1, "a"])
    items.shm.unlink()
    return list(items)


def first_managed():
    with multiprocessing.Manager() as manager:
        return [str(make(iterable)) for make, iterable in (
            (manager.list, [1]), (manager.dict, {1: 2}), (manager.set, [3]),
        )]


def first_result_type():
    return pool.AsyncResult.__name__, sharedctypes.RawArray("i", 1)[0]


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    print(globals()[sys.argv[1]]())
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="before 3.15 imports are done at once")
@pytest.mark.parametrize("which", ["executor", "pool", "threads", "list", "managed", "result_type"])
def test_all_imports_are_late(program, method, which):
    program.write("main.py", LATE)
    arguments = ("-m", "mproc", "main.py", f"first_{which}", method)
    expected = program.output(*arguments)
    program.env["PYTHON_LAZY_IMPORTS"] = "all"
    assert program.output(*arguments) == expected != ""
