"""A module beside a script."""


def double(x):
    return 2 * x
