from multiprocessing import Pool, Process, Queue


def square(x):
    return x * x


def greet(queue, name):
    queue.put(f"hello from {name}")


if __name__ == "__main__":
    with Pool(4) as pool:
        print(pool.map(square, range(5)))
    queue = Queue()
    child = Process(target=greet, args=(queue, "child"))
    child.start()
    print(queue.get())
    child.join()
