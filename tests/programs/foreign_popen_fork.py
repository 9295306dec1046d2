"""A process class with a popen object of its own, which forks: what it offers is poll and wait."""

import io
import multiprocessing
import os
import sys
from multiprocessing.context import set_spawning_popen
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler


class DupFd:
    def __init__(self, fd):
        self.fd = fd

    def detach(self):
        return os.dup(self.fd)


class Popen:
    """Starts a process that is told what to do by a pickle."""

    sentinel = 0
    DupFd = DupFd

    def __init__(self, process):
        sys.stdout.flush()
        self.returncode = None
        message = io.BytesIO()
        set_spawning_popen(self)
        try:
            ForkingPickler(message).dump(process._args)
        finally:
            set_spawning_popen(None)
        self.pid = os.fork()
        if self.pid == 0:
            process._args = ForkingPickler.loads(message.getvalue())
            os._exit(process._bootstrap())

    def duplicate_for_child(self, fd):
        return fd

    def poll(self, flag=os.WNOHANG):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, flag)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        return self.poll(0)


class Process(BaseProcess):
    _start_method = None

    @staticmethod
    def _Popen(process):
        return Popen(process)


def work(event, queue, number, lock):
    with lock:
        number.value += 1
    queue.put(["a message", number.value])
    event.set()


def main():
    ctx = multiprocessing.get_context("spawn")
    event, queue, number, lock = ctx.Event(), ctx.SimpleQueue(), ctx.Value("i", 41), ctx.Lock()
    process = Process(target=work, args=(event, queue, number, lock))
    print("before", process.is_alive(), process.exitcode)
    process.start()
    print(queue.get(), event.wait(20), number.value)
    process.join()
    print("after", process.is_alive(), process.exitcode, multiprocessing.active_children())


if __name__ == "__main__":
    main()
