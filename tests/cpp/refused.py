"""What mproc.hpp refuses: the compiler's first error is a sentence that says what to do.

usage: refused.py INCLUDE COMPILER…

Each program is compiled, and must not compile. Ends with one line: N passed, N failed.
"""

import re
import subprocess
import sys
import textwrap

ERROR = re.compile(r"^.*\berror: .*$", re.MULTILINE)

# The body of main, and what the first error says.
PROGRAMS = {
    "a process whose function has a parameter": (
        "mproc::process child([](int) {});",
        "the function of a process has no parameters",
    ),
    "a process of a plain function with a parameter": (
        "mproc::process child(with_parameter);",
        "the function of a process has no parameters",
    ),
    "a process whose function captures a string": (
        "std::string name; mproc::process child([name] {});",
        "the function of a process captures plain data",
    ),
    "a task whose function has a parameter": (
        "mproc::pool pool(1); pool.submit([](int) { return 1; });",
        "the function of a task has no parameters",
    ),
    "a map over a std::list": (
        "mproc::pool pool(1); std::list<int> in; pool.map([](int n) { return n; }, in);",
        "the items of a map stand side by side in memory",
    ),
    "a map whose function takes nothing": (
        "mproc::pool pool(1); std::vector<int> in; pool.map([] { return 1; }, in);",
        "the function of a map takes one item",
    ),
    "a map over strings": (
        "mproc::pool pool(1); std::vector<std::string> in;"
        "pool.map([](const std::string &s) { return s.size(); }, in);",
        "the items of a map are plain data",
    ),
    "a map that gives strings": (
        "mproc::pool pool(1); std::vector<int> in; pool.map([](int) { return text; }, in);",
        "the results of a map are plain data",
    ),
}

PROGRAM = """
    #include <list>
    #include <mproc.hpp>
    inline void with_parameter(int) {{}}
    inline const std::string text;
    int main(int argc, char **argv) {{
        mproc::init(argc, argv);
        {body}
    }}
"""


def why_refused(compiler: list[str], body: str) -> str | None:
    """The first error; None: the program compiles."""
    source = textwrap.dedent(PROGRAM).format(body=body)
    command = [*compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    ran = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return None
    found = ERROR.search(ran.stderr)
    return found.group() if found else ran.stderr


def main() -> int:
    compiler = [*sys.argv[2:], f"-I{sys.argv[1]}"]
    failed = 0
    if (error := why_refused(compiler, "mproc::process child([] {});")) is not None:
        print(f"FAILED   a right program does not compile: {error}")
        failed += 1
    for name, (body, sentence) in PROGRAMS.items():
        error = why_refused(compiler, body)
        if error is None or sentence not in error:
            print(f"FAILED   {name}: {error or 'compiles'}")
            failed += 1
    print(f"{1 + len(PROGRAMS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
