"""What parallel programs of science import, in one program: torch, joblib, scikit-learn, loky."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import joblib
import loky
import torch
import torch.multiprocessing
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC


def square(x):
    return x * x


def total(tensor):
    return float(tensor.sum())


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return torch.full((8,), float(i))


def with_joblib():
    for backend in ("loky", "multiprocessing", "threading"):
        parallel = joblib.Parallel(2, backend=backend)
        print(backend, parallel(joblib.delayed(square)(i) for i in range(6)))


def with_executors(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        executor._adjust_process_count()  # as torch's compiler does
        print(list(executor.map(total, [torch.ones(5), torch.ones(7)])))
    executor = loky.get_reusable_executor(2)
    print(list(executor.map(square, range(4))))
    executor.shutdown()


def with_sklearn():
    x, y = make_classification(100, random_state=0)
    print(GridSearchCV(SVC(), {"C": [0.1, 1]}, n_jobs=2).fit(x, y).best_params_)


def with_torch(method):
    loader = torch.utils.data.DataLoader(
        Rows(), batch_size=10, num_workers=2, multiprocessing_context=method
    )
    print([float(batch.sum()) for batch in loader])
    with torch.multiprocessing.get_context(method).Pool(2) as pool:
        print(pool.map(total, [torch.ones(3)] * 3))


def main(method):
    with_joblib()
    with_executors(method)
    with_sklearn()
    with_torch(method)


if __name__ == "__main__":
    main(sys.argv[1])
