"""What comes of children that fail: exit codes, and what they print."""

import multiprocessing
import os
import signal
import sys


def leave(how):
    if how == "exit":
        sys.exit(3)
    if how == "text":
        sys.exit("a last word")
    if how == "raise":
        raise ValueError("a bad value")
    if how == "_exit":
        os._exit(5)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def main(method):
    ctx = multiprocessing.get_context(method)
    for how in ("nothing", "exit", "text", "raise", "_exit", "kill"):
        process = ctx.Process(target=leave, args=(how,), name=f"to {how}")
        process.start()
        process.join()
        print(how, process.exitcode, process.is_alive(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
