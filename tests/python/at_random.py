"""A program that does the same at random with a manager of either library, and prints what comes.

Usage: at_random.py mproc|multiprocessing SEED N. Each line is a number, the kind of object, the
expression, and its result or error.
"""

import importlib
import random
import re
import sys

# Expressions, between blanks.
VALUES = """
0 1 True 1.0 -1 2 1.5 None 'a' 'b' '' b'x' (1,2) (1,'a') (1.0,True) [1] {'k':1} {1,2} 10**30
frozenset({1}) float('inf') Even(1) Even(3) '\\ud800' range(3) 1+2j slice(1,2) object ...
[[1],[2]] 'x'*3000 Even
"""
SMALL = "0 1 2 -1 -2 5 -9 100 None 'a' 1.0 True"
SLICES = ":1 1:3 : ::2 ::-1 -2: 5:2 0:0 ::0 'a':"
MANY = "[] [1,2] (3,) 'ab' 5 None {'z':1} {1} range(2) [('k',1)] [(1,2,3)] [[1,2],'ab']"

MADE = {
    "dict": ["m.dict()", "m.dict({'a': 1}, b=2)"],
    "list": ["m.list()", "m.list(range(5))"],
    "namespace": ["m.Namespace()", "m.Namespace(x=1)"],
    "value": ["m.Value('i', 3)", "m.Value('d', 1.5)"],
    "array": ["m.Array('i', range(4))", "m.Array('d', [1.5, 2])"],
    "queue": ["m.Queue()", "m.Queue(2)", "m.JoinableQueue(2)"],
    "lock": ["m.Lock()", "m.RLock()"],
    "semaphore": ["m.Semaphore(2)", "m.BoundedSemaphore(1)"],
    "event": ["m.Event()"],
    "condition": ["m.Condition()"],
    "barrier": ["m.Barrier(1)", "m.Barrier(2)"],
}

# V stands for a value, S for a small one, M for many, I for a slice.
DONE = {
    "dict": """
o.__setitem__(V, V); o[V]; o.get(V); o.get(V, V); o.pop(V, V); o.pop(); o.pop(1, 2, 3); o.popitem()
o.setdefault(V, V); o.setdefault(V); o.update(M); o.update({V: 1}); o.update(x=V); o.update(1, 2)
len(o); V in o; o.__delitem__(V); o.keys(); o.values(); o.items(); o.copy(); list(o); str(o)
repr(o); o.clear(); o.has_key(1); o._callmethod('__len__', (1,)); o == {}; bool(o); o._getvalue()
o.get(); o[V].append(1); next(iter(o)); o.no_such; deepcopy(o); o.get(key=1); o.setdefault(key=1)
dict(o); {**o}; sorted(o, key=repr); o.update({'c': 1}, d=2)""",
    "list": """
o.append(V); o.extend(M); o.insert(S, V); o.pop(); o.pop(S); o.remove(V); o[S]; o[I]
o.__setitem__(S, V); o.__setitem__(slice(I), M); o.__delitem__(S); o.__delitem__(slice(I)); len(o)
V in o; o.index(V); o.index(V, S); o.count(V); o.reverse(); o.sort(); o.sort(reverse=True)
o.sort(key=str); o.sort(key=repr); o.sort(3); o + M; o * S; S * o; o.__iadd__(M) is o
o.__imul__(1.0) is o; o.__imul__(0) is o; list(o); str(o); repr(o); list(reversed(o)); o == []
bool(o); o._getvalue(); o.pop(1, 2); o.insert(1); sum(1 for _ in o); o.no_such; min(o); o[1:2]
deepcopy(o)""",
    "namespace": """
setattr(o, 'a', V); setattr(o, 'b', V); setattr(o, 'x', V); o.a; o.b; o.x; o.y; delattr(o, 'a')
delattr(o, 'x'); delattr(o, 'y'); str(o); repr(o); o._getvalue(); o._x; setattr(o, '_p', 1)
o._callmethod('__getattribute__', ('x',)); hasattr(o, 'q'); o._callmethod('__setattr__', (1, 2))""",
    "value": """
o.value; setattr(o, 'value', V); o.get(); o.set(V); str(o); repr(o); o.get_lock(); o.no_such""",
    "array": """
o[S]; o[I]; o.__setitem__(S, V); o.__setitem__(slice(I), M); len(o); list(o); str(o); repr(o)
o._getvalue(); o.__setitem__(slice(I), array('i', [7])); 1 in o; o.append(1)""",
    "queue": """
o.put(V, False); o.get(False); o.qsize(); o.empty(); o.full(); o.put_nowait(V); o.get_nowait()
o.put(1, True, 0.001); o.get(True, 0.001); o.put(1, True, -1); o.get(True, -1); o.get(timeout=-1)
o.task_done(); repr(o); len(o); o.no_such; o.put(1, timeout='x'); o.get(False, -3)""",
    "lock": """
o.acquire(False); o.release(); o.acquire(True, 0.001); o.acquire(False, 1); o.acquire(True, -5)
o.acquire(True, 'a'); repr(o); o.acquire(0); o.no_such; o.acquire(timeout=1e300)""",
    "semaphore": """
o.acquire(False); o.release(); o.acquire(True, 0.001); o.acquire(False, 1); o.acquire(True, -5)
o.acquire(True, 'a'); repr(o); o._callmethod('release', (2,)); o._callmethod('release', (0,))
o._callmethod('release', ('a',)); o.get_value()""",
    "event": """
o.set(); o.clear(); o.is_set(); o.wait(0.001); o.wait(-1); o.wait('a'); repr(o); o.no_such""",
    "condition": """
o.acquire(False); o.release(); o.wait(0.001); o.notify(); o.notify(2); o.notify('a')
o.notify_all(); o.wait(-1); o.wait_for(lambda: True); o.wait_for(lambda: False, 0.001); repr(o)
o.notify(-1); o.notify(1.5); o.wait('a'); o.acquire(True, 0.001); o.acquire(False, 1)""",
    "barrier": """
o.parties; o.n_waiting; o.broken; o.wait(0.001); o.abort(); o.reset(); o.wait(-1); repr(o)
o.no_such""",
}


class Even:
    """A key of the main module: all of one number are equal."""

    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return isinstance(other, Even) and other.n == self.n

    def __hash__(self):
        return hash(self.n)

    def __repr__(self):
        return f"Even({self.n})"


def filled(expression, seeded):
    """Return an expression with values for its letters."""
    choices = {"V": VALUES, "S": SMALL, "M": MANY}

    def value(match):
        letter = match[0]
        if letter in choices:
            return seeded.choice(choices[letter].split())
        parts = [part or "None" for part in seeded.choice(SLICES.split()).split(":")]
        return ", ".join(parts) if letter != "[I]" else f"[slice({', '.join(parts)})]"

    return re.sub(r"\b[VSM]\b|\[I\]|\bI\b", value, expression)


def plain(text):
    """Return a text without what differs from run to run, or between the two libraries."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"\b(multiprocessing|mproc)\.", "", text)


def outcome(expression, names):
    try:
        return "= " + plain(ascii(eval(expression, names)))
    except Exception as error:
        return f"! {type(error).__name__}: {plain(ascii(error.args))}"


def main():
    library, seed, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    mp = importlib.import_module(library)
    seeded = random.Random(seed)
    manager = mp.get_context("fork").Manager()
    names = {"m": manager, "Even": Even}
    exec("from array import array\nfrom copy import deepcopy", names)
    objects = {kind: [eval(make, names) for make in makes] for kind, makes in MADE.items()}
    lines = {kind: re.split(r"; |\n", text.strip()) for kind, text in DONE.items()}
    for i in range(number):
        kind = seeded.choice([*lines])
        expression = filled(seeded.choice(lines[kind]), seeded)
        names["o"] = seeded.choice(objects[kind])
        print(i, kind, ascii(expression), outcome(expression, names))
    manager.shutdown()
    for kind, made in objects.items():
        for names["o"] in made:
            print("ended", kind, "repr(o)", outcome("(repr(o), str(o))", names))


if __name__ == "__main__":
    main()
