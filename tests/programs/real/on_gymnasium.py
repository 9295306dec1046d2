"""gymnasium: environments in processes, with and without shared memory, by each start method."""

import gymnasium
import numpy


def make():
    return gymnasium.make("CartPole-v1")


if __name__ == "__main__":
    for shared_memory in (True, False):
        for method in ("fork", "spawn", "forkserver"):
            environments = gymnasium.vector.AsyncVectorEnv(
                [make] * 2, shared_memory=shared_memory, context=method
            )
            observed, _ = environments.reset(seed=1)
            total = observed.sum()
            for _ in range(10):
                total += environments.step(numpy.array([0, 1]))[0].sum()
            print(shared_memory, method, round(float(total), 4))
            environments.close()
