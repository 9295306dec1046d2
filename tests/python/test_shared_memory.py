"""SharedMemory, ShareableList: alone, between processes, with stock Python, after deaths."""

import contextlib
import mmap
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

import mproc
from mproc import _mproc, shared_memory
from mproc.shared_memory import ShareableList, SharedMemory

PLACE = Path("/dev/shm")
ITEMS = [
    "howdy",
    b"HoWdY",
    -273.154,
    100,
    None,
    True,
    "x" * 9,
    "",
    b"",
    b"12345678",
    False,
    "é" * 5,
]


def remove(name):
    with contextlib.suppress(FileNotFoundError):
        _mproc.Segment.unlink(name)


@pytest.fixture
def name():
    """A name of a segment, which is gone afterwards."""
    name = f"mproc_{uuid.uuid4().hex[:12]}"
    yield name
    remove(name)


@pytest.fixture
def shm():
    """A segment of 1000 bytes."""
    shm = SharedMemory(create=True, size=1000)
    name = shm.name
    yield shm
    remove(name)
    shm.close()


@pytest.fixture
def sl():
    """A list of all kinds of items."""
    sl = ShareableList(ITEMS)
    yield sl
    remove(sl.shm.name)
    sl.shm.close()


@pytest.fixture(scope="module", autouse=True)
def watcher():
    """The family's first segment starts its watcher: not in the middle of a test."""
    shm = SharedMemory(create=True, size=1)
    shm.unlink()
    shm.close()


def stock(code, *args):
    """Run code in a process that has never heard of mproc; return what it prints."""
    command = [sys.executable, "-I", "-c", textwrap.dedent(code), *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def launch(code, *args, **options):
    """Start a program that uses mproc and is a family of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code), *args]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def until_gone(name):
    while (PLACE / name).exists():
        time.sleep(0.002)


# ---- segments


def test_a_segment_is_shared_by_name(name):
    one = SharedMemory(name, create=True, size=512)
    two = SharedMemory(name)
    assert (one.name, one.size, len(one.buf), two.size) == (name, 512, 512, 512)
    assert bytes(two.buf) == bytes(512)
    one.buf[500:505] = b"hello"
    assert bytes(two.buf[500:505]) == b"hello"
    assert repr(one) == f"SharedMemory('{name}', size=512)"
    assert one.buf is one.buf
    two.close()
    assert two.buf is None
    two.close()
    one.close()
    assert (PLACE / name).exists()
    one.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        one.unlink()
    assert caught.value.filename == f"/{name}"


def test_made_up_names_avoid_what_is_there(monkeypatch, name):
    names = [f"/{name}", f"/{name}", f"/{name}b"]
    monkeypatch.setattr(shared_memory, "_make_filename", lambda: names.pop(0))
    a = SharedMemory(create=True, size=1)
    b = SharedMemory(create=True, size=1)
    assert (a._name, b._name, names) == (f"/{name}", f"/{name}b", [])
    for shm in (a, b):
        shm.unlink()
        shm.close()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ValueError, "'name' can only be None if create=True"),
        ({"create": True}, ValueError, "different from zero"),
        ({"create": True, "size": 0}, ValueError, "different from zero"),
        ({"create": True, "size": -1}, ValueError, "'size' must be a positive integer"),
        ({"name": "mproc_nobody"}, FileNotFoundError, "/mproc_nobody"),
        ({"name": "mproc\0x"}, ValueError, "null"),
        ({"name": "mproc\0x", "create": True, "size": 1}, ValueError, "null"),
        ({"name": "a/b", "create": True, "size": 1}, OSError, "/a/b"),
        ({"name": "", "create": True, "size": 1}, OSError, "Invalid argument"),
        ({"name": "x" * 300, "create": True, "size": 1}, OSError, "too long"),
        ({"create": True, "size": "a"}, TypeError, "str"),
        ({"name": 5, "create": True, "size": 1}, TypeError, "str"),
        ({"name": 5}, TypeError, "str"),
        ({"create": True, "size": 1 << 60}, OSError, "No space left"),
    ],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        SharedMemory(**arguments)


def test_the_name_is_taken(shm):
    with pytest.raises(FileExistsError, match=shm.name):
        SharedMemory(shm.name, create=True, size=1)


def test_unlink_of_a_name_with_a_null(shm):
    shm._name += "\0a"
    with pytest.raises(ValueError, match="null"):
        shm.unlink()


def test_close_waits_for_no_view_but_tells_of_it(shm):
    view = shm.buf[10:20]
    with pytest.raises(BufferError):
        shm.close()
    view[0] = 1
    view.release()
    shm.close()


def test_a_view_outlives_the_object(shm):
    view = SharedMemory(shm.name).buf
    view[0] = 7
    assert shm.buf[0] == 7


def test_an_empty_file_is_no_segment(name):
    (PLACE / name).touch()
    with pytest.raises(ValueError, match=f"/{name}' is empty"):
        SharedMemory(name)


def test_pickling(shm):
    shm.buf[:3] = b"abc"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(shm, protocol))
        assert (copy.name, copy.size, bytes(copy.buf[:3])) == (shm.name, 1000, b"abc")
        copy.close()
    data = pickle.dumps(shm)
    shm.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(data)


def write(shm, data):
    shm.buf[: len(data)] = data
    shm.close()


def attach_and_write(name, data):
    write(SharedMemory(name), data)


def test_children_by_name_and_by_object(ctx, shm):
    for target, argument, data in ((attach_and_write, shm.name, b"howdy"), (write, shm, b"HELLO")):
        process = ctx.Process(target=target, args=(argument, data))
        process.start()
        process.join()
        assert (process.exitcode, bytes(shm.buf[:5])) == (0, data)
        process.close()
    assert (PLACE / shm.name).exists()


def make_and_send(connection):
    shm = SharedMemory(create=True, size=10)
    shm.buf[:2] = b"ok"
    connection.send(shm.name)


def test_a_segment_outlives_the_child_that_made_it(ctx):
    here, there = mproc.Pipe()
    process = ctx.Process(target=make_and_send, args=(there,))
    process.start()
    shm = SharedMemory(here.recv())
    process.join()
    assert bytes(shm.buf[:2]) == b"ok"
    shm.unlink()
    shm.close()
    process.close()
    here.close()
    there.close()


def test_the_standard_library_attaches_ours(shm):
    shm.buf[:5] = b"hello"
    code = """
        import sys
        from multiprocessing import resource_tracker
        from multiprocessing.shared_memory import SharedMemory
        shm = SharedMemory(sys.argv[1])
        resource_tracker.unregister("/" + sys.argv[1], "shared_memory")
        print(bytes(shm.buf[:5]), shm.size)
        shm.buf[:5] = b"other"
        shm.close()
    """
    assert stock(code, shm.name) == "b'hello' 1000\n"
    assert bytes(shm.buf[:5]) == b"other"


def test_we_attach_the_standard_librarys(name):
    code = """
        import sys
        from multiprocessing.shared_memory import SharedMemory
        shm = SharedMemory(sys.argv[1], create=True, size=5000)
        shm.buf[4990:4995] = b"hello"
        print("made", flush=True)
        sys.stdin.readline()
        print(bytes(shm.buf[:5]))
        shm.close()
        shm.unlink()
    """
    command = [sys.executable, "-I", "-c", textwrap.dedent(code), name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "made\n"
        shm = SharedMemory(name)
        assert (shm.size, bytes(shm.buf[4990:4995])) == (5000, b"hello")
        shm.buf[:5] = b"other"
        shm.close()
        out, err = process.communicate("\n", timeout=60)
    assert (out, err) == ("b'other'\n", "")


def test_numpy_arrays(shm):
    np = pytest.importorskip("numpy")
    original = np.arange(100, dtype=np.float64)
    array = np.ndarray(original.shape, dtype=original.dtype, buffer=shm.buf)
    array[:] = original
    other = SharedMemory(shm.name)
    np.ndarray((100,), dtype=np.float64, buffer=other.buf)[:] *= 2
    other.close()
    assert (array == original * 2).all()
    del array


# ---- unlinking


ATTACH = """
    import sys
    from mproc.shared_memory import SharedMemory
    shm = SharedMemory(sys.argv[1], track=len(sys.argv) == 2)
    shm.buf[0] += 1
    other = SharedMemory(create=True, size=1)
    other.unlink()
    if len(sys.argv) == 3 and sys.argv[2] == "killed":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", [(), ("untracked",), ("killed",)])
def test_whoever_merely_attaches_unlinks_nothing(shm, how):
    process = launch(ATTACH, shm.name, *how)
    out, err = process.communicate(timeout=60)  # err ends when the watcher has
    assert (out, err, shm.buf[0]) == ("", "", 1)
    assert (PLACE / shm.name).exists()


MAKE = """
    import os, signal, sys, time
    import mproc
    from mproc.shared_memory import SharedMemory

    def idle(connection):
        connection.send(1)
        time.sleep(600)

    if __name__ == "__main__":
        shm = SharedMemory(create=True, size=10)
        if sys.argv[1] == "child":
            here, there = mproc.Pipe()
            mproc.get_context("fork").Process(target=idle, args=(there,), daemon=True).start()
            here.recv()
        print(shm.name, flush=True)
        if sys.argv[1] == "exit":
            sys.exit()
        if sys.argv[1] == "unlink":
            shm.unlink()
            sys.exit()
        time.sleep(600)
"""
LEAKED = (
    "resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown"
)


@pytest.mark.parametrize("how", ["kill", "group", "child"])
def test_a_killed_familys_segment_is_unlinked(how):
    process = launch(MAKE, how, start_new_session=True)
    name = process.stdout.readline().strip()
    assert (PLACE / name).exists()
    if how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    _, err = process.communicate(timeout=60)
    until_gone(name)
    assert LEAKED in err
    assert name in err


def test_what_was_forgotten_is_unlinked_and_named():
    process = launch(MAKE, "exit")
    out, err = process.communicate(timeout=60)
    until_gone(out.strip())
    assert LEAKED in err


def test_what_was_unlinked_is_not_complained_of():
    process = launch(MAKE, "unlink")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err, (PLACE / out.strip()).exists()) == (0, "", False)


def test_an_untracked_segment_outlives_the_family(name):
    code = """
        import sys
        from mproc.shared_memory import SharedMemory
        shm = SharedMemory(sys.argv[1], create=True, size=10, track=False)
        shm.buf[0] = 5
        SharedMemory(create=True, size=1).unlink()
    """
    process = launch(code, name)
    assert process.communicate(timeout=60) == ("", "")
    shm = SharedMemory(name)
    assert shm.buf[0] == 5
    shm.close()


def test_types_are_made_when_asked_for():
    code = """
        import mproc
        mproc.Queue().put(1)
        mproc.Lock()
        from mproc import _mproc
        late = {"Segment", "ShareableList", "Memory", "Synchronized", "SemLock"}
        late |= {"Connection", "Template", "Barrier"}
        assert late.isdisjoint(vars(_mproc))
        assert not hasattr(_mproc, "__path__")  # the import system asks for it
        assert late.isdisjoint(vars(_mproc))
        segment = _mproc.Segment
        assert late & set(vars(_mproc)) == {"Segment"}  # no type comes with another's name
        for name in late:
            assert getattr(_mproc, name) is vars(_mproc)[name], name
        try:
            _mproc.nothing
        except AttributeError as error:
            assert str(error) == "module 'mproc._mproc' has no attribute 'nothing'", error
        assert segment is _mproc.Segment
        from mproc import shared_memory
        assert shared_memory.Segment is segment
    """
    assert launch(code).communicate(timeout=60) == ("", "")


def test_no_room(tmp_path):
    code = """
        import errno, os, sys
        from mproc.shared_memory import ShareableList, SharedMemory
        a = SharedMemory("a", create=True, size=600_000)
        b = SharedMemory("b", create=True, size=600_000)  # nobody has used either yet
        a.buf[:] = bytes(600_000)
        for use in (
            lambda: b.buf,
            lambda: SharedMemory("c", create=True, size=600_000),
            lambda: ShareableList(["x" * 600_000]),
        ):
            try:
                use()
            except OSError as error:
                print(errno.errorcode[error.errno], error.filename[:2])
        print(sorted(os.listdir("/dev/shm")))
        a.unlink()
        a.close()
        b.buf[:] = bytes(600_000)
        b.unlink()
    """
    mount = "mount -t tmpfs -o size=1m small /dev/shm"
    quoted = textwrap.dedent(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(mproc.__file__).parents[1])}
    script = f'{mount} || exit 77; exec "$0" -c "$1"'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, quoted],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    if result.returncode in (1, 77) and "ermitted" in result.stderr:
        pytest.skip("may not mount a small /dev/shm")
    assert result.stderr == ""
    assert result.stdout == "ENOSPC /b\nENOSPC /c\nENOSPC /d\n['a', 'b']\n"


# ---- lists


def test_a_list_of_all_kinds(sl):
    assert list(sl) == ITEMS
    assert [type(item) for item in sl] == [type(item) for item in ITEMS]
    assert len(sl) == len(ITEMS)
    assert (sl[-1], sl[True]) == ("é" * 5, b"HoWdY")
    assert sl.format == "8s8sdqxxxxxx?xxxxxxxx?16s8s8s16sxxxxxxx?16s"
    assert sl._get_packing_format(6) == "16s"
    assert repr(sl) == f"ShareableList({ITEMS}, name='{sl.shm.name}')"


def test_items_change_also_their_type(sl):
    sl[3] = "some"
    sl[0] = 2**63 - 1
    sl[1] = -(2**63)
    sl[2] = None
    sl[4] = 1.5
    sl[5] = b"12345678"
    sl[6] = "x" * 16
    assert list(sl)[:7] == [2**63 - 1, -(2**63), None, "some", 1.5, b"12345678", "x" * 16]
    assert sl.format.startswith("qqxxxxxx?x8sd8s16s")
    sl[6] = "y"
    assert sl[6] == "y"
    assert list(sl)[7:] == ITEMS[7:]


@pytest.mark.parametrize(
    ("index", "value", "error", "words"),
    [
        (0, "far too many", ValueError, "bytes/str item exceeds available storage"),
        (0, "encodées", ValueError, "bytes/str item exceeds available storage"),
        (1, b"123456789", ValueError, "bytes/str item exceeds available storage"),
        (3, 2**63, struct.error, "argument out of range"),
        (3, -(2**63) - 1, struct.error, "argument out of range"),
        (3, [], KeyError, "<class 'list'>"),
        (3, bytearray(b"x"), KeyError, "<class 'bytearray'>"),
        (12, 1, IndexError, "assignment index out of range"),
        (-13, 1, IndexError, "assignment index out of range"),
        (1 << 80, 1, IndexError, "int"),
        ("a", 1, TypeError, "not str"),
        (slice(0, 2), 1, TypeError, "not slice"),
        (1.0, 1, TypeError, "not float"),
    ],
)
def test_a_refused_item_changes_nothing(sl, index, value, error, words):
    before = bytes(sl.shm.buf)
    with pytest.raises(error, match=words):
        sl[index] = value
    assert bytes(sl.shm.buf) == before


def test_bad_reads_and_makings(sl):
    for index in (12, -13):
        with pytest.raises(IndexError, match="index out of range"):
            sl[index]
    with pytest.raises(TypeError, match="not str"):
        sl["a"]
    with pytest.raises(AttributeError, match="__delitem__") as caught:
        del sl[0]
    assert caught.value.__notes__ == ["a ShareableList has a fixed length"]
    with pytest.raises(KeyError, match="<class 'tuple'>") as caught:
        ShareableList([()])
    assert "bytes or None" in caught.value.__notes__[0]
    with pytest.raises(struct.error, match="argument out of range") as caught:
        ShareableList([2**63])
    assert "64 bits" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="str"):
        ShareableList([1], name=5)
    with pytest.raises(TypeError, match="not iterable"):
        ShareableList(5)
    with pytest.raises(ValueError, match="9999999"):
        ShareableList(["x" * 10_000_000])
    with pytest.raises(FileNotFoundError):
        ShareableList(name="mproc_nobody")


def test_long_texts(name):
    texts = ["x" * 255, "é" * 5000, b"\0y" * 100_000]
    sl = ShareableList(texts, name=name)
    assert list(sl) == texts
    sl[1] = "è" * 5000
    sl[2] = b"z" * 200_000
    assert list(sl) == [texts[0], "è" * 5000, b"z" * 200_000]
    sl.shm.close()


def test_a_list_takes_any_iterable_once():
    sl = ShareableList(n * n for n in range(5))
    assert list(sl) == [0, 1, 4, 9, 16]
    sl.shm.unlink()
    sl.shm.close()


def change_for_ever(sl, connection):
    for n in range(1 << 60):
        sl[1] = 7 if n % 5 == 4 else chr(ord("a") + n % 26) * (50 + n % 50)
        if n == 1000:
            connection.send("busy")


def is_whole(item):
    return item == 7 or len(set(item)) == 1


def test_items_are_whole_when_their_writers_are_killed(ctx):
    sl = ShareableList([1, "a" * 100, 3])
    for _ in range(5):
        here, there = mproc.Pipe()
        process = ctx.Process(target=change_for_ever, args=(sl, there))
        process.start()
        assert here.recv() == "busy"
        for _ in range(2000):
            assert is_whole(sl[1])
        process.kill()
        process.join()
        process.close()
        assert (sl[0], sl[2]) == (1, 3)
        assert is_whole(sl[1])
        sl[1] = "a" * 100  # nobody is stuck
        here.close()
        there.close()
    sl.shm.unlink()
    sl.shm.close()


# The standard library's words.
NOT_IN = (
    r"ShareableList\.index\(x\): x not in list"
    if sys.version_info >= (3, 14)
    else "{} not in this container"
)


def test_count_and_index(sl):
    sl[2] = 100
    assert (sl.count(100), sl.count("nobody"), sl.index(100), sl.index("howdy")) == (2, 0, 2, 0)
    assert (sl.count(value=100), sl.index(value=100)) == (2, 2)
    with pytest.raises(ValueError, match=NOT_IN.format("'nobody'")):
        sl.index("nobody")


def test_the_empty_list():
    sl = ShareableList()
    other = ShareableList(name=sl.shm.name)
    assert (len(other), list(other), other.format, other.count(1)) == (0, [], "", 0)
    with pytest.raises(ValueError, match=NOT_IN.format(None)):
        other.index(None)
    other.shm.close()
    with pytest.raises(TypeError, match="bytes-like object is required") as caught:
        other[0]
    assert caught.value.__notes__ == ["the list's shared memory is closed"]
    sl.shm.unlink()
    sl.shm.close()


def test_a_copy_of_a_list_is_as_roomy(sl, name):
    sl[0] = "encodés"
    copy = ShareableList(sl, name=name)
    assert (list(copy), copy.format, copy.shm.name) == (list(sl), sl.format, name)
    copy.shm.close()


def test_pickled_lists_are_the_same_list(sl):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(sl, protocol))
        copy[3] = protocol
        assert sl[3] == protocol
        copy.shm.close()


def add_up(sl, i):
    sl[i] = sum(item for item in sl if isinstance(item, int))
    sl.shm.close()


def test_lists_and_children(ctx, sl):
    process = ctx.Process(target=add_up, args=(sl, 4))
    process.start()
    process.join()
    assert sl[4] == 101
    process.close()


def test_a_segment_that_holds_no_list(shm):
    rng = random.Random(7)
    for _ in range(2000):
        n = rng.choice([0, 1, 2, 3, 5, 100, 2**31, 2**63])
        noise = [rng.choice([0, 8, 16, 24, 800, 960, 2**40, 2**64 - 8]) for _ in range(40)]
        data = b"".join(word.to_bytes(8, "little") for word in (n, *noise))
        shm.buf[: len(data)] = data
        with contextlib.suppress(ValueError):
            sl = ShareableList(name=shm.name)
            for i in range(len(sl)):
                sl[i] = i
                assert sl[i] == i


def test_unknown_formats(sl):
    offset = 8 * (len(ITEMS) + 2) + int.from_bytes(sl.shm.buf[8 * 13 : 8 * 14], "little")
    sl.shm.buf[offset : offset + 8] = b"12345678"
    with pytest.raises(ValueError, match="12345678"):
        sl[0]
    assert sl[1] == ITEMS[1]


READ = """
    import sys
    from multiprocessing import resource_tracker
    from multiprocessing.shared_memory import ShareableList
    sl = ShareableList(name=sys.argv[1])
    resource_tracker.unregister("/" + sys.argv[1], "shared_memory")
    print(list(sl), sl.format)
    sl[0], sl[3], sl[4], sl[5] = 5, "abc", "str", None
    sl.shm.close()
"""


def test_the_standard_library_uses_our_list(sl):
    form = sl.format
    assert stock(READ, sl.shm.name) == f"{ITEMS} {form}\n"
    assert list(sl)[:7] == [5, b"HoWdY", -273.154, "abc", "str", None, "x" * 9]


ZEROS = [b"\0", "a\0", b"\0\0\0", "abc\0\0", b"12345678\0", bytes(50), "\0a", b"\0" * 8]


def test_zeros_at_the_end(name):
    """They are part of the item, however it came into the list; copies have them, too."""
    sl = ShareableList([*ZEROS, 7], name=name)
    try:
        assert list(sl) == [*ZEROS, 7]
        assert [sl.index(item) for item in ZEROS] == list(range(len(ZEROS)))
        assert sl.count(b"\0") == 1 and sl.count("a") == 0
        sl[5] = b"x" * 50
        for item in ZEROS:
            sl[5] = item
            assert sl[5] == item and sl[6] == ZEROS[6]
        sl[5] = b"x" * 50
        assert sl[5] == b"x" * 50
        copy = ShareableList(sl)
        assert list(copy) == list(sl)
        copy.shm.unlink()
        copy.shm.close()
    finally:
        sl.shm.unlink()
        sl.shm.close()


def test_zeros_at_the_end_and_the_standard_library(name):
    """It drops them, as it drops those of its own lists, and its assignments do no harm."""
    sl = ShareableList([b"abc\0", b"12345678\0", "x\0"], name=name)
    try:
        code = """
            import sys
            from multiprocessing import resource_tracker
            from multiprocessing.shared_memory import ShareableList
            sl = ShareableList(name=sys.argv[1])
            resource_tracker.unregister("/" + sys.argv[1], "shared_memory")
            print(list(sl))
            sl[0], sl[1] = b"1234567", b"x" * 15
            print(list(sl))
            sl.shm.close()
        """
        before, after = "[b'abc', b'12345678', 'x']", f"[b'1234567', {b'x' * 15}, 'x']"
        assert stock(code, name) == f"{before}\n{after}\n"
        assert list(sl) == [b"1234567", b"x" * 15, "x\0"]
    finally:
        sl.shm.unlink()
        sl.shm.close()


MAKE_LIST = """
    import ast, sys
    from multiprocessing.shared_memory import ShareableList
    sl = ShareableList(ast.literal_eval(sys.argv[1]), name=sys.argv[2])
    print(sl.format, flush=True)
    for line in sys.stdin:
        i, value = ast.literal_eval(line)
        sl[i] = value
        print(list(sl), flush=True)
    sl.shm.close()
    sl.shm.unlink()
"""


def test_lists_are_alike_byte_by_byte(name):
    """The standard library makes a list and changes it; so do we; its bytes are the same."""
    items = ITEMS[:-1]  # it has no room for the last one
    rng = random.Random(5)
    values = [1, -5, 2.5, True, False, None, "abc", b"xyz", "", b"", "12345678"]
    mine = ShareableList(items)
    command = [sys.executable, "-I", "-c", textwrap.dedent(MAKE_LIST), repr(items), name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == mine.format
        theirs = ShareableList(name=name)
        n = theirs.shm.size  # behind which ours has room for the item that is being changed
        assert bytes(theirs.shm.buf) == bytes(mine.shm.buf[:n])
        for _ in range(100):
            change = (rng.randrange(len(items)), rng.choice(values))
            process.stdin.write(f"{change}\n")
            process.stdin.flush()
            mine[change[0]] = change[1]
            assert process.stdout.readline().strip() == repr(list(mine)) == repr(list(theirs))
            assert theirs.format == mine.format
        theirs.shm.close()
        process.stdin.close()
        process.wait(60)
    mine.shm.unlink()
    mine.shm.close()


def test_the_memory_is_given_back():
    before = _mproc.arena_stat()["used"]
    for i in range(200):
        sl = ShareableList([i, "x" * i])
        sl.shm.unlink()
        sl.shm.close()
    assert _mproc.arena_stat()["used"] == before


def test_plain_mmap_sees_the_same_bytes(shm):
    shm.buf[:4] = b"1234"
    with (PLACE / shm.name).open("r+b") as file, mmap.mmap(file.fileno(), 0) as other:
        assert other[:4] == b"1234"
