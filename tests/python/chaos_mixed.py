"""Members in C and in Python on the same queues, lock and array, killed at random.

    python tests/python/chaos_mixed.py [--seconds N] [--seed N]

How it works. The owner puts numbers into a queue. A member, a program in C or a Python process of
some start method, takes one, adds 1 to two numbers of an array under a lock, and puts what it took
into a second queue. The owner kills members that have done something, and starts others instead.

The account. No number comes back twice, nor one that was never put. A member notes what it has in
hand, so a killed one tells which number it has taken with it. Few of the killed died between the
taking and the note: no more than one of ten, and three. The two numbers of the array are equal in
the end: whoever takes the lock over from a dead member makes them so. They are as many as have come
back, and no more than were put.
"""

import argparse
import collections
import itertools
import os
import queue
import random
import sys
import time
from pathlib import Path

import mproc
from mproc import OwnerDiedError

PROGRAM = str(Path(__file__).resolve().parents[2] / "build/test/tests/python/program")
KINDS = ("c", "fork", "spawn", "forkserver")
EACH = 2  # members of a kind at a time
STUCK = 60.0  # seconds without a number that comes back
KILL_INTERVAL = 0.02  # seconds, at most
BOUND = 64  # numbers that wait at a time
SEATS = len(KINDS) * EACH


def member(work, done, lock, numbers, hands, seat, name):
    """Do what the member in C does."""
    while (number := work.get()) is not None:
        hands[seat] = number + 1
        count_both(lock, numbers)
        done.put((number, name))
        hands[seat] = 0


def count_both(lock, numbers):
    """Add 1 to both numbers under the lock, and mend them if a member died in between."""
    mend = False
    while True:
        try:
            lock.acquire()
            break
        except OwnerDiedError:
            mend = True
    if mend:
        numbers[1] = numbers[0]
    numbers[0] += 1
    numbers[1] += 1
    lock.release()


class Chaos:
    """The owner: its members, and the account of what it has put and got."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        ctx = mproc.get_context("spawn")  # what the context of fork makes is for forks only
        self.work, self.done = ctx.Queue(BOUND), ctx.Queue()
        self.lock, self.numbers = ctx.Lock(), ctx.RawArray("q", 2)
        self.hands = ctx.RawArray("q", SEATS)
        self.taken = set()  # what the killed had in hand
        self.names = itertools.count()
        self.members = {}  # name: (kind, seat, process)
        self.active = set()  # names of those that have done something
        self.put = 0
        self.got = collections.Counter()
        self.kills, self.ended = collections.Counter(), collections.Counter()
        self.wrong = []
        self.last = time.monotonic()

    def start(self, kind, seat):
        """Start a member of a kind."""
        name = next(self.names)
        self.hands[seat] = 0
        args = (self.work, self.done, self.lock, self.numbers, self.hands, seat, name)
        if kind == "c":
            process = mproc.Program([PROGRAM, "member"], args=args, daemon=True)
        else:
            process = mproc.get_context(kind).Process(target=member, args=args, daemon=True)
        process.start()
        self.members[name] = (kind, seat, process)

    def kill(self):
        """Kill a member that has done something, and start another one of its kind."""
        name = self.random.choice(sorted(self.active))
        self.active.discard(name)
        kind, seat, process = self.members.pop(name)
        process.kill()
        process.join()
        if process.exitcode != -9:
            self.wrong.append(f"{kind} member {name} ended with {process.exitcode}")
        process.close()
        self.kills[kind] += 1
        if self.hands[seat]:
            self.taken.add(self.hands[seat] - 1)
        self.start(kind, seat)

    def feed(self):
        """Put numbers while there is room, but no more than collect() takes."""
        try:
            for _ in range(BOUND):
                self.work.put_nowait(self.put)
                self.put += 1
        except queue.Full:
            return

    def collect(self, timeout=0.0):
        """Take what has come back, but not all that comes: members are to be killed at work."""
        try:
            for _ in range(2 * BOUND):
                number, name = self.done.get(timeout > 0, timeout)
                self.got[number] += 1
                self.last = time.monotonic()
                if name in self.members:
                    self.ended[self.members[name][0]] += 1
                    self.active.add(name)
        except queue.Empty:
            if time.monotonic() - self.last > STUCK:
                raise AssertionError(f"nothing has come back for {STUCK} s: {self}") from None

    def enough(self):
        """Return whether each kind of member has been killed, and has worked afterwards."""
        working = {self.members[name][0] for name in self.active}
        return all(self.kills[kind] > 0 and kind in working for kind in KINDS)

    def run(self, seconds):
        """Kill for so long, and until all kinds had their turn; then let all come to their end."""
        for seat, kind in enumerate(KINDS * EACH):
            self.start(kind, seat)
        end, next_kill = time.monotonic() + seconds, 0.0
        while time.monotonic() < end or not self.enough():
            self.feed()
            if self.active and time.monotonic() > next_kill:
                self.kill()
                next_kill = time.monotonic() + self.random.uniform(0, KILL_INTERVAL)
            self.collect(0.001)
        self.finish()

    def finish(self):
        """Tell all members that there is no more, and wait for their ends."""
        for _ in self.members:
            while True:
                try:
                    self.work.put(None, timeout=0.01)
                    break
                except queue.Full:
                    self.collect()
        for name, (kind, _, process) in self.members.items():
            while process.exitcode is None:
                self.collect(0.01)
            if process.exitcode != 0:
                self.wrong.append(f"{kind} member {name} ended with {process.exitcode}")
            process.join()
            process.close()
        while not self.done.empty():
            self.collect()
        self.check()

    def check(self):
        """Add up."""
        kills, got, (first, second) = self.kills.total(), len(self.got), self.numbers
        self.wrong += [
            f"{n} has come back {times} times" for n, times in self.got.items() if times > 1
        ]
        self.wrong += [f"{n} was never put" for n in self.got if not 0 <= n < self.put]
        if not self.work.empty():
            self.wrong.append(f"{self.work.qsize()} are left in the queue")
        missing = set(range(self.put)).difference(self.got)
        lost = missing - self.taken
        if len(lost) > 3 + kills // 10:
            self.wrong.append(f"nobody had {sorted(lost)[:20]} in hand, {kills} were killed")
        if not got <= first <= self.put:
            self.wrong.append(f"{first} were counted, {got} have come back of {self.put}")
        if self.count_again() != (first + 1, first + 1):
            self.wrong.append(f"the numbers are {first} and {second}")

    def count_again(self):
        """Return the numbers after one more step, which mends what the last death has left."""
        count_both(self.lock, self.numbers)
        return tuple(self.numbers)

    def __str__(self):
        kills = ", ".join(f"{kind} {self.kills[kind]} (did {self.ended[kind]})" for kind in KINDS)
        taken = len(self.taken.difference(self.got))
        total = f"got {len(self.got)}, {taken} were in the hands of the killed"
        return f"put {self.put}, {total}, killed {self.kills.total()}: {kills}"


def main():
    """Run as the command line says; exit with 1 if the account is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chaos = Chaos(options.seed)
    chaos.run(options.seconds)
    print(chaos, *chaos.wrong, sep="\n")
    return 1 if chaos.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
