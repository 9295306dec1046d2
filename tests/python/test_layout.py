"""The number by which two builds of the library know that they have the same structures."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def layout():
    spec = importlib.util.spec_from_file_location("layout", ROOT / "src" / "core" / "layout.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    for name in ("include/api.h", "src/core/a.h", "src/core/a.c", "src/b.c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"int of_{path.stem};\n")
    return tmp_path


def number(layout, tree):
    return layout.number(tree, layout.sources(tree))


@pytest.mark.parametrize("name", ["include/api.h", "src/core/a.h", "src/core/a.c", "src/b.c"])
def test_each_source_counts(layout, tree, name):
    before = number(layout, tree)
    (tree / name).write_text("int of_another;\n")
    assert number(layout, tree) != before


def test_bytes_may_not_move_from_one_file_to_the_next(layout, tree):
    before = number(layout, tree)
    first, second = tree / "src/core/a.c", tree / "src/core/a.h"
    text = first.read_text() + second.read_text()
    first.write_text(text[:5])
    second.write_text(text[5:])
    assert number(layout, tree) != before


def test_a_new_file_counts_and_its_place_does_not(layout, tree, tmp_path_factory):
    before = number(layout, tree)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    tree.rename(elsewhere)
    assert number(layout, elsewhere) == before
    (elsewhere / "src/core/c.c").touch()
    assert number(layout, elsewhere) != before


def test_a_build_makes_it_anew_when_a_source_changes(layout, tree, monkeypatch):
    out, depfile = tree / "layout.c", tree / "layout.d"
    monkeypatch.setattr("sys.argv", ["layout.py", str(tree), str(out), str(depfile)])
    layout.main()
    assert f"{number(layout, tree):#x}u;" in out.read_text()
    assert all(str(path) in depfile.read_text() for path in layout.sources(tree))
