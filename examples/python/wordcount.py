"""Word frequencies of many files, counted by a pool of processes.

    wordcount.py [--counts OUT] PATH...

A PATH is a file, or a directory that is searched for .py files. A word is a longest run of the
bytes A-Z, a-z and _. The ten most frequent words go to stdout, progress and times to stderr, and
all counts to OUT, a line `word count` each. examples/c/wordcount.c does the same. This is a plain
multiprocessing program: `python -m mproc wordcount.py ...` runs it on mproc.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter
from multiprocessing import Pool

GROUP = 16  # files in a task: enough to be worth a message, few enough to share out evenly
TOP = 10

find_words = re.compile(rb"[A-Za-z_]+").findall


def count_group(paths: list[str]) -> Counter[bytes]:
    """The function of a task: counts the words of some files."""
    counts: Counter[bytes] = Counter()
    for path in paths:
        with open(path, "rb") as file:
            counts.update(find_words(file.read()))
    return counts


def python_files(directory: str) -> list[str]:
    """All .py files in and under the directory."""
    paths = []
    for room, _, names in os.walk(directory):
        paths += [os.path.join(room, name) for name in names if name.endswith(".py")]
    return [path for path in paths if os.path.isfile(path)]


def all_files(paths: list[str]) -> list[str]:
    """Files as they are, directories searched."""
    files: list[str] = []
    for path in paths:
        os.stat(path)  # a path that does not exist is an error here
        files += python_files(path) if os.path.isdir(path) else [path]
    return sorted(files)


def count_all(files: list[str]) -> Counter[bytes]:
    """Counts the files' words in a pool; each task is a group of files."""
    groups = [files[i : i + GROUP] for i in range(0, len(files), GROUP)]
    total: Counter[bytes] = Counter()
    done = 0
    with Pool() as pool:
        results = [pool.apply_async(count_group, (group,)) for group in groups]
        for group, result in zip(groups, results, strict=True):
            total.update(result.get())
            done += len(group)
            print(f"\r  {done} of {len(files)} files", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return total


def main() -> None:
    """Counts what the command line names."""
    parser = argparse.ArgumentParser(description="Counts words in a pool of processes.")
    parser.add_argument("--counts", metavar="OUT", help="write all counts to this file")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file, or a directory")
    options = parser.parse_args()

    files = all_files(options.paths)
    start = time.perf_counter()
    counts = count_all(files)
    seconds = time.perf_counter() - start
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for word, count in ordered[:TOP]:
        print(f"{count:8} {word.decode()}")
    print(f"{counts.total()} words, {len(counts)} different, in {len(files)} files")
    if options.counts:
        with open(options.counts, "wb") as out:
            out.writelines(b"%s %d\n" % item for item in ordered)
    print(f"  {seconds:.3f} s, {len(files) / seconds:.0f} files/s", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"wordcount: {error.filename}: {error.strerror}")
