"""A scoreboard: players add to their own scores, and one process watches all of them.

What the watcher prints is always one moment's: the scores in a shared list are copied in one step.
"""

import random

import mproc
from mproc.lists import List
from mproc.namespaces import Namespace

PLAYERS = ("ann", "bob", "eve")
ROUNDS = 300


def play(scores: List[int], number: int) -> None:
    rng = random.Random(number)
    for _ in range(ROUNDS):
        scores.add(number, rng.randint(0, 9))


def watch(scores: List[int], game: Namespace) -> None:
    while game.going:
        best = max(scores)
        assert best <= 9 * ROUNDS


def main() -> None:
    scores, game = mproc.List([0] * len(PLAYERS)), mproc.Namespace(going=True)
    watcher = mproc.Process(target=watch, args=(scores, game))
    players = [mproc.Process(target=play, args=(scores, i)) for i in range(len(PLAYERS))]
    for process in (watcher, *players):
        process.start()
    for player in players:
        player.join()
    game.going = False
    watcher.join()
    for score, name in sorted(zip(scores, PLAYERS, strict=True), reverse=True):
        print(f"{name}: {score}")
    if watcher.exitcode != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
