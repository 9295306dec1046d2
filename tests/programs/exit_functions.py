"""Exit functions of the program: what was registered before the first use finds no child alive."""

import atexit
import multiprocessing
import os
import shutil
import sys
import tempfile
import time


def tell(when):
    alive = [child.name for child in multiprocessing.active_children()]
    print(when, "alive:", alive, flush=True)


def use_files(folder, begun, going_on):
    begun.set()
    going_on.wait()
    time.sleep(0.2)
    print("the child has", os.listdir(folder), flush=True)


def main(method):
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "input"), "w"):
        pass
    atexit.register(shutil.rmtree, folder)
    atexit.register(tell, "before the first use,")
    multiprocessing.set_start_method(method)
    print("a process that is asked for its name:", multiprocessing.current_process().name)
    atexit.register(tell, "before an event is made,")
    begun, going_on = multiprocessing.Event(), multiprocessing.Event()
    atexit.register(going_on.set)
    atexit.register(tell, "before the start,")
    arguments = (folder, begun, going_on)
    multiprocessing.Process(target=use_files, args=arguments, name="child").start()
    begun.wait()
    atexit.register(tell, "at the end,")


if __name__ == "__main__":
    main(sys.argv[1])
