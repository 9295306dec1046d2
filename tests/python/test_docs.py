"""The programs in the documentation run, and print what they say."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def programs(chapter):
    return re.findall(r"```python\n(.*?)```", (DOCS / chapter).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("number", "printed"), [(0, "[(0, 0), (1, 1), (2, 4), (3, 9)]\n"), (1, "5 1\n")]
)
def test_managers(program, number, printed):
    assert program.output(program.write("example.py", programs("managers.md")[number])) == printed


def test_errors(program):
    text = (DOCS / "errors.md").read_text()
    printed = re.search(r"```\n\n((?:    .*\n)+)", text)[1].replace("    ", "")
    lines = program.output(program.write("example.py", programs("errors.md")[0])).splitlines(True)
    of_pickle = "when serializing "  # from Python 3.14 on it adds notes of its own
    assert "".join(line for line in lines if not line.startswith(of_pickle)) == printed


def test_pools_by_value(program):
    pytest.importorskip("cloudpickle")
    code = program.write("example.py", programs("pools.md")[0])
    assert program.output(code) == "[0, 10, 20, 30]\na child\n"


@pytest.mark.parametrize(
    ("number", "printed"),
    [(0, "[0, 1, 4, 9, 16]\n"), (1, "[('one', 1), ('three', 1), ('two', 3)]\n")],
)
def test_start(program, number, printed):
    code = program.write("example.py", programs("start.md")[number])
    assert program.output("-m", "mproc", code) == printed


def test_troubleshooting_knows_the_messages():
    """Its tables quote what the source says: a message that is worded anew is quoted anew."""
    rows = re.findall(
        r"^\| ([^|]*`[^|]*) \| ", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE
    )
    quoted = [text for row in rows for text in re.findall(r"`([^`]+ [^`]+)`", row)]
    source = "".join(
        path.read_text()
        for room in ("include", "src", "python")
        for path in (DOCS.parent / room).rglob("*.[hcp]*")
        if path.suffix in (".h", ".c", ".py")
    )
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    for text in quoted:
        for part in re.split(r"\b(?:NAME|N)\b", text):
            assert " ".join(part.split()) in " ".join(source.split()), text
    assert len(quoted) > 10
