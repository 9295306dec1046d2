"""Word counts in a shared dict: each worker counts its lines, and all add to the same numbers."""

import mproc
from mproc.dicts import Dict

LINES = [
    "the quick brown fox jumps over the lazy dog",
    "the dog sleeps and the fox runs",
    "a quick dog is no lazy fox",
]
ROUNDS = 500


def count(words: Dict[str, int], line: str) -> None:
    for _ in range(ROUNDS):
        for word in line.split():
            words.add(word)


def main() -> None:
    words: Dict[str, int] = mproc.Dict()
    workers = [mproc.Process(target=count, args=(words, line)) for line in LINES]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for word in sorted(words):
        print(f"{word}: {words[word]}")


if __name__ == "__main__":
    main()
