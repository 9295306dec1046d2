"""scripts/laws.py refuses each breach planted into a small tree, and names file and line."""

import contextlib
import importlib.util
import io
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "laws.py"
spec = importlib.util.spec_from_file_location("laws", SCRIPT)
laws = importlib.util.module_from_spec(spec)
spec.loader.exec_module(laws)

HEAD = "/*\n * {name} - a file\n *\n * SPDX-License-Identifier: MIT\n */\n"  # 5 lines


def c(path: str, code: str) -> dict[str, str]:
    return {path: HEAD.format(name=path.rsplit("/", 1)[1]) + code}


def run(root: Path, files: dict[str, str], *names: str) -> tuple[int, list[str]]:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = laws.main(["--root", str(root), *names])
    return status, out.getvalue().splitlines()


STORE = "void mproc__a(void) {\n    mproc__store64(&word, 1); /* SYNC(a.word): all */\n}\n"
LOAD = "void mproc__b(void) {\n    /* SYNC(a.word) */\n    mproc__load64(&word);\n}\n"
BOTH = {**c("src/a.c", STORE), **c("src/b.c", LOAD)}
KINDS = "static const void *all[] = {mproc__a};\nvoid mproc__kinds(void) {\n    all[0]();\n}\n"

# law, the tree, where the breach is
BREACHES = [
    (
        "atomics",
        c("src/queue.c", "\nint x = __atomic_load_n(&y, __ATOMIC_RELAXED);\n"),
        "src/queue.c:7",
    ),
    ("atomics", c("src/pool/pool.h", "#include <stdatomic.h>\n"), "src/pool/pool.h:6"),
    ("atomics", c("python/_mproc/a.c", "_Atomic int x;\n"), "python/_mproc/a.c:6"),
    ("atomics", c("src/core/a.c", "int x = __sync_fetch_and_add(&y, 1);\n"), "src/core/a.c:6"),
    ("system", c("src/pipe.c", "#include <sys/socket.h>\n"), "src/pipe.c:6"),
    ("system", c("src/core/a.c", "int f(void) {\n    return fork();\n}\n"), "src/core/a.c:7"),
    ("system", c("src/a.c", "long x = bare_call(SYS_close, 0, 0, 0, 0, 0, 0);\n"), "src/a.c:6"),
    ("system", c("src/pool/a.c", "int x = kill(pid, 9);\n"), "src/pool/a.c:6"),
    ("system", c("python/_mproc/a.c", "#include <sys/mman.h>\n"), "python/_mproc/a.c:6"),
    ("prototypes", c("src/a.c", "static int f(void);\n"), "src/a.c:6"),
    ("prototypes", c("src/a.c", "static int f(int a,\n             int b);\n"), "src/a.c:6"),
    (
        "sync",
        c("src/a.c", "void mproc__a(void) {\n    mproc__store64(&word, 1);\n}\n"),
        "src/a.c:7",
    ),
    ("sync", c("src/a.c", STORE), "src/a.c:7"),
    ("sync", c("src/b.c", LOAD), "src/b.c:7"),
    ("sync", {**c("src/a.c", STORE), **c("src/c.c", STORE)}, "src/a.c:7"),
    (
        "sync",
        c("src/a.c", "void mproc__a(void) {\n    mproc__cas64(&w, &x, 1); /* SYNC(a.w) */\n}\n"),
        "src/a.c:7",
    ),
    (
        "down",
        {**c("src/core/a.c", '#include "queue.h"\n'), **c("src/queue.h", "")},
        "src/core/a.c:6",
    ),
    (  # the tag is another word's
        "sync",
        c("src/a.c", STORE + "void mproc__c(void) {\n    mproc__load64(&a->other);\n}\n" + LOAD),
        "src/a.c:10",
    ),
    (  # a word behind casts, calls and indices
        "sync",
        c("src/a.c", "void mproc__a(void) {\n    mproc__add32(&f(x)->all[i].word, 1);\n}\n"),
        "src/a.c:7",
    ),
    ("down", {**c("src/a.c", '#include "pool/p.h"\n'), **c("src/pool/p.h", "")}, "src/a.c:6"),
    (
        "down",
        {**c("python/_mproc/a.c", '#include "core/b.h"\n'), **c("src/core/b.h", "")},
        "python/_mproc/a.c:6",
    ),
    (
        "down",
        {
            **c("src/core/a.c", "void mproc__a(void) {\n    mproc__b();\n}\n"),
            **c("src/b.c", "void mproc__b(void) {\n}\n"),
        },
        "src/core/a.c:7",
    ),
    (
        "circles",
        {
            **c("src/a.c", "void mproc__a(void) {\n    mproc__b();\n}\n"),
            **c("src/b.h", "static inline int mproc__b(void) {\n    return mproc__c;\n}\n"),
            **c("src/c.c", "int mproc__c = 1;\nvoid mproc__d(void) {\n    mproc__a();\n}\n"),
        },
        "src/a.c:1",
    ),
    (
        "circles",
        {
            **c("src/pool/a.c", "void mproc__a(void) {\n    mproc__b();\n}\n"),
            **c("src/pool/b.c", "void mproc__b(void) {\n    mproc__a();\n}\n"),
        },
        "src/pool/a.c:1",
    ),
    ("manual", c("include/mproc.h", "\nMPROC_API int mproc_a(void);\n"), "include/mproc.h:7"),
    (
        "manual",
        c(
            "include/mproc.h",
            "\n/* Does it. */\nMPROC_API int mproc_a(int a,\n int b) MPROC_MUST_USE;\n",
        ),
        "include/mproc.h:8",
    ),
    (
        "manual",
        c("include/mproc.h", "\n/* NULL: -ENOMEM. */\nMPROC_API mproc_a *mproc_a_new(void);\n"),
        "include/mproc.h:8",
    ),
    ("head", {"src/a.c": "int x;\n"}, "src/a.c:1"),
    ("head", {"src/a.c": HEAD.format(name="b.c")}, "src/a.c:1"),
    ("head", {"src/a.c": "/*\n * a.c - a file\n */\n"}, "src/a.c:1"),
    ("columns", c("src/a.c", "/* " + "x" * 98 + " */\n"), "src/a.c:6"),
    ("columns", {"docs/a.md": "* fine\n  " + "x" * 121 + "\n"}, "docs/a.md:2"),
    ("columns", {"README.md": "fine\n" + "x" * 121 + "\n"}, "README.md:2"),
    ("words", c("src/a.c", "int the_boss;\n"), "src/a.c:6"),
    ("words", c("src/a.c", "/* It has been buried. */\n"), "src/a.c:6"),
    ("words", {"README.md": "A lot.\n"}, "README.md:1"),
    (
        "imports",
        {
            "python/mproc/a.py": "from . import b\n",
            "python/mproc/b.py": "if True:\n    from .c import x\n",
            "python/mproc/c.py": "import mproc.a\n\nx = 1\n",
        },
        "python/mproc/a.py:1",
    ),
    *(
        ("variables", {"python/mproc/a.py": source, "python/mproc/b.py": "x = 0\n"}, where)
        for source, where in (
            ("from . import b\nb.x = 1\n", "python/mproc/a.py:2"),
            ("def f():\n    from . import b as c\n    c.x += 1\n", "python/mproc/a.py:3"),
            ("import mproc.b\ndel mproc.b.x\n", "python/mproc/a.py:2"),
            ("from mproc import b\nsetattr(b, 'x', 1)\n", "python/mproc/a.py:2"),
        )
    ),
    ("private", {"python/mproc/a.py": "import atexit\n\natexit._clear()\n"}, "python/mproc/a.py:3"),
    ("private", {"python/mproc/a.py": "from threading import _shutdown\n"}, "python/mproc/a.py:1"),
    ("private", {"python/mproc/a.py": "import _pickle as p\n"}, "python/mproc/a.py:1"),
    ("private", c("python/_mproc/a.c", "void *x = _PyLong_New(1);\n"), "python/_mproc/a.c:6"),
]


@pytest.mark.parametrize(("law", "files", "where"), BREACHES)
def test_a_breach_is_named(tmp_path, law, files, where):
    status, lines = run(tmp_path, files, law)
    assert status == 1
    assert [line.split(f": {law}: ")[0] for line in lines] == [where]


GUARDED = "#if PY_VERSION_HEX < 0x030d0000\nvoid *x = _PyLong_New(1);\n#endif\n"

KEPT = [
    ("atomics", c("src/system/atomic.h", "#define X __ATOMIC_RELAXED\n")),
    ("atomics", c("src/a.c", '/* __atomic_load_n() */ char *x = "__ATOMIC_RELAXED";\n')),
    ("system", c("src/system/os_a.c", "#include <poll.h>\nint x = fork();\n")),
    (
        "system",
        c("src/a.c", "#include <string.h>\nint x = mproc__os_fork() + a.read(1) + b->open(2);\n"),
    ),
    ("system", c("src/a.c", "static int read(int x) {\n    return read(x);\n}\n")),
    ("prototypes", c("src/a.c", "static int f(void) {\n    return g();\n}\nstatic int x = 1;\n")),
    ("sync", c("src/a.c", "void mproc__a(void) {\n    mproc__poke64(&a->word, 1);\n}\n")),
    (
        "sync",
        {**c("src/a.h", STORE), **c("src/a.c", LOAD + LOAD.replace("/* SYNC(a.word) */", ""))},
    ),
    ("sync", BOTH),
    ("down", {**c("src/a.c", '#include "core/b.h"\n'), **c("src/core/b.h", "")}),
    (
        "circles",
        {
            **c("src/a.c", "struct mproc__b *mproc__a;\n"),
            **c("src/b.c", "struct mproc__a *mproc__b;\n"),
        },
    ),
    (
        "circles",
        {
            **c("src/core/kinds.c", KINDS),
            **c("src/a.c", "void mproc__a(void) {\n    mproc__kinds();\n}\n"),
        },
    ),
    (  # a header's functions may need its file's, and the other way round
        "circles",
        {
            **c("src/a.h", "static inline int mproc__a(void) {\n    return mproc__b();\n}\n"),
            **c("src/a.c", "int mproc__b(void) {\n    return mproc__a();\n}\n"),
        },
    ),
    ("manual", c("include/mproc.h", "\n/* Does it. -EINVAL. */\nMPROC_API int mproc_a(void);\n")),
    ("manual", c("include/mproc.h", "\n/* Says it. */\nMPROC_API void mproc_a(void);\n")),
    ("head", c("src/a.c", "")),
    ("columns", {"README.md": "    " + "x" * 121 + "\n"}),
    ("columns", {"README.md": "```\n" + "x" * 121 + "\n```\n| " + "x" * 121 + " |\n"}),
    ("words", c("src/a.c", 'char *x = "hello, world"; /* a slot, a cellar, a skin */\n')),
    (
        "imports",
        {
            "python/mproc/a.py": "from . import b\n",
            "python/mproc/b.py": "def f():\n    from . import a\n",
        },
    ),
    *(
        ("variables", {"python/mproc/a.py": source, "python/mproc/b.py": "class C: ...\n"})
        for source in (
            "from .b import C\nC.x = 1\n",
            "import os\nos.x = 1\n",
            "from . import b\nx = b.x\n",
            "class B: ...\nb = B()\nb.x = 1\n",
        )
    ),
    ("private", {"python/mproc/_cpython.py": "import atexit\n\natexit._clear()\n"}),
    ("private", {"python/mproc/a.py": "import os\n\nos._exit(1)\nself._x = b._y\n"}),
    ("private", c("python/_mproc/a.c", GUARDED)),
]


@pytest.mark.parametrize(("law", "files"), KEPT)
def test_what_is_allowed_passes(tmp_path, law, files):
    assert run(tmp_path, files, law) == (0, [])


def test_an_exception_that_nothing_needs_is_a_breach(tmp_path):
    status, lines = run(
        tmp_path, {"scripts/laws.py": "", **c("src/system/atomic.h", "")}, "atomics"
    )
    assert status == 1
    assert any("src/system/atomic.h" in line for line in lines)


def test_all_laws_are_checked_when_none_is_named(tmp_path):
    status, lines = run(tmp_path, {"src/a.c": "static int f(void);\nint x = fork();\n"})
    assert status == 1
    assert {line.split(": ")[1] for line in lines} == {"prototypes", "system", "head"}


def test_an_unknown_law_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        laws.main(["--root", str(tmp_path), "gravity"])
    assert end.value.code == 2
    assert "no such law: gravity" in capsys.readouterr().err
