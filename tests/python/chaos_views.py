"""Holders of received arrays are killed at random; in the end the arena is back to where it was.

    python tests/python/chaos_views.py [--seconds N] [--seed N]

How it works. The owner puts arrays into a queue: plain ones, which are copied once, and shared
ones, which go by reference, some of them smaller than a chunk of the arena. Holders take them, keep
the last few, look whether each is what was put, write to those that are theirs alone, and send some
on, whole or in part, through a second queue or a pipe. Every few milliseconds the owner kills one,
wherever it is, and starts another in its place.

The account. Nobody sees an array that is not as it was put. When all holders have been killed and
the queues are gone, as many bytes and blocks of the arena are in use as before.
"""

import argparse
import collections
import gc
import os
import queue as queues
import random
import sys
import time

import numpy as np

import mproc
from mproc import _mproc

HOLDERS = 6
KEPT = 4  # arrays that a holder has at a time
WAITING = 16  # in the queue, at most
SIZES = (1000, 70_000, 1 << 20, 5 << 20)  # bytes
LONG = 60.0  # seconds
KILL_INTERVAL = 0.01  # seconds between two kills, at most


def is_whole(array):
    """Return whether all of an array is as its first element says."""
    return len(array) == 0 or bool((array == array[0]).all())


def hold(source, sink, end, wrong):
    """Take arrays and keep the last ones, until killed."""
    kept = collections.deque(maxlen=KEPT)
    while True:
        plain, shared = source.get()
        if not (is_whole(plain) and is_whole(shared)):
            wrong.set()
        plain += 1
        kept.append((plain, shared[len(shared) // 3 :]))
        if not all(is_whole(mine) for mine, _ in kept):
            wrong.set()
        choice = random.randrange(4)
        if choice == 0:
            sink.put(kept[0])
        elif choice == 1:
            sink.put([kept[-1][0][10:2000], shared])
        elif choice == 2 and end is not None:
            end.send(kept[-1])


class Chaos:
    """What the owner knows."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.ctx = mproc.get_context("fork")
        self.wrong = []
        self.put = self.got = self.kills = 0

    def run(self, seconds):
        """Have holders live and die for so long; a short time first makes what stays for good."""
        self.try_for(min(0.3, seconds))
        before = self.in_use()
        self.try_for(seconds)
        after = self.in_use()
        if before != after:
            self.wrong.append(f"blocks and bytes in use: {before} before, {after} afterwards")

    @staticmethod
    def in_use():
        gc.collect()
        _mproc.reap()
        stat = _mproc.arena_stat()
        return stat["blocks"], stat["used"]

    def try_for(self, seconds):
        source, sink, wrong = self.ctx.Queue(WAITING), self.ctx.Queue(), self.ctx.Event()
        holders = [self.start(source, sink, wrong) for _ in range(HOLDERS)]
        end = time.monotonic() + seconds
        kill_at = 0.0
        while time.monotonic() < end:
            self.feed(source)
            self.drain(sink, holders)
            if time.monotonic() >= kill_at:
                kill_at = time.monotonic() + self.random.random() * KILL_INTERVAL
                self.replace(holders, source, sink, wrong)
        for process, connection in holders:
            self.end(process, connection)
        self.drain(sink, [])
        if wrong.is_set():
            self.wrong.append("an array was not as it was put")

    def start(self, source, sink, wrong):
        mine, its = self.ctx.Pipe(duplex=self.random.random() < 0.5)
        process = self.ctx.Process(
            target=hold, args=(source, sink, its if its.writable else None, wrong)
        )
        process.start()
        its.close()
        return process, mine

    def feed(self, source):
        """Put a plain and a shared array, if there is room."""
        size = self.random.choice(SIZES)
        shared = mproc.empty(size // 8)
        shared[:] = self.put
        try:
            source.put((np.full(size // 8, float(self.put)), shared), timeout=0.01)
            self.put += 1
        except queues.Full:
            pass

    def drain(self, sink, holders):
        """Take what the holders have sent on."""
        while not sink.empty():
            self.look(sink.get(timeout=LONG))
        for _, connection in holders:
            if connection.poll():
                self.receive(connection)

    def receive(self, connection):
        """A holder that was killed while it sent has sent a part, or nothing."""
        try:
            self.look(connection.recv())
        except (EOFError, OSError):
            return

    def look(self, arrays):
        self.got += 1
        if not all(is_whole(array) for array in arrays):
            self.wrong.append("an array that was sent on is not whole")

    def replace(self, holders, source, sink, wrong):
        i = self.random.randrange(len(holders))
        self.end(*holders[i])
        self.kills += 1
        holders[i] = self.start(source, sink, wrong)

    @staticmethod
    def end(process, connection):
        process.kill()
        process.join(LONG)
        process.close()
        connection.close()

    def __str__(self):
        return f"put {self.put}, sent on {self.got}, killed {self.kills}"


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
