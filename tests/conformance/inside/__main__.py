"""Lists the suite's tests, or runs some of one class and writes to a file what happens.

    python -m mproc_conformance list METHOD MODULE...
    python -m mproc_conformance run METHOD MODULE CLASS EVENTS TEST...

The file EVENTS gets one JSON object a line: `start` and `end` of each test, `whole` for a
result of the class or its module, `done`. It is opened for each line, so that no descriptor is
added to those that the tests count and the children inherit.
"""

import faulthandler
import importlib
import json
import os
import pkgutil
import sys
import unittest

from mproc_conformance import found


class Events:
    def __init__(self, path):
        self.path = path
        self.pid = os.getpid()

    def tell(self, event, **facts):
        if os.getpid() != self.pid:
            event, facts = "stray", {"detail": f"a child went on with the tests: {event} {facts}"}
        with open(self.path, "a") as file:
            file.write(json.dumps({"event": event, **facts}) + "\n")


class Result(unittest.TestResult):
    """Tells the status and the tracebacks of each test as it ends."""

    def __init__(self, events):
        super().__init__()
        self.events = events
        self.status, self.details = "passed", []

    def startTest(self, test):
        super().startTest(test)
        self.status, self.details = "passed", []
        self.events.tell("start", test=test.id().rpartition(".")[2])

    def stopTest(self, test):
        super().stopTest(test)
        name = test.id().rpartition(".")[2]
        detail = "\n".join(self.details)
        self.events.tell("end", test=name, status=self.status, detail=detail)

    def record(self, test, status, detail):
        if not hasattr(test, "_testMethodName") and not hasattr(test, "test_case"):
            self.events.tell("whole", status=status, detail=f"{test.id()}\n{detail}")
        elif self.status != "failed":  # a test that has failed stays failed
            self.status = status
            self.details.append(detail)
        elif status == "failed":
            self.details.append(detail)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.record(test, "failed", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.record(test, "failed", self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.record(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.record(test, "failed", "the suite itself marks this test as an expected failure")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            bad = self.failures if issubclass(err[0], test.failureException) else self.errors
            self.record(test, "failed", f"{subtest}\n{bad[-1][1]}")


def modules(name):
    """The test module of that name; of a package its test modules."""
    module = importlib.import_module(f"test.{name}")
    if not hasattr(module, "__path__"):
        return [module]
    names = sorted(info.name for info in pkgutil.iter_modules(module.__path__))
    return [
        importlib.import_module(f"test.{name}.{part}") for part in names if part.startswith("test_")
    ]


def tests(module, method):
    """Test names by class, without the classes that are about another start method."""
    cases = {}
    for name, case in vars(module).items():
        if not isinstance(case, type) or not issubclass(case, unittest.TestCase):
            continue
        about = getattr(case, "start_method", None) or getattr(case, "ctx", None) or method
        if about == method and case.__module__ == module.__name__:
            cases[name] = unittest.defaultTestLoader.getTestCaseNames(case)
    return {name: methods for name, methods in cases.items() if methods}


def plan(method, names):
    """Prints what there is to run: a list of [module, class, tests]."""
    rows = []
    for name in names:
        for module in modules(name):
            of_class = tests(module, method)
            rows += [[module.__name__, case, names] for case, names in of_class.items()]
    print(json.dumps(rows))


def prepare():
    """What regrtest would have set: named resources, a crash that shows where."""
    from test import support

    support.use_resources = ["cpu", "walltime"]
    faulthandler.enable()


def tolerant(setup):
    """setUpModule with placeholders for what the package lacks."""

    def wrapped():
        from mproc_conformance import absent

        with absent.filled():
            setup()

    return wrapped


def strangers():
    """Modules of the standard library's package that got in."""
    files = ((name, getattr(module, "__file__", None)) for name, module in sys.modules.items())
    return [f"{name} from {file}" for name, file in files if file and outside(file)]


def outside(file):
    return found.PACKAGE == "mproc" and file.startswith(found.STANDARD)


def run(method, module_name, case_name, path, names):
    from test import support

    events = Events(path)
    module = importlib.import_module(module_name)
    if (found.ABSENT_MODULES or found.ABSENT_NAMES) and hasattr(module, "setUpModule"):
        module.setUpModule = tolerant(module.setUpModule)
    case = getattr(module, case_name)
    unittest.TestSuite(map(case, names)).run(Result(events))
    events.tell("done", altered=support.environment_altered, strangers=strangers())


def main(action, method, *rest):
    prepare()
    if action == "list":
        plan(method, rest)
    else:
        module_name, case_name, path, *names = rest
        run(method, module_name, case_name, path, names)


if __name__ == "__main__":
    main(*sys.argv[1:])
