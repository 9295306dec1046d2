"""Programs that people write: the snippets of some documents about multiprocessing, unedited.

The documents are files `*.txt` in the directory that MPROC_SEEDS names, or in ../shared/seeds
beside the repository. Every fenced block of Python in them is a snippet, named by its document and
number. It runs under `python -m mproc` when all that it uses of multiprocessing exists in mproc;
others are skipped with the names that are missing. PRELUDE defines what a snippet leaves undefined.
Those with a pool run under each start method, too.
"""

import ast
import builtins
import importlib.util
import os
import re
import textwrap
from pathlib import Path

import pytest

import mproc.pool

SEEDS = Path(
    os.environ.get("MPROC_SEEDS") or Path(__file__).resolve().parents[2] / "../shared/seeds"
).resolve()
PACKAGES = ("multiprocessing", "concurrent.futures")
EXECUTORS = ("mproc.concurrent", "mproc.futures")  # modules of which one makes an executor
SECONDS = 60

# What each snippet leaves undefined, by its id (the document's first number, the block's).
PRELUDE = {
    "000-1": "def function(arg): pass\nargs = 1\n",
    "000-2": "func, iterable = abs, range(3)\n",
    "000-3": "obj = {'a': 1}\n",
    "000-4": "obj = {'a': 1}\n",
    "001-4": "from multiprocessing import Pool\ndef square(x): return x * x\n",
    "001-5": "import multiprocessing\n",
    "002-2": "def worker(): pass\n",
    "002-5": "from multiprocessing import Process\ndef func(): pass\n",
    "002-8": (
        "import types\nrecord_ids = range(9)\n"
        "def connect_to_database(url): return types.SimpleNamespace(query=str)\n"
    ),
    "002-9": (
        "from multiprocessing import Pool\nmemory_intensive_func, large_dataset = abs, range(9)\n"
    ),
    "002-10": "from multiprocessing import Pool\npool = Pool(1)\nfunc, args = abs, (-1,)\n",
    "002-12": "from multiprocessing import Queue\nitem = 1\n",
    "002-16": "import os\n",
    "002-17": (
        "from multiprocessing import Manager\nparties, typecode, value, sequence = 1, 'i', 0, [1]\n"
    ),
    "002-23": "def main(): pass\n",
    "002-24": "import multiprocessing as mp\n",
    "002-25": "from multiprocessing import Lock, Process\n",
    "002-26": (
        "from multiprocessing import Process, Queue\nq, p = Queue(), Process()\np.start()\n"
    ),
    "002-27": "from multiprocessing import Manager, Pool\nfunc, data = abs, range(3)\n",
    "002-28": (
        "from multiprocessing import Pool\npool, x = Pool(1), 1\n"
        "def risky_operation(x): return x\ndef risky_func(x): return x\n"
    ),
}

# What the snippets print, as far as they say so.
OUTPUT = {
    "001-2": r"Hello from process-1\n",
    "001-3": r"\[1, 4, 9, 16\]\n",
    "001-4": r"100\n",
    "002-4": (  # the worker's line comes when it comes
        r"(?=(?:.*\n)*Worker A \(PID: (\d+)\) processing 42\n)(?:Worker.*\n)?"
        r"Parent PID: \d+\n(?:Worker.*\n)?Child PID: \1\n(?:Worker.*\n)?"
        r"Child alive: (?:True|False)\n(?:Worker.*\n)?Exit code: 0\n"
    ),
    "002-6": r"Processed: 15\n",
    "002-7": r"25\n(\d+\n){2000}",
    "002-11": r"Processing: 1\nProcessing: 2\nProcessing: 3\n",
    "002-13": (
        r"(?=(?:.*\n)?Parent received: Hello from child\n)"
        r"(?=(?:.*\n)?Child received: Hello from parent\n)(?:.*\n){2}"
    ),
    "002-15": r"Counter: 4\nArray: \[.*\]\n",  # the array's signs are a race of four
    "002-16": r"\{'count': 4\}\n\[\d+, \d+, \d+, \d+\]\n",
    "002-18": r"b'Hello'\n",
    "002-19": r"\[ *2\. +4\. +6\. +8\. +10\.\]\n",
    "002-20": r"hello\n",
    "002-22": r"25\n(\d+\n){10}",
    "003-1": r"Hello from Process-1\n",
    "003-2": r"\[1, 4, 9, 16, 25\]\n",
    "003-3": r"Consumer received: Hello from producer\n",
    "003-4": r"\['data', 'data', 'data'\]\n",
    "003-5": r"1 \[2, 2, 3\]\n",
    "003-6": r"(Process [012] acquired lock\n){3}",
}

# Snippets that are no programs that end, whatever a prelude defines.
FRAGMENTS = {
    "000-5": "a with statement without a body",
    "002-14": "it lists methods, of one end of a pipe, which would wait for each other",
}

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def snippets(folder):
    """All Python blocks: id -> text. An id is stable as long as the document is."""
    found = {}
    for path in sorted(folder.glob("*.txt")):
        blocks = FENCE.findall(path.read_text(encoding="utf-8"))
        number = 0
        for indent, language, text in blocks:
            if language in ("", "python"):
                number += 1
                lines = [line.removeprefix(indent) for line in text.splitlines(keepends=True)]
                found[f"{path.name[:3]}-{number}"] = "".join(lines)
    return found


def parse(text):
    """The snippet's tree, or None when it is no program."""
    try:
        return ast.parse(textwrap.dedent(text))
    except SyntaxError:
        return None


# ---- what a snippet uses of multiprocessing


class Uses(ast.NodeVisitor):
    """Names of multiprocessing, and methods of its objects, that a program uses."""

    def __init__(self):
        self.modules = {}  # local name -> module
        self.names = set()  # (module, name)
        self.methods = set()

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name.startswith(PACKAGES):
                self.modules[alias.asname or alias.name.partition(".")[0]] = alias.name

    def visit_ImportFrom(self, node):
        if node.module and node.module.startswith(PACKAGES):
            self.names |= {(node.module, alias.name) for alias in node.names}
            self.modules |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            self.names.add((self.modules[node.value.id], node.attr))
        self.methods.add(node.attr)
        self.generic_visit(node)


def missing(text):
    """What the program uses of multiprocessing and mproc has not."""
    uses = Uses()
    uses.visit(ast.parse(text))
    lacking = {name for module, name in uses.names if not offered(module, name)}
    if any(name == "Pool" for _, name in uses.names):
        iterators = uses.methods & {"imap", "imap_unordered"}
        lacking |= {name for name in iterators if not hasattr(mproc.pool.Pool, name)}
    return sorted(lacking)


def foreign(text):
    """Other packages that the program imports and this interpreter has not."""
    imported = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return sorted(name for name in imported if not exists(name))


def exists(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent does not exist, or is no package
        return False


def offered(module, name):
    """Whether mproc has the module, and the module the name, and what the name makes."""
    if module == "concurrent.futures":
        return name != "ProcessPoolExecutor" or any(map(exists, EXECUTORS))
    own = module.replace("multiprocessing", "mproc", 1)
    if not exists(own):
        return False
    if exists(f"{own}.{name}"):
        return True
    value = getattr(importlib.import_module(own), name, None)
    return value is not None and works(name, value)


# How the context's methods are called to see whether what they make exists.
ARGUMENTS = {"Value": ("i",), "Array": ("i", 1), "Barrier": (1,), "RawValue": ("i",)}


def works(name, value):
    """A context names all of the interface; what is not there yet fails when it is imported."""
    if getattr(value, "__self__", None).__class__.__name__ != "DefaultContext":
        return True
    if name in ("Pool", "set_start_method", "get_context"):
        return True
    try:
        made = value(*ARGUMENTS.get(name, ()))
    except (ImportError, AttributeError):
        return False
    except TypeError:
        return True
    if name == "Manager":
        made.shutdown()
    return True


# ---- the tests

SNIPPETS = snippets(SEEDS) if SEEDS.is_dir() else {}
POOLS = [
    name
    for name, text in SNIPPETS.items()
    if name not in FRAGMENTS and re.search(r"Pool\(|PoolExecutor\(", text)
]

# Runs a program under a start method, as if its user had chosen that.
UNDER = """
import multiprocessing, runpy, sys
method, script = sys.argv[1:]
sys.argv[:] = [script]
multiprocessing.set_start_method(method)
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.skipif(not SNIPPETS, reason=f"there are no documents in {SEEDS.name}: set MPROC_SEEDS")
def test_documents_are_found():
    assert set(PRELUDE) | set(OUTPUT) | set(FRAGMENTS) <= set(SNIPPETS)


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet(program, name):
    text = SNIPPETS[name]
    assert parse(text) is not None or name in FRAGMENTS
    if name in FRAGMENTS:
        pytest.skip(f"a fragment: {FRAGMENTS[name]}")
    prelude = PRELUDE.get(name, "")
    lacking = missing(prelude + text)
    if lacking:
        pytest.skip(f"mproc has no {', '.join(lacking)} yet")
    if absent := foreign(text):
        pytest.skip(f"there is no {', '.join(absent)} here")
    script = program.write("snippet.py", prelude + text)
    env = {**program.env, "PYTHONUNBUFFERED": ""}  # two processes do not share a line
    output = program.output("-m", "mproc", script, timeout=SECONDS, env=env)
    if name in OUTPUT:
        assert re.fullmatch(OUTPUT[name], output), output


@pytest.mark.skipif(not SNIPPETS, reason="there are no documents")
def test_there_are_pools():
    assert len(POOLS) >= 9


def run_under(method, program, name):
    """Run a snippet under a start method; return its text with the prelude, and what came of it."""
    text = PRELUDE.get(name, "") + SNIPPETS[name]
    if absent := foreign(text):
        pytest.skip(f"there is no {', '.join(absent)} here")
    script, under = program.write("snippet.py", text), program.write("under.py", UNDER)
    env = {**program.env, "PYTHONUNBUFFERED": ""}
    done = program.run("-m", "mproc", under, method, script, timeout=SECONDS, env=env)
    return text, done


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_under(program, method, name):
    """A worker that is not forked imports the program: if it makes a pool then, all ends."""
    text, done = run_under(method, program, name)
    if method == "fork" or "__main__" in text:
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(OUTPUT.get(name, r"(?s:.*)"), done.stdout), done.stdout
    else:
        assert done.returncode == 1
        assert "finished its bootstrapping phase" in done.stderr
        assert re.search(r"^mproc\.pool\.WorkerDiedError: worker ", done.stderr, re.MULTILINE)


# ---- the machinery


def test_blocks_are_found(tmp_path):
    (tmp_path / "123_x.txt").write_text(
        "a\n```python\nx = 1\n```\n  ```\n  if x:\n      y\n  ```\n```sh\nls\n```\n"
    )
    assert snippets(tmp_path) == {"123-1": "x = 1\n", "123-2": "if x:\n    y\n"}


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("from multiprocessing import Process, Nonsense", ["Nonsense"]),
        ("import multiprocessing as mp\nmp.Nonsense()", ["Nonsense"]),
        ("from multiprocessing import nonsense", ["nonsense"]),
        ("import multiprocessing\nmultiprocessing.Queue()", []),
        ("from multiprocessing.pool import Pool", []),
        ("from multiprocessing.nonsense import Pool", ["Pool"]),
        ("x.Nonsense()", []),
    ],
)
def test_what_is_missing_is_found(text, lacking):
    assert missing(text) == lacking


def test_packages_that_are_absent_are_found():
    assert foreign("import os, nonsense.what as x\nimport multiprocessing") == ["nonsense.what"]


def test_builtins_are_no_excuse():
    """A prelude defines what the snippet does not know, and nothing that it does."""
    for name, prelude in PRELUDE.items():
        for node in ast.walk(ast.parse(prelude)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assert not hasattr(builtins, node.id), (name, node.id)
