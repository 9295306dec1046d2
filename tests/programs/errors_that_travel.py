"""Exceptions of tasks, as their callers catch them."""

import json
import multiprocessing
import os
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor


class Refused(Exception):
    """Says in __reduce__ how it is made again."""

    def __init__(self, *, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __reduce__(self):
        return refused, (self.code, self.reason)


def refused(code, reason):
    return Refused(code=code, reason=reason)


class WithState(ValueError):
    """Has attributes that no argument has."""

    def __init__(self, text):
        super().__init__(text)
        self.history = [text]

    def __str__(self):
        return f"{self.args[0]}, {len(self.history)}"


def fail(kind):
    if kind == "keywords":
        raise Refused(code=7, reason="by design")
    if kind == "state":
        error = WithState("first")
        error.history.append("second")
        raise error
    if kind == "cause":
        try:
            {}["missing"]
        except KeyError as error:
            raise LookupError("nothing of that name") from error
    if kind == "context":
        try:
            {}["missing"]
        finally:
            raise RuntimeError("while tidying up")
    if kind == "notes":
        error = ValueError("a bad value")
        error.add_note("in the third line")
        raise error
    if kind == "group":
        raise ExceptionGroup("two", [ValueError(1), ExceptionGroup("in it", [KeyError("k")])])
    if kind == "file":
        os.stat("/no/such/file")
    if kind == "decode":
        b"\xff".decode()
    if kind == "json":
        json.loads("{")
    if kind == "assert":
        assert kind == "", "not empty"


KINDS = (
    "keywords", "state", "cause", "context", "notes", "group", "file", "decode", "json", "assert",
)  # fmt: skip


def show(kind, error):
    print(kind, type(error).__name__, str(error), error.args, flush=True)
    print("  ", {k: v for k, v in sorted(vars(error).items()) if not k.startswith("__")})
    print("  ", getattr(error, "filename", None), getattr(error, "errno", None))
    print("  ", type(error.__cause__).__name__.lstrip("_"), type(error.__context__).__name__)
    print("  ", "Traceback (most recent call last)" in str(error.__cause__))
    print("  ", traceback.extract_tb(error.__traceback__)[0].name)


def main(method):
    ctx = multiprocessing.get_context(method)
    with ctx.Pool(1) as pool, ProcessPoolExecutor(1, mp_context=ctx) as executor:
        for kind in KINDS:
            calls = {
                "apply": lambda kind=kind: pool.apply(fail, (kind,)),
                "map": lambda kind=kind: pool.map(fail, [kind]),
                "submit": lambda kind=kind: executor.submit(fail, kind).result(),
            }
            for call in calls.values():
                try:
                    call()
                except Exception as error:
                    show(kind, error)
                else:
                    print(kind, "no error")


if __name__ == "__main__":
    main(sys.argv[1])
