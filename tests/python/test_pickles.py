"""What a Connection sends and receives is a pickle, also where no pickler wrote or read it."""

import mmap
import pickle
import pickletools
import random
from typing import Any

import pytest
from test_codec import PICKLED, PLAIN, Faults, bits, nested, same

import mproc

NUMBERS = sorted(
    {sign * (1 << n) + step for n in range(64) for sign in (1, -1) for step in (-1, 0, 1)}
)
OTHERS = [
    [],
    {},
    (),
    [1],
    [[]],
    [()],
    {"one": 1},
    {1: {2: {3: [4, (5,)]}}},
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    {("a", 1): [None, True, False], 1.5: b"bytes", None: "text"},
    [float("inf"), -0.0, 1e-300],
    ["", "\u20ac", "\U0001f600", "a\0b", "x" * 255, "y" * 256, "z" * 70000],
    [b"", b"x" * 255, b"y" * 256, b"z" * 70000],
    {f"key{i}": i for i in range(2000)},
    list(range(100000)),
    nested(32),
    [{"same": 1}, {"same": 2}, ["same", "same"]],
]
WRITTEN = [*PLAIN, *OTHERS, *NUMBERS]


@pytest.fixture
def ends():
    one, other = mproc.Pipe()
    with one, other:
        yield one, other


def pickle_of(ends, value: Any) -> bytes:
    """Return what is sent for a value. The connection's other end must have room for it."""
    sender, receiver = ends
    sender.send(value)
    return receiver.recv_bytes()


def small(values: list) -> list:
    return [value for value in values if len(pickle.dumps(value)) < 60000]


def opcodes(data: bytes) -> set[str]:
    return {opcode.name for opcode, _, _ in pickletools.genops(data)}


def test_both_of_pickles_readers_understand_it(ends):
    for value in small(WRITTEN):
        data = pickle_of(ends, value)
        assert same(pickle.loads(data), value)
        assert same(pickle._loads(data), value)


def test_it_comes_back(ends):
    sender, receiver = ends
    for value in small(WRITTEN):
        sender.send(value)
        assert same(receiver.recv(), value)


def test_plain_values_need_no_memo(ends):
    for value in small(PLAIN):
        assert not opcodes(pickle_of(ends, value)) & {"MEMOIZE", "BINGET", "LONG_BINGET"}


def test_what_is_not_plain_is_what_pickle_makes_of_it(ends):
    sender, receiver = ends
    shared: list = [1]
    others = [nested(33), [shared, shared], 1 << 64, -(1 << 63) - 1, "\ud800"]
    for value in [*small(PICKLED), *others]:
        assert pickle_of(ends, value) == pickle.dumps(value, 5)
        sender.send(value)
        assert receiver.recv() == value


def test_an_object_that_occurs_twice_stays_one(ends):
    sender, receiver = ends
    shared: list = []
    sender.send([shared, shared])
    first, second = receiver.recv()
    assert first is second


def test_recursive(ends):
    sender, receiver = ends
    value: list = []
    value.append(value)
    sender.send(value)
    received = receiver.recv()
    assert received[0] is received


def test_pickles_of_all_binary_protocols_are_read(ends):
    sender, receiver = ends
    for value in small([*PLAIN, *OTHERS]):
        for protocol in range(1, pickle.HIGHEST_PROTOCOL + 1):
            sender.send_bytes(pickle.dumps(value, protocol))
            assert same(receiver.recv(), value)


def outcome(read) -> tuple:
    try:
        value = read()
        return repr(value), type(value)
    except Exception as error:
        return type(error), str(error)


def test_broken_pickles(ends):
    """Whatever bytes come, the outcome is pickle's."""
    sender, receiver = ends
    rng = random.Random(1)
    seeds = [pickle_of(ends, value) for value in small(OTHERS)]
    opening = b"()]}aesut\x85\x86\x87NK\x8c\x8a.\x94\x30\x32"
    for _ in range(3000):
        data = bytearray(rng.choice(seeds)[: rng.randrange(3, 200)])
        for _ in range(rng.randrange(4)):
            data[rng.randrange(2, len(data))] = rng.choice(opening)
        data += bytes(rng.choices(opening, k=rng.randrange(3)))
        sender.send_bytes(data)
        assert outcome(receiver.recv) == outcome(lambda data=data: pickle.loads(data)), data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x05",
        b"\x80\x05.",
        b"\x80\x05(.",
        b"\x80\x05](K\x01(e.",
        b"\x80\x05](]K\x01s.",
        b"\x80\x05e.",
        b"\x80\x05K\x01a.",
        b"\x80\x05}(K\x01u.",
        b"\x80\x05}]K\x01s.",
        b"\x80\x05\x8a\x09" + bytes(9) + b".",
        b"\x80\x05\x8a\x00.",
        b"\x80\x05\x8c\x01\xff.",
        b"\x80\x05\x8e" + b"\xff" * 8 + b".",
        b"\x80\x05X\xff\xff\xff\xff.",
        b"\x80\x05K\x01K\x02.",
        b"\x80\x05" + b"(" * 100 + b"t" * 100 + b".",
        b"\x80\x05K\x01.and more",
    ],
)
def test_pickles_that_nobody_writes(ends, data):
    sender, receiver = ends
    sender.send_bytes(data)
    assert outcome(receiver.recv) == outcome(lambda: pickle.loads(data))


def test_a_program_that_pickles_by_a_class_of_its_own(ends):
    sender, receiver = ends

    class Reversed:
        dumps = staticmethod(lambda value: pickle.dumps(["own", value]))
        loads = staticmethod(lambda data: [*pickle.loads(data), "read"])

    mproc._mproc.choose_pickler(Reversed)
    try:
        sender.send(5)
        assert receiver.recv() == ["own", 5, "read"]
    finally:
        mproc._mproc.choose_pickler(None)


def count_faults(connection):
    """Receive bytes, and send how many faults that took; -1: they cannot be counted here."""
    faults = Faults()
    before = faults.read() if faults.exist() else 0
    received = connection.recv()
    taken = faults.read() - before if faults.exist() else -1
    connection.send((taken, received == bytes(range(256)) * (len(received) // 256)))
    faults.close()


@pytest.mark.skipif(not Faults.HAS_HINT, reason="a kernel that does not know the hint")
def test_large_bytes_take_few_faults(ends):
    one, other = ends
    size = 33 << 20  # malloc() never has so much that was used before, and then shared by a fork
    child = mproc.get_context("fork").Process(target=count_faults, args=(other,))
    child.start()
    one.send(bytes(range(256)) * (size >> 8))
    faults, right = one.recv()
    child.join()
    assert right
    if faults < 0:
        pytest.skip("perf_event_open(2) is not allowed")
    assert faults < size // mmap.PAGESIZE / 2


def test_floats_to_the_bit(ends):
    sender, receiver = ends
    for number in (0.0, -0.0, 5e-324, float("nan"), 1 / 3):
        sender.send(number)
        assert bits(receiver.recv()) == bits(number)
