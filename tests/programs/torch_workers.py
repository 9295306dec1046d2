"""torch: loaders with workers, and torch.multiprocessing by both of its ways to share memory."""

import gc
import multiprocessing
import os
import re
import signal
import sys
import warnings

import torch
import torch.multiprocessing as torch_mp
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

SECONDS = 60

torch.set_num_threads(1)  # a copy of a process has none of the threads that torch has started in it


class Squares(Dataset):
    """Numbers and their squares; one of them may raise, or end its worker."""

    def __init__(self, length, broken=None, deadly=None):
        self.length = length
        self.broken = broken
        self.deadly = deadly

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.broken:
            raise ValueError(f"number {index} is broken")
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(float(index)), torch.full((300, 200), index * index)


class Counted(IterableDataset):
    """Numbers, which the workers divide between them."""

    def __iter__(self):
        info = get_worker_info()
        yield from range(info.id, 23, info.num_workers)


def number_the_worker(number):
    torch.manual_seed(number)


def read_loaders(method):
    ways = {
        "plain": (1, {}),
        "persistent": (2, {"persistent_workers": True}),
        "many options": (
            1,
            {"prefetch_factor": 5, "worker_init_fn": number_the_worker, "timeout": SECONDS},
        ),
    }
    for name, (epochs, options) in ways.items():
        loader = DataLoader(
            Squares(37),
            batch_size=4,
            num_workers=2,
            pin_memory=False,
            multiprocessing_context=method,
            **options,
        )
        for epoch in range(epochs):
            numbers = [number.tolist() for number, _ in loader]
            print(name, epoch, numbers, sum(int(squares.sum()) for _, squares in loader))
        del loader
    loader = DataLoader(Counted(), batch_size=3, num_workers=2, multiprocessing_context=method)
    print("iterable", [batch.tolist() for batch in loader])


def leave_early(method):
    loader = DataLoader(
        Squares(100), num_workers=2, persistent_workers=True, multiprocessing_context=method
    )
    for number, _ in loader:
        print("left at", number.tolist())
        break
    gc.collect()  # or copies of this process have the rest of the loader, too, and complain


def first_line(error):
    """What an error says, but for the ids of processes, and for what the workers' frames are."""
    said = [line for line in str(error).splitlines() if line and not line.startswith(" ")]
    return type(error).__name__, re.sub(r"\d+", "N", said[0]), re.sub(r"\d+", "N", said[-1])


def meet_errors(method):
    for fault in ({"broken": 9}, {"deadly": 9}):
        loader = DataLoader(
            Squares(30, **fault), batch_size=4, num_workers=2, multiprocessing_context=method
        )
        try:
            for _ in loader:
                pass
        except (RuntimeError, ValueError) as error:
            if "deadly" in fault:
                # Whether the queue or the handler of SIGCHLD finds the death is a matter of time.
                print(fault, type(error).__name__, "DataLoader worker (pid" in str(error))
            else:
                print(fault, *first_line(error))
        del loader
        gc.collect()


def tensors():
    base = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    yield base
    yield base.T
    yield base[1:, ::2]
    yield torch.empty(0, 3)
    yield torch.tensor(True)
    yield torch.nn.Parameter(torch.ones(2, 2))
    yield torch.eye(3).to_sparse()
    yield torch.zeros(1 << 20, dtype=torch.uint8)
    yield {"nested": [base, base], "name": "a name"}


def change_and_send_back(strategy, inbox, outbox):
    torch_mp.set_sharing_strategy(strategy)
    while (item := inbox.get()) is not None:
        if isinstance(item, dict):
            item["nested"][0] += 1
        elif item.is_sparse:
            item = item.to_dense()
        elif item.dtype is not torch.bool:
            item.data += 1
        outbox.put(item)
    outbox.close()
    outbox.join_thread()


def pass_through_queues(method, strategy):
    ctx = torch_mp.get_context(method)
    inbox, outbox = ctx.SimpleQueue(), ctx.Queue()
    process = ctx.Process(target=change_and_send_back, args=(strategy, inbox, outbox))
    process.start()
    for item in tensors():
        inbox.put(item)
        got = outbox.get(timeout=SECONDS)
        if isinstance(item, dict):
            shared = got["nested"][0]
            print(strategy, shared.sum().item(), item["nested"][1].sum().item())
        else:
            print(strategy, tuple(got.shape), got.dtype, got.sum().item())
            print(" seen here", item.to_dense().sum().item(), got.is_shared())
        del got
    inbox.put(None)
    process.join()
    print(strategy, "exit code", process.exitcode)


def add_up(tensor):
    return tensor.sum()


def fill(shared, index):
    shared[index] = index + 1
    return shared


def use_pools(method, strategy):
    ctx = torch_mp.get_context(method)
    with ctx.Pool(2, torch_mp.set_sharing_strategy, (strategy,)) as pool:
        print("map", pool.map(add_up, [torch.full((1000,), i) for i in range(12)]))
        shared = torch.zeros(4).share_memory_()
        results = pool.starmap(fill, [(shared, i) for i in range(4)])
        print("starmap", shared, [result.shape for result in results])
        print("imap", [x.item() for x in pool.imap(add_up, torch.ones(5, 7))])
        try:
            pool.apply(add_up, (None,))
        except AttributeError as error:
            print("error", error)
        pool.close()
        pool.join()


def work(rank, results):
    results[rank] = rank * 10 + 1


def fail(rank, how):
    if rank == 1:
        if how == "raise":
            raise KeyError("rank 1")
        if how == "exit":
            sys.exit(3)
        os.kill(os.getpid(), signal.SIGKILL)


def spawn(method):
    results = torch.zeros(2).share_memory_()
    torch_mp.start_processes(work, args=(results,), nprocs=2, start_method=method)
    print("spawned", results)
    for how in ("raise", "exit", "die"):
        try:
            torch_mp.start_processes(fail, args=(how,), nprocs=2, start_method=method)
        except (torch_mp.ProcessRaisedException, torch_mp.ProcessExitedException) as error:
            print(how, *first_line(error), error.error_index)


def share_a_model(method):
    """What a trainer does: processes that all change one model."""
    model = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    model.share_memory()
    ctx = torch_mp.get_context(method)
    lock = ctx.Lock()
    processes = [ctx.Process(target=train, args=(model, lock)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print("trained", model.weight.data, [process.exitcode for process in processes])


def train(model, lock):
    for _ in range(20):
        with lock, torch.no_grad():
            model.weight += 0.5


def main(method):
    warnings.simplefilter("ignore")
    read_loaders(method)
    leave_early(method)
    meet_errors(method)
    for strategy in sorted(torch_mp.get_all_sharing_strategies()):
        torch_mp.set_sharing_strategy(strategy)
        pass_through_queues(method, strategy)
        use_pools(method, strategy)
    spawn(method)
    share_a_model(method)
    print("left", multiprocessing.active_children())


if __name__ == "__main__":
    main(sys.argv[1])
