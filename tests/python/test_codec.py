"""The message codec: what goes in comes out as pickle would have kept it."""

import array
import collections
import copyreg
import ctypes
import datetime
import decimal
import enum
import functools
import gc
import importlib.machinery
import importlib.util
import mmap
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import sysconfig
import threading
import tracemalloc
import types
import unittest
import weakref
from typing import Any

from mproc import _mproc
from mproc._mproc import dumps, is_plain, loads

try:
    import _testcapi
except ImportError:
    _testcapi = None

TUPLE, PICKLE, LONG_PICKLE = b"T", b"P", b"L"
DEPTH, READ_DEPTH, LEND, SEEN, LONG_TEXT = 32, 256, 4096, 32, 256


def bits(value: float) -> int:
    return struct.unpack(">Q", struct.pack(">d", value))[0]


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, in the same order, down to the bits of a float."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return bits(a) == bits(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    return bool(a == b)


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Blob(bytes):
    pass


class Row(list):
    pass


class Count(int):
    pass


class Ratio(float):
    pass


Point = collections.namedtuple("Point", "x y")


class Box:
    """A picklable object that holds another, and can be referred to weakly."""

    def __init__(self, content: Any = None) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.content == other.content

    __hash__ = object.__hash__


class Letter:
    """Its pickle is made while another pickle is made."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce__(self) -> tuple:
        return Letter, (loads(dumps(self.content)),)


class Yielding:
    """Lets other threads run while it is pickled."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce__(self) -> tuple:
        pause = threading.Event()
        threading.Timer(0, pause.set).start()
        pause.wait()
        return Yielding, (self.content,)


class Failing:
    def __reduce__(self) -> tuple:
        raise KeyError("not me")


def explode() -> None:
    raise LookupError("not here")


grabbed: list = []


def grab() -> None:
    grabbed.extend(o for o in gc.get_objects() if type(o) is memoryview)


class Grabbing:
    """Its unpickling lays hands on the view of the message."""

    def __reduce__(self) -> tuple:
        return grab, ()


class Exploding:
    def __reduce__(self) -> tuple:
        return explode, ()


RECORD = {
    "id": 123456,
    "name": "alpha-beta",
    "value": 3.14159,
    "tags": ["x", "y", "z"],
    "ok": True,
    "parent": None,
}

INTS = [s * 2**k + d for k in range(64) for s in (1, -1) for d in (-1, 0, 1)]
INTS.remove(-(2**63) - 1)
FLOATS = [0.0, -0.0, 1.5, -1e308, 5e-324, float("inf"), float("-inf"), float("nan")] + [
    struct.unpack(">d", struct.pack(">Q", b))[0] for b in (0x7FF8000000000123, 0xFFF800000000FFFF)
]
SIZES = [0, 1, 31, 32, 255, 256, LEND - 1, LEND, LEND + 1, 65535, 65536]

PLAIN: list = [
    None,
    True,
    False,
    *INTS,
    2**63,
    2**64 - 1,
    *FLOATS,
    *["t" * n for n in SIZES],
    *["\u00e9\u20ac\U0001f600" * n for n in (1, 3, 40, 2000)],
    "\0",
    *[b"b" * n for n in SIZES],
    (),
    [],
    {},
    (1, 2),
    ((), [()], {}),
    *[list(range(n)) for n in (1, 15, 16, 65535, 65536)],
    *[tuple(range(n)) for n in (1, 15, 16, 300, 65535, 65536)],
    *[{i: str(i) for i in range(n)} for n in (1, 15, 16, 65535, 65536)],
    RECORD,
    {"z": 1, "a": 2, "m": 3},
    {1: "int", "1": "text", b"1": "bytes", (1, "x"): "tuple", None: 0, 2.5: 1, False: 2},
    {"k" * 31: 1, "k" * 32: 2, "\u00e9": 3, "": 4},
    ("f", ([1.5, None], {"k": (b"v" * 5000, "w" * 5000)}), b"end"),
]

PICKLED: list = [
    2**64,
    -(2**63) - 1,
    10**100,
    "\ud800",
    "x" * 5000 + "\udfff",
    [1, "\ud800"],
    {1, 2},
    frozenset({3}),
    bytearray(b"abc"),
    bytearray(b"abc" * 100000),
    1 + 2j,
    range(5),
    int,
    len,
    explode,
    Colour.RED,
    Text("text"),
    Blob(b"blob"),
    Row([1]),
    Count(7),
    Ratio(1.5),
    Point(1, 2),
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.defaultdict(list, a=[1]),
    collections.Counter("abca"),
    decimal.Decimal("1.50"),
    datetime.date(2020, 2, 29),
    Box([1, 2]),
    [Box(b"z" * 100000), "y" * 100000, [b"q" * 5000]],
    {Colour.RED: 1},
    {Text("k"): 1},
    (1, Point(1, 2)),
    array.array("d", [1.0] * 10000),
]


class RoundTrip(unittest.TestCase):
    def test_plain(self) -> None:
        for value in PLAIN:
            with self.subTest(value=repr(value)[:60]):
                self.assertTrue(is_plain(value))
                self.assertTrue(same(value, loads(dumps(value))))

    def test_pickled(self) -> None:
        for value in PICKLED:
            with self.subTest(value=repr(value)[:60]):
                self.assertFalse(is_plain(value))
                result = loads(dumps(value))
                self.assertEqual(result, value)
                self.assertIs(type(result), type(pickle.loads(pickle.dumps(value))))

    def test_types_of_members_survive(self) -> None:
        result = loads(dumps([Colour.RED, Text("t"), {Count(1): Ratio(2.0)}]))
        self.assertIs(result[0], Colour.RED)
        self.assertIs(type(result[1]), Text)
        self.assertEqual(
            repr([(type(k), type(v)) for k, v in result[2].items()]), repr([(Count, Ratio)])
        )

    def test_many_large_members(self) -> None:
        value = [bytes([i % 256]) * 5000 for i in range(1500)]
        for data in (value, [*value, Box()]):
            self.assertEqual(loads(dumps(data)), data)

    def test_large_pickle_in_many_frames(self) -> None:
        value = [Box(i) for i in range(300000)]
        self.assertEqual([b.content for b in loads(dumps(value))], list(range(300000)))

    def test_buffers_in_band(self) -> None:
        for size in (10, 100000):
            self.assertEqual(loads(dumps(pickle.PickleBuffer(b"r" * size))), b"r" * size)
            self.assertEqual(loads(dumps(pickle.PickleBuffer(bytearray(b"w" * size)))), b"w" * size)

    def test_keys_that_share_a_place(self) -> None:
        values = [{f"key{i}": i for i in range(j, j + 500)} for j in range(0, 3000, 500)]
        self.assertTrue(same(values, loads(dumps(values))))
        self.assertTrue(same(values, loads(dumps(values))))

    def test_keys_and_texts_of_each_length(self) -> None:
        """Short ones are copied and compared by words that overlap."""
        for size in range(40):
            text = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"[:size]
            others = [text[:i] + "#" + text[i + 1 :] for i in range(size)]
            value = {key: [key, key.encode()] for key in [text, *others]}
            for _ in range(2):  # the second time, keys are remembered
                self.assertEqual(loads(dumps(value)), value)
                for key in value:
                    self.assertEqual(loads(dumps({key: key})), {key: key})

    @unittest.skipIf(
        sysconfig.get_config_var("Py_GIL_DISABLED"), "without the GIL no key is remembered"
    )
    def test_a_short_key_is_one_object(self) -> None:
        for size in range(32):
            key = "k" * size
            [first], [second] = loads(dumps({key: 1})), loads(dumps({key: 2}))
            self.assertIs(first, second)

    def test_any_bytes_like(self) -> None:
        message = dumps(RECORD)
        for data in (bytearray(message), memoryview(message), array.array("B", message)):
            self.assertEqual(loads(data), RECORD)

    def test_data_are_not_referenced_afterwards(self) -> None:
        for value in (b"x" * 10000, ["x" * 10000], Box([b"x" * 10000])):
            data = bytearray(dumps(value))
            result = loads(data)
            data[:] = bytes(len(data))
            data.clear()
            self.assertEqual(result, value)

    def test_a_view_that_got_away_is_dead(self) -> None:
        self.addCleanup(grabbed.clear)
        loads(dumps(Grabbing()))
        self.assertTrue(grabbed)
        for view in grabbed:
            with self.assertRaisesRegex(ValueError, "released"):
                view.tobytes()

    def test_not_bytes(self) -> None:
        with self.assertRaises(TypeError):
            loads("text")
        with self.assertRaises(BufferError):
            loads(memoryview(b"abcd")[::2])


class Format(unittest.TestCase):
    """The bytes of the MessagePack specification."""

    def test_written(self) -> None:
        for value, data in {
            None: "c0",
            False: "c2",
            True: "c3",
            5: "05",
            127: "7f",
            128: "cc80",
            256: "cd0100",
            65536: "ce00010000",
            2**32: "cf0000000100000000",
            -1: "ff",
            -32: "e0",
            -33: "d0df",
            -129: "d1ff7f",
            -32769: "d2ffff7fff",
            -(2**31) - 1: "d3ffffffff7fffffff",
            1.5: "cb3ff8000000000000",
            "a": "a161",
            "a" * 32: "d920" + "61" * 32,
            b"a": "c40161",
            (1, 2): "c900000003" + "54" + "920102",
        }.items():
            self.assertEqual(dumps(value).hex(), data, value)
        self.assertEqual(dumps([1, {"a": []}]).hex(), "920181a16190")
        self.assertEqual(dumps(list(range(16))).hex(), "dc0010" + bytes(range(16)).hex())

    def test_a_pickle_is_an_ext(self) -> None:
        message = dumps({1})
        self.assertEqual(message[:1] + message[5:6], b"\xc9" + PICKLE)
        self.assertEqual(int.from_bytes(message[1:5], "big"), len(message) - 6)
        self.assertEqual(pickle.loads(message[6:]), {1})
        self.assertEqual(message[6:8], b"\x80\x05")

    def test_read_in_other_forms(self) -> None:
        for data, value in (
            ("ca3fc00000", 1.5),
            ("cc05", 5),
            ("cd0005", 5),
            ("ce00000005", 5),
            ("cf0000000000000005", 5),
            ("d005", 5),
            ("d1fffb", -5),
            ("d2fffffffb", -5),
            ("d3fffffffffffffffb", -5),
            ("d90161", "a"),
            ("da000161", "a"),
            ("db0000000161", "a"),
            ("81d9016105", {"a": 5}),
            ("c5000161", b"a"),
            ("c60000000161", b"a"),
            ("dc000105", [5]),
            ("dd0000000105", [5]),
            ("de00010506", {5: 6}),
            ("df000000010506", {5: 6}),
            ("d45490", ()),
            ("d5549105", (5,)),
            ("d65493010203", (1, 2, 3)),
            ("c7025491c0", (None,)),
            ("c80004" + "54" + "dc000105", (5,)),
            ("c70654dd0000000105", (5,)),
        ):
            self.assertTrue(same(loads(bytes.fromhex(data)), value), data)

    def test_a_pickle_with_any_header(self) -> None:
        body = pickle.dumps({1, 2}, 5)
        n = len(body)
        for header in (
            b"\xc7" + struct.pack(">B", n) + PICKLE,
            b"\xc8" + struct.pack(">H", n) + PICKLE,
            b"\xc9" + struct.pack(">I", n) + PICKLE,
            b"\xd7" + LONG_PICKLE + struct.pack(">Q", n),
            b"\xc7\x08" + LONG_PICKLE + struct.pack(">Q", n),
        ):
            self.assertEqual(loads(header + body), {1, 2})
        self.assertIsNone(loads(b"\xd5" + PICKLE + b"N."))

    @unittest.skipUnless(os.environ.get("MPROC_TEST_BIG"), "needs 13 GiB; MPROC_TEST_BIG=1 runs it")
    def test_a_pickle_of_more_than_4_gib(self) -> None:
        size = 1 << 32
        message = dumps([bytes(size)])
        self.assertEqual(message[:2], b"\xd7" + LONG_PICKLE)
        self.assertEqual(int.from_bytes(message[2:10], "big"), len(message) - 10)
        self.assertEqual([len(item) for item in loads(message)], [size])


class Identity(unittest.TestCase):
    def pair(self, shared: Any) -> None:
        value = [shared, {"deep": (shared, 1)}]
        self.assertFalse(is_plain(value))
        result = loads(dumps(value))
        self.assertEqual(result, value)
        self.assertIs(result[0], result[1]["deep"][0])

    def test_shared_containers(self) -> None:
        for shared in ([], [1], {}, {"a": 1}, (1, 2), ([],)):
            with self.subTest(shared=shared):
                self.pair(shared)

    def test_shared_long_text(self) -> None:
        self.pair("t" * LONG_TEXT)
        self.pair(b"t" * LONG_TEXT)
        self.pair("\u20ac" * LONG_TEXT)
        self.pair(b"t" * 10000)

    def test_shared_key(self) -> None:
        key = "k" * 1000
        result = loads(dumps([{key: 1}, key]))
        self.assertIs(next(iter(result[0])), result[1])

    def test_equal_is_not_same(self) -> None:
        result = loads(dumps([[1], [1], {"a": 1}, {"a": 1}]))
        self.assertIsNot(result[0], result[1])
        self.assertIsNot(result[2], result[3])

    def test_empty_tuple_is_one_anyway(self) -> None:
        empty = ()
        value = [empty, empty, (empty,)]
        self.assertTrue(is_plain(value))
        self.assertEqual(loads(dumps(value)), value)

    def test_recursive(self) -> None:
        a: list = []
        a.append(a)
        result = loads(dumps(a))
        self.assertIs(result[0], result)
        d: dict = {}
        d["self"] = (d,)
        result = loads(dumps(d))
        self.assertIs(result["self"][0], result)

    def test_containers_of_one_owner_need_no_memory(self) -> None:
        value = [[[i], {"i": i}, (i,)] for i in range(1000)]
        self.assertTrue(is_plain(value))
        self.assertEqual(loads(dumps(value)), value)

    def test_containers_of_other_owners(self) -> None:
        for n, plain in ((SEEN - 1, True), (SEEN, False)):
            rows = [[i] for i in range(n)]
            value = list(rows)
            owners = [value, value]  # from 3.14 on a local variable alone counts for one
            self.assertIs(is_plain(owners[0]), plain)
            self.assertEqual(loads(dumps(value)), rows)
        again = [*rows, rows[0]]
        result = loads(dumps(again))
        self.assertIs(result[0], result[-1])

    def test_depth(self) -> None:
        self.assertTrue(is_plain(nested(DEPTH)))
        self.assertFalse(is_plain(nested(DEPTH + 1)))
        for depth in (DEPTH, DEPTH + 1, 100):
            self.assertEqual(loads(dumps(nested(depth))), nested(depth))

    def test_all_kinds_count_for_depth(self) -> None:
        for wrap in (lambda v: (v,), lambda v: [v], lambda v: {1: v}):
            value: Any = []
            for _ in range(DEPTH):
                value = wrap(value)
            self.assertFalse(is_plain(value))
            self.assertEqual(loads(dumps(value)), value)


class Pickling(unittest.TestCase):
    def setUp(self) -> None:
        kept = dict(_mproc.reducers)
        self.addCleanup(lambda: (_mproc.reducers.clear(), _mproc.reducers.update(kept)))

    def test_errors_are_those_of_pickle(self) -> None:
        def local() -> None:
            pass

        for value in (lambda: 1, local, threading.Lock(), sys, (i for i in ()), Failing()):
            try:
                pickle.dumps(value)
            except Exception as error:
                expected = error
            for wrapped in (value, [1, value], {"k": (value,)}):
                with self.assertRaises(type(expected)) as caught:
                    dumps(wrapped)
                self.assertEqual(str(caught.exception), str(expected))
            self.assertEqual(loads(dumps(Box(1))), Box(1))

    def test_errors_of_the_unpickler(self) -> None:
        with self.assertRaisesRegex(LookupError, "not here"):
            loads(dumps(Exploding()))
        with self.assertRaises(pickle.UnpicklingError):
            loads(b"\xc9\0\0\0\4" + PICKLE + b"junk")
        with self.assertRaises(AttributeError):
            body = pickle.dumps(explode).replace(b"explode", b"exploit")
            loads(b"\xc9" + struct.pack(">I", len(body)) + PICKLE + body)
        self.assertEqual(loads(dumps(Box(1))), Box(1))

    def test_message_inside_a_message(self) -> None:
        value = Letter(Letter([Box(1), Letter("x")]))
        result = loads(dumps([value, Box(2)]))
        self.assertEqual(result[0].content.content[0], Box(1))
        self.assertEqual(result[0].content.content[1].content, "x")
        self.assertEqual(result[1], Box(2))

    def test_failure_inside_a_message_inside_a_message(self) -> None:
        with self.assertRaises(KeyError):
            dumps([Box(1), Letter(Failing())])
        self.assertEqual(loads(dumps(Box(1))), Box(1))

    def test_messages_know_nothing_of_each_other(self) -> None:
        shared = [1]
        first = dumps(Box(shared))
        self.assertEqual(dumps(Box(shared)), first)
        self.assertEqual(loads(first), Box([1]))

    def test_nothing_is_kept(self) -> None:
        class Marker:
            pass

        globals()["Marker"] = Marker
        self.addCleanup(globals().pop, "Marker")
        Marker.__qualname__ = "Marker"
        for extra in ([], [b"x" * 300000], [Failing()]):
            marker = Marker()
            gone = weakref.ref(marker)
            try:
                dumps([marker, *extra])
            except KeyError:
                self.assertIsInstance(extra[0], Failing)
            del marker
            gc.collect()
            self.assertIsNone(gone())

    def test_a_registered_reducer(self) -> None:
        _mproc.reducers[Box] = lambda box: (Text, (f"box of {box.content}",))
        result = loads(dumps([Box(1), {"k": Box(2)}]))
        self.assertEqual(result, ["box of 1", {"k": "box of 2"}])
        del _mproc.reducers[Box]
        self.assertEqual(loads(dumps(Box(1))), Box(1))

    def test_a_reducer_is_for_the_exact_type(self) -> None:
        class Sub(Box):
            pass

        globals()["Sub"] = Sub
        self.addCleanup(globals().pop, "Sub")
        Sub.__qualname__ = "Sub"
        _mproc.reducers[Box] = lambda box: (Text, ("box",))
        self.assertIs(type(loads(dumps(Sub(1)))), Sub)

    def test_it_comes_before_copyreg(self) -> None:
        copyreg.pickle(Box, lambda box: (Text, ("copyreg",)))
        self.addCleanup(copyreg.dispatch_table.pop, Box)
        self.assertEqual(loads(dumps(Box())), "copyreg")
        _mproc.reducers[Box] = lambda box: (Text, ("reducers",))
        self.assertEqual(loads(dumps(Box())), "reducers")

    def test_classes_and_functions_go_by_name(self) -> None:
        for kind in (type, types.FunctionType):
            _mproc.reducers[kind] = lambda value: (Text, ("wrong",))
        self.assertEqual(loads(dumps([Box, explode])), [Box, explode])

    def test_a_reducer_that_fails(self) -> None:
        def reduce(box: Box) -> tuple:
            raise OSError("no box today")

        _mproc.reducers[Box] = reduce
        with self.assertRaisesRegex(OSError, "no box today"):
            dumps(Box(1))
        _mproc.reducers[Box] = lambda box: 5
        with self.assertRaises(pickle.PicklingError):
            dumps(Box(1))

    def test_a_reducer_that_unregisters_itself(self) -> None:
        def reduce(box: Box) -> tuple:
            del _mproc.reducers[Box]
            return Text, ("once",)

        _mproc.reducers[Box] = reduce
        del reduce
        self.assertEqual(loads(dumps([Box(1), Box(2)])), ["once", Box(2)])

    def test_partial_and_methods(self) -> None:
        result = loads(dumps(functools.partial(max, 3)))
        self.assertEqual(result(2), 3)
        self.assertEqual(loads(dumps("a,b".split))(","), ["a", "b"])

    def test_threads(self) -> None:
        failed: list = []

        def work(me: int) -> None:
            for i in range(40):
                value = [Yielding((me, i)), Box([me] * i), b"%d" % me * 6000]
                result = loads(dumps(value))
                if result[0].content != (me, i) or result[1:] != value[1:]:
                    failed.append((me, i))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])

    def test_the_sink_of_a_pickler_that_is_not_in_use(self) -> None:
        kept: list = []
        dumps(Box(1))
        sinks = [o for o in gc.get_objects() if type(o).__name__ == "Sink"]
        kept.extend(sinks)
        self.assertTrue(kept)
        for sink in kept:
            with self.assertRaisesRegex(ValueError, "not in use"):
                sink.write(b"late")
            with self.assertRaises(TypeError):
                type(sink)()

    def test_what_the_sink_takes(self) -> None:
        class Writing:
            def __reduce__(self) -> tuple:
                gc.collect()
                for sink in gc.get_objects():
                    if type(sink).__name__ == "Sink":
                        try:
                            sink.write("text")
                        except TypeError:
                            refused.append(sink)
                        except ValueError:
                            pass  # of a pickler that is not in use
                return Text, ("written",)

        refused: list = []
        self.assertEqual(loads(dumps(Writing())), "written")
        self.assertEqual(len(refused), 1)


class Corrupt(unittest.TestCase):
    def refused(self, data: bytes, text: str) -> None:
        with self.assertRaisesRegex(ValueError, text):
            loads(data)

    def test_each_complaint(self) -> None:
        for data, text in (
            ("", "1 bytes wanted at byte 0, where only 0 are left"),
            ("92c0", "1 bytes wanted at byte 2"),
            ("cd00", "2 bytes wanted at byte 1, where only 1 are left"),
            ("d100", "2 bytes wanted at byte 1"),
            ("cb00", "8 bytes wanted at byte 1"),
            ("ca00", "4 bytes wanted at byte 1"),
            ("a361", "3 bytes wanted at byte 1, where only 1 are left"),
            ("c40561", "5 bytes wanted at byte 2, where only 1 are left"),
            ("81a361", "3 bytes wanted at byte 2"),
            ("81", "more elements announced than can follow at byte 1"),
            ("8101", "1 bytes wanted at byte 2"),
            ("c1", "unused byte 0xc1 at byte 0"),
            ("9101c0", "left over at byte 2"),
            ("a2fffe", "not UTF-8 at byte 1"),
            ("a3eda080", "not UTF-8 at byte 1"),
            ("81a1ffc0", "not UTF-8 at byte 2"),
            ("819005", "unhashable key at byte 1"),
            ("81d5549190" + "05", "unhashable key at byte 1"),
            ("818005", "unhashable key at byte 1"),
            ("ddffffffff00", "more elements announced than can follow at byte 5"),
            ("dfffffffff00", "more elements announced than can follow at byte 5"),
            ("94dc0004c0c0", "more elements announced than can follow at byte 4"),
            ("d40100", "unknown ext type 1 at byte 0"),
            ("91d4ff00", "unknown ext type -1 at byte 1"),
            ("c7055490", "5 bytes wanted at byte 3, where only 1 are left"),
            ("d4", "1 bytes wanted at byte 1"),
            ("c8", "2 bytes wanted at byte 1"),
            ("d454c0", "tuple without an array at byte 2"),
            ("c70054", "1 bytes wanted at byte 3"),
            ("d554dc00", "2 bytes wanted at byte 3"),
            ("d5549090", "left over in a tuple at byte 3"),
            ("91d4549100", "1 bytes wanted at byte 4, where only 0 are left"),
            ("91d4504e", "pickle inside another value at byte 1"),
            ("91d74c0000000000000000", "pickle inside another value at byte 1"),
            ("d550" + "4e2e" + "00", "left over at byte 4"),
            ("d44c00", "not a fixext 8 at byte 0"),
            ("d74c0000000000000003" + "4e2e", "3 bytes wanted at byte 10, where only 2 are left"),
            ("d74cffffffffffffffff" + "4e2e", "18446744073709551615 bytes wanted at byte 10"),
            ("d74c0000000000000001" + "4e2e", "left over at byte 11"),
        ):
            with self.subTest(data=data):
                self.refused(bytes.fromhex(data), text)

    def test_depth_is_bounded(self) -> None:
        self.assertEqual(loads(b"\x91" * (READ_DEPTH - 1) + b"\x90"), nested(READ_DEPTH))
        self.refused(b"\x91" * READ_DEPTH + b"\x90", f"nesting too deep at byte {READ_DEPTH}")
        self.refused(b"\x91" * 1000000, "nesting too deep")
        self.refused(b"\x81" * 1000000, "nesting too deep")

    def test_counts_ask_for_little_memory(self) -> None:
        body = b"\xdd\x00\x0f\x00\x00" * 200
        data = body + bytes(1 << 20)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.refused(data, "more elements announced")
        self.assertLess(tracemalloc.get_traced_memory()[1], 32 << 20)

    def test_truncated_anywhere(self) -> None:
        for value in (
            RECORD,
            (1, [2.5, "three", b"four"], {5: (6,)}),
            70000,
            "t" * 300,
            {1},
            Box(3),
        ):
            message = dumps(value)
            for end in range(len(message)):
                self.refused(message[:end], "corrupt message: .* at byte [0-9]+")
            self.refused(message + b"\0", f"left over at byte {len(message)}")

    def test_mutated(self) -> None:
        """No mutation crashes; what is still a message is a value like any other."""
        rng = random.Random(20240229)
        seeds = [dumps(v) for v in PLAIN if len(dumps(v)) < 400]
        refused = accepted = 0
        for _ in range(60000):
            data = mutated(rng, bytearray(rng.choice(seeds)), seeds)
            if is_pickle(data):
                continue
            try:
                value = loads(data)
            except ValueError as error:
                self.assertRegex(str(error), "at byte [0-9]+")
                refused += 1
            else:
                self.assertTrue(same(loads(dumps(value)), value), data)
                accepted += 1
        self.assertGreater(refused, 10000)
        self.assertGreater(accepted, 10000)


def is_pickle(data: bytes) -> bool:
    """Whether a message would go to the unpickler, for which mutations are not made."""
    at = {0xC7: 2, 0xC8: 3, 0xC9: 5}.get(data[0], 1) if data else 0
    return data[at : at + 1] in (PICKLE, LONG_PICKLE)


LEADS = bytes.fromhex("8090a0c0c4c7c9cbd4d9dcdddf54ff")


def mutated(rng: random.Random, data: bytearray, seeds: list) -> bytes:
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at:at] = bytes([rng.choice(LEADS)])
        elif kind == 2:
            del data[at : at + rng.randint(1, 4)]
        elif kind == 3:
            data[at:at] = rng.choice(seeds)
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


class Resources(unittest.TestCase):
    def fresh(self) -> types.ModuleType:
        """Another instance of the extension module, with a state of its own."""
        name = "other._mproc"
        loader = importlib.machinery.ExtensionFileLoader(name, _mproc.__file__)
        spec = importlib.util.spec_from_file_location(name, _mproc.__file__, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module

    def test_instances_share_nothing(self) -> None:
        other = self.fresh()
        self.assertIsNot(other.reducers, _mproc.reducers)
        other.reducers[Box] = lambda box: (Text, ("other",))
        self.assertEqual(loads(other.dumps(Box(1))), "other")
        self.assertEqual(other.loads(dumps(Box(1))), Box(1))

    def test_the_module_can_be_collected(self) -> None:
        """In a program without threads: with them, types live for ever on free-threaded 3.13."""
        code = (
            "import gc, importlib.machinery, importlib.util, sys, weakref\n"
            "import resource  # until then the module waits for it in sys.meta_path\n"
            "loader = importlib.machinery.ExtensionFileLoader('x._mproc', sys.argv[1])\n"
            "m = importlib.util.module_from_spec("
            "importlib.util.spec_from_loader('x._mproc', loader))\n"
            "loader.exec_module(m)\n"
            "value = [1, {'k': (b'', 'x' * 9000)}, {2}, range(3)]\n"
            "assert m.loads(m.dumps(value)) == value\n"
            "gone = weakref.ref(m)\n"
            "del m\n"
            "gc.collect()\n"
            "assert gone() is None\n"
        )
        subprocess.run([sys.executable, "-c", code, _mproc.__file__], check=True, timeout=60)

    def test_plain_values_import_no_pickle(self) -> None:
        code = (
            "import importlib.machinery, importlib.util, sys\n"
            "loader = importlib.machinery.ExtensionFileLoader('x._mproc', sys.argv[1])\n"
            "m = importlib.util.module_from_spec("
            "importlib.util.spec_from_loader('x._mproc', loader))\n"
            "loader.exec_module(m)\n"
            "assert m.loads(m.dumps([1, {'k': (b'', 'x')}])) == [1, {'k': (b'', 'x')}]\n"
            "assert '_pickle' not in sys.modules and 'pickle' not in sys.modules\n"
            "assert m.loads(m.dumps({1})) == {1}\n"
            "assert '_pickle' in sys.modules and 'pickle' not in sys.modules\n"
        )
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, _mproc.__file__], check=True, timeout=60
        )

    def test_subinterpreter(self) -> None:
        code = (
            "import importlib.machinery, importlib.util\n"
            f"loader = importlib.machinery.ExtensionFileLoader('x._mproc', {_mproc.__file__!r})\n"
            "m = importlib.util.module_from_spec("
            "importlib.util.spec_from_loader('x._mproc', loader))\n"
            "loader.exec_module(m)\n"
            "import collections\n"
            "value = [1, {'k': (b'', 'x' * 9000)}]\n"
            "for _ in range(3):\n"
            "    assert m.loads(m.dumps(value)) == value\n"
            "    assert m.loads(m.dumps(collections.OrderedDict(a=value)))['a'] == value\n"
        )
        try:
            import _interpreters as interpreters
        except ImportError:
            interpreters = __import__("_xxsubinterpreters")
        for _ in range(2):
            one = interpreters.create()
            try:
                self.assertIsNone(interpreters.run_string(one, code))
            finally:
                interpreters.destroy(one)

    def test_nothing_leaks(self) -> None:
        good = [RECORD, [b"x" * 9000] * 2, [Box(1), b"y" * 9000], [*range(2000)], ("t",) * 40]
        bad = [bytes.fromhex(data) for data in ("92a16b", "819005", "d5549090", "a1ff", "92c401")]

        def work() -> None:
            for value in good:
                loads(dumps(value))
                is_plain(value)
            for data in bad:
                self.assertRaises(ValueError, loads, data)
            self.assertRaises(KeyError, dumps, [b"z" * 9000, Failing()])
            self.assertRaises(LookupError, loads, dumps(Exploding()))
            is_plain([b"z" * 9000, "z" * 9000, Failing()])

        for _ in range(20):
            work()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        work()
        before = self.memory()
        for _ in range(300):
            work()
        blocks, size = (now - then for now, then in zip(self.memory(), before, strict=True))
        self.assertLess(blocks, 150)  # small ones: a leak would be one a round
        self.assertLess(size, 300 * 256)  # and large ones: free lists come and go, but by less

    def memory(self) -> tuple[int, int]:
        """Blocks and bytes in use; the type cache keeps names that an unpickler looked up."""
        sys._clear_type_cache()
        gc.collect()
        return sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]

    @unittest.skipUnless(hasattr(_testcapi, "set_nomemory"), "needs CPython's _testcapi")
    @unittest.skipIf(
        sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info < (3, 14),
        "without memory, PyList_New() of a free-threaded CPython 3.13 frees what it has not set",
    )
    def test_no_memory(self) -> None:
        """Each allocation fails once: MemoryError or the right result."""
        values: list = [
            RECORD,
            (1, (2, [3.5, {"k" * 40: b"v"}])),
            ["\u20ac" * 2000, 2**63, 10**18],
            [
                b"a" * 5000,
                "b" * 5000,
                list(range(256)) * 12,
                *(b"%d" % i * 5000 for i in range(10)),
            ],
        ]
        for value in values:
            message = dumps(value)
            for call, given, right in ((dumps, value, message), (loads, message, value)):
                failures = self.with_failing_allocations(call, given, right)
                self.assertGreater(failures, 0)

    def with_failing_allocations(self, call: Any, given: Any, right: Any) -> int:
        for n in range(500):
            result: Any = None
            _testcapi.set_nomemory(n, n + 1)
            try:
                result = call(given)
            except MemoryError:
                pass
            finally:
                _testcapi.remove_mem_hooks()
            if result is not None:
                self.assertEqual(result, right)
                return n
        raise AssertionError("too many allocations")


class Faults:
    """Counts the page faults of this thread's user code; those of a madvise() are none of them."""

    HAS_HINT = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 14)
    SYSCALL = {"x86_64": 298, "aarch64": 241}.get(os.uname().machine)  # perf_event_open(2)
    SOFTWARE, PAGE_FAULTS, EXCLUDE_KERNEL = 1, 2, 1 << 5

    def __init__(self) -> None:
        what = (self.SOFTWARE, 64, self.PAGE_FAULTS, 0, 0, 0, self.EXCLUDE_KERNEL, 0, 0, 0)
        attributes = struct.pack("=IIQQQQQIIQ", *what)
        call = ctypes.CDLL(None).syscall
        self._fd = -1 if self.SYSCALL is None else call(self.SYSCALL, attributes, 0, -1, -1, 0)

    def exist(self) -> bool:
        """Return whether they can be counted here."""
        return self._fd >= 0

    def read(self) -> int:
        """Return how many there were."""
        return int.from_bytes(os.read(self._fd, 8), sys.byteorder)

    def close(self) -> None:
        """Stop counting."""
        if self.exist():
            os.close(self._fd)


class LargeBytes(unittest.TestCase):
    """The pages of large bytes are asked for before they are written."""

    @unittest.skipUnless(Faults.HAS_HINT, "a kernel that does not know the hint")
    def test_large_bytes(self) -> None:
        faults, size = Faults(), 33 << 20  # malloc() never has so much that was used before
        self.addCleanup(faults.close)
        if not faults.exist():
            self.skipTest("perf_event_open(2) is not allowed")
        message = dumps(os.urandom(1) * size)
        before = faults.read()
        value = loads(message)
        self.assertLess(faults.read() - before, size // mmap.PAGESIZE // 2)
        self.assertEqual(len(value), size)

    def test_their_contents(self) -> None:
        for size in ((4 << 20) - 1, 4 << 20, (4 << 20) + 1, (5 << 20) + 4097):
            value = os.urandom(size)
            message = dumps(value)
            for _ in range(3):  # in new memory, and in what the last one had
                self.assertEqual(loads(message), value)


if __name__ == "__main__":
    unittest.main()
