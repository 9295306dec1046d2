"""Which tests are meant: selectors, the list of classes, the list of expected failures.

A selector names tests, from coarse to fine (test names may be shell patterns):

    _TestLock                  every variant the suite generates from this template
    _TestLock.processes        one of them; WithProcessesTestLock is the same
    _TestLock.processes.test_lock
    _TestLock.test_lock        that test in every variant
    TestWait, TestWait.test_wait
    test_multiprocessing_main_handling[.Class[.test]]      a test module of its own

With `!` before it, it takes tests away. In classes.txt a line is a selector, `timeout=SECONDS`
for classes with tests that are silent for longer than usual, `optional` for what not every set of
interpreters has, and `# reason`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

VARIANTS = ("processes", "threads", "manager")


class BadSelection(Exception):
    """The selection or a list file cannot be understood."""


@dataclass(frozen=True)
class Case:
    """A test class as found in an interpreter, under one start method."""

    module: str  # test.test_multiprocessing_spawn
    name: str  # WithProcessesTestLock
    tests: tuple[str, ...]

    @property
    def template(self) -> tuple[str, str] | None:
        """The template and the variant this class was generated from."""
        match = re.fullmatch(r"With(Processes|Threads|Manager)(\w+)", self.name)
        return ("_" + match[2], match[1].lower()) if match else None


@dataclass(frozen=True)
class Selector:
    text: str
    module: str = ""  # of a module of its own
    case: str = ""
    variant: str = ""
    test: str = ""
    exclude: bool = False
    reason: str = ""
    timeout: float | None = None
    optional: bool = False

    def takes(self, case: Case) -> bool:
        """Whether it is about this class or tests of it."""
        if self.module:
            ours = self.module in case.module.split(".")
            return ours and self.case in ("", case.name)
        template = case.template
        if template and self.case == template[0]:
            return self.variant in ("", template[1])
        return self.case == case.name

    def matches(self, case: Case, test: str) -> bool:
        return self.takes(case) and (not self.test or fnmatchcase(test, self.test))


def parse_selector(text: str, **more: Any) -> Selector:
    """Returns the selector; `more` has the other parts of its line."""
    exclude = text.startswith("!")
    head, *rest = text.removeprefix("!").split(".")
    parts: dict[str, Any] = {"module": "", "case": head, "variant": "", "test": ""}
    if head.startswith("test_"):
        parts["module"], parts["case"] = head, rest.pop(0) if rest else ""
    if head.startswith("_") and rest and rest[0] in VARIANTS:
        parts["variant"] = rest.pop(0)
    if rest:
        parts["test"] = rest.pop(0)
    if rest or not re.fullmatch(r"\w+", head):
        raise BadSelection(f"{text!r} is not a selector: Class[.variant][.test] or module[...]")
    return Selector(text, exclude=exclude, **parts, **more)


def parse_line(line: str, where: str) -> Selector | None:
    """The selector in a line of classes.txt, if there is one."""
    body, _, reason = (part.strip() for part in line.partition("#"))
    if not body:
        return None
    selector, *options = body.split()
    more: dict[str, object] = {"reason": reason}
    for option in options:
        if match := re.fullmatch(r"timeout=(\d+)", option):
            more["timeout"] = float(match[1])
        elif option == "optional":
            more["optional"] = True
        else:
            raise BadSelection(f"{where}: {option!r} is not an option (timeout=SECONDS, optional)")
    if selector.startswith("!") and not reason:
        raise BadSelection(f"{where}: {selector} needs a reason (# ...)")
    return parse_selector(selector, **more)


def read_classes(path: Path) -> list[Selector]:
    lines = enumerate(path.read_text().splitlines(), 1)
    found = (parse_line(line, f"{path.name}:{number}") for number, line in lines)
    return [selector for selector in found if selector]


@dataclass
class Chosen:
    """Tests of one class that are to be run, and those that are left out on purpose."""

    case: Case
    tests: list[str]
    excluded: list[tuple[str, str]] = field(default_factory=list)
    timeout: float | None = None


def choose(
    cases: Iterable[Case], wanted: Iterable[Selector], listed: Iterable[Selector] = ()
) -> list[Chosen]:
    """What `wanted` selects; exclusions and timeouts of `listed` hold, too.

    A test that `wanted` names itself is run though it is excluded.
    """
    wanted, listed = list(wanted), list(listed)
    takers = [selector for selector in wanted if not selector.exclude]
    away = [selector for selector in wanted + listed if selector.exclude]
    named = [selector for selector in takers if selector.test]
    chosen = []
    for case in cases:
        picked = Chosen(case, [], timeout=longest(case, wanted + listed))
        for test in case.tests:
            if not any(selector.matches(case, test) for selector in takers):
                continue
            reason = next((gone.reason for gone in away if gone.matches(case, test)), None)
            if reason is None or any(selector.matches(case, test) for selector in named):
                picked.tests.append(test)
            else:
                picked.excluded.append((test, reason))
        if picked.tests or picked.excluded:
            chosen.append(picked)
    return chosen


def longest(case: Case, selectors: Iterable[Selector]) -> float | None:
    limits = [selector.timeout for selector in selectors if selector.takes(case)]
    return max((limit for limit in limits if limit is not None), default=None)


@dataclass
class Expected:
    """A test that fails on purpose: why, and what happens instead."""

    selector: Selector
    python: str
    method: str
    reason: str
    instead: str
    sometimes: bool = False  # it may pass, too: what it pins is a matter of timing
    known: bool = False  # whether any interpreter here has such a test

    def covers(self, python: str, method: str, case: Case, test: str) -> bool:
        here = fnmatchcase(python, self.python) and fnmatchcase(method, self.method)
        return here and self.selector.matches(case, test)


def parse_expected(entry: dict[str, object], where: str) -> Expected:
    allowed = {"test", "python", "method", "reason", "instead", "when"}
    bad = [key for key in entry if key not in allowed or not isinstance(entry[key], str)]
    lacking = [key for key in ("test", "reason", "instead") if not entry.get(key)]
    if bad or lacking:
        raise BadSelection(f"{where}: keys not understood: {bad}, lacking: {lacking}")
    text = {key: str(value) for key, value in entry.items()}
    selector = parse_selector(text["test"])
    if not selector.test or selector.exclude:
        raise BadSelection(f"{where}: {text['test']!r} must name a test")
    if text.get("when", "sometimes") != "sometimes":
        raise BadSelection(f"{where}: when = {text['when']!r}; only 'sometimes' is understood")
    python, method = text.get("python", "*"), text.get("method", "*")
    return Expected(selector, python, method, text["reason"], text["instead"], "when" in text)


def read_expected(path: Path) -> list[Expected]:
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise BadSelection(f"{path.name}: {error}") from error
    entries = table.pop("expected", [])
    if table or not isinstance(entries, list):
        raise BadSelection(f"{path.name}: only [[expected]] tables are understood")
    return [parse_expected(entry, f"{path.name}, entry {n}") for n, entry in enumerate(entries, 1)]
