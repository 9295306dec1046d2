"""A program that makes itself a daemon, and children that close, execute and leave things."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time


def double(number):
    return 2 * number


def detach(method, descriptor):
    """Leave the parent as daemons do: a session of its own, a second fork, no descriptors."""
    os.setsid()
    if os.fork():
        os._exit(0)
    os.dup2(descriptor, 1)
    os.closerange(3, 256)
    ctx = multiprocessing.get_context(method)
    with ctx.Pool(2) as pool:
        print(pool.map(double, range(10)), flush=True)
    queue = ctx.Queue()
    process = ctx.Process(target=queue.put, args=(5,))
    process.start()
    print(queue.get(timeout=60), flush=True)
    process.join()
    print(process.exitcode, flush=True)


def daemon(method):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        detach(method, writer)
        return False
    os.close(writer)
    os.wait()
    with open(reader) as output:
        print(output.read(), end="", flush=True)
    return True


def close_all(queue):
    queue.put("in")
    queue.close()
    queue.join_thread()
    os.closerange(3, 256)
    print("closed", flush=True)


def become_a_program():
    os.execv("/bin/sh", ["sh", "-c", "echo a program; exit 7"])


def start_a_program():
    print(subprocess.check_output(["echo", "another"]), flush=True)


def spin():
    while True:
        time.sleep(0.01)


def leave_a_thread():
    threading.Thread(target=spin, daemon=True).start()


def say_where():
    print(os.path.basename(os.getcwd()), flush=True)


def children(ctx):
    queue = ctx.Queue()
    process = ctx.Process(target=close_all, args=(queue,))
    process.start()
    said = queue.get(timeout=60)
    process.join()
    print(said, process.exitcode, flush=True)
    os.mkdir("below")
    os.chdir("below")
    for target in (say_where, become_a_program, start_a_program, leave_a_thread, say_where):
        process = ctx.Process(target=target)
        process.start()
        process.join()
        print(target.__name__, process.exitcode, flush=True)
    os.rmdir(os.getcwd())


def main(method):
    if daemon(method):
        sys.argv[0] = os.path.abspath(sys.argv[0])
        os.chdir(os.environ["TMPDIR"])
        children(multiprocessing.get_context(method))


if __name__ == "__main__":
    main(sys.argv[1])
