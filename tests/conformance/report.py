"""Counts the outcomes and prints them, failures with all that is needed to run them again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from selection import Case, Expected
from trial import Outcome


@dataclass
class Report:
    expected: list[Expected]
    verbose: bool = False
    command: str = "tests/conformance/run.py"
    counts: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)  # titles of failures
    foreseen: list[str] = field(default_factory=list)

    def fail(self, title: str, detail: str) -> None:
        """A failure that is not a test's."""
        self.counts["failed"] += 1
        self.surprises.append(title)
        print(f"FAILED {title}\n{indent(detail)}", flush=True)

    def take_in(self, part: Report) -> None:
        """Counts what another report has printed already."""
        self.counts.update(part.counts)
        self.surprises += part.surprises
        self.foreseen += part.foreseen

    def add(self, python: str, method: str, case: Case, outcomes: list[Outcome]) -> None:
        """Prints a line for the class, then its failures and, if verbose, its skipped tests."""
        judged = [self.judge(python, method, case, outcome) for outcome in outcomes]
        tally = Counter(outcome.status for outcome in judged)
        self.counts.update(tally)
        place = f"{python:5} {method:11}"
        words = [f"{tally[kind]:3} {kind}" for kind in ("passed", "failed", "skipped")]
        if tally["expected"]:
            words.append(f"{tally['expected']} expected to fail")
        print(f"{place}{case.name:38} {'  '.join(words)}", flush=True)
        for outcome in judged:
            self.tell(python, method, case, outcome)

    def judge(self, python: str, method: str, case: Case, outcome: Outcome) -> Outcome:
        """The outcome in the light of the list of expected failures."""
        test, status = outcome.test, outcome.status
        entry = next((e for e in self.expected if e.covers(python, method, case, test)), None)
        if entry is None or status == "skipped" or (entry.sometimes and status == "passed"):
            return outcome
        if status == "failed":
            where = f"{python} {method} {case.name}.{test}"
            self.foreseen.append(f"{where}: {entry.reason} Instead: {entry.instead}")
            return Outcome(test, "expected", entry.reason)
        return Outcome(test, "failed", f"unexpected success; expected to fail: {entry.reason}")

    def tell(self, python: str, method: str, case: Case, outcome: Outcome) -> None:
        if outcome.status == "failed":
            where = f"{python} {method} {case.name}.{outcome.test}"
            self.surprises.append(where)
            again = self.again(python, method, case, outcome.test)
            print(f"FAILED {where}\n{indent(outcome.detail)}\n    again: {again}", flush=True)
        elif outcome.status == "skipped" and self.verbose:
            print(f"    skipped {outcome.test}: {outcome.detail.strip()}")

    def again(self, python: str, method: str, case: Case, test: str) -> str:
        own = case.module.split(".")[1]
        suite = own == f"test_multiprocessing_{method}"  # its classes are found without it
        name = case.name if suite else f"{own}.{case.name}"
        only = name if test.startswith("(") else f"{name}.{test}"
        return f"{self.command} --python {python} --method {method} --only {only}"

    def close(self) -> int:
        """The summary; the last line has the counts. Returns the exit code."""
        if self.foreseen:
            print(f"\n{len(self.foreseen)} expected failures:")
            print("\n".join(f"    {line}" for line in self.foreseen))
        if self.surprises:
            print("\nFailed:")
            print("\n".join(f"    {line}" for line in self.surprises))
        ran = self.counts["passed"] + self.counts["expected"]
        if not ran and not self.counts["failed"]:
            print("\nNothing was run.")
        kinds = ("passed", "failed", "skipped")
        print("\n" + ", ".join(f"{self.counts[kind]} {kind}" for kind in kinds), flush=True)
        return 0 if ran and not self.counts["failed"] else 1


def indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())
