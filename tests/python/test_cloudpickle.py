"""pickler="cloudpickle": what has no name for another process travels by value."""

import sys
import threading

import errands
import pytest

import mproc
from mproc.pool import MaybeEncodingError

pytest.importorskip("cloudpickle")


@pytest.fixture
def by_value(method):
    """The context of each start method in turn, with the pickler."""
    return mproc.get_context(method, pickler="cloudpickle")


class Data:
    def __init__(self, n):
        self.n = n


# ---- contexts


def test_contexts(by_value, method):
    assert by_value.get_start_method() == method
    assert by_value.get_context() is by_value
    assert by_value.get_context(method) is mproc.get_context(method)
    assert isinstance(by_value, type(mproc.get_context(method)))
    assert mproc.get_context(method)._pickler is None
    again = mproc.get_context(method).get_context(pickler="cloudpickle")
    assert again._pickler == "cloudpickle" and again._name == method


def test_the_default_context():
    ctx = mproc.get_context(pickler="cloudpickle")
    assert ctx._name == mproc.get_start_method() and ctx._pickler == "cloudpickle"


def test_an_unknown_pickler():
    for call in (
        lambda: mproc.get_context("fork", pickler="dill"),
        lambda: mproc.Pool(1, pickler="dill"),
        lambda: mproc.ProcessPoolExecutor(1, pickler="dill"),
    ):
        with pytest.raises(ValueError, match="unknown pickler 'dill': there is 'cloudpickle'"):
            call()


def test_it_is_not_installed(program):
    code = (
        "import sys, mproc; sys.modules['cloudpickle'] = None\n"
        "for call in (mproc.get_context, mproc.Pool, mproc.ProcessPoolExecutor):\n"
        "    try: call(pickler='cloudpickle')\n"
        "    except ImportError as error: print(error.name, error)\n"
        "print(mproc.active_children())\n"
    )
    line = (
        'cloudpickle pickler="cloudpickle" needs the package cloudpickle: pip install'
        ' "mproc[cloudpickle]"\n'
    )
    assert program.output("-c", code) == 3 * line + "[]\n"


def test_nothing_is_imported_unless_asked_for(program):
    code = (
        "import sys, mproc\n"
        "with mproc.Pool(1) as pool: pool.map(abs, [1])\n"
        "print('cloudpickle' in sys.modules, 'mproc._cloudpickle' in sys.modules)\n"
    )
    assert program.output("-c", code) == "False False\n"


# ---- processes


def test_a_process(by_value):
    queue = by_value.Queue()
    lock = by_value.Lock()

    def target(a, *, b):
        with lock:
            queue.put(a(b).n)

    process = by_value.Process(target=target, args=(lambda n: Data(n + 1),), kwargs={"b": 4})
    process.start()
    assert queue.get(timeout=60) == 5
    process.join()
    assert process.exitcode == 0


def test_a_local_class_of_processes(by_value):
    reader, writer = by_value.Pipe(duplex=False)

    class Local(by_value.Process):
        def run(self):
            writer.send(self.name)

    process = Local(name="Mule")
    process.start()
    assert reader.recv() == "Mule"
    process.join()
    reader.close()
    writer.close()
    writer = None  # 3.13 without a lock never frees a class, nor what its methods refer to


# ---- pools


def test_a_pool(by_value):
    k = 10
    with by_value.Pool(2) as pool:
        assert pool.apply(lambda a, b=1: a + b, (1,), {"b": 2}) == 3
        assert pool.map(lambda n: n * k, range(5)) == [0, 10, 20, 30, 40]
        assert pool.starmap(lambda a, b: a - b, [(3, 1), (4, 1)], 1) == [2, 3]
        assert list(pool.imap(lambda n: n + k, range(3), 2)) == [10, 11, 12]
        assert sorted(pool.imap_unordered(lambda d: d.n, [Data(1), Data(2)])) == [1, 2]
        assert pool.apply(lambda: lambda: k + 1)() == 11
        assert pool.apply_async(errands.square, (5,)).get(60) == 25
        assert pool.map(errands.square, [1, 2]) == [1, 4]


def test_options_of_pool_and_executor(method):
    ctx = mproc.get_context(method)
    with ctx.Pool(1, pickler="cloudpickle") as pool:
        assert pool.apply(lambda: 5) == 5
    with mproc.pool.Pool(1, context=ctx, pickler="cloudpickle") as pool:
        assert pool.apply(lambda: 5) == 5
    with mproc.ProcessPoolExecutor(1, ctx, pickler="cloudpickle") as executor:
        assert executor.submit(lambda: 5).result() == 5


def test_initializers(by_value):
    with by_value.Pool(1, lambda get: errands.remember(get()), (lambda: 3,)) as pool:
        assert pool.apply(errands.recall)[-1] == (3,)


def test_an_executor(by_value):
    k = 10
    with mproc.ProcessPoolExecutor(2, by_value, lambda: None) as executor:
        assert executor.submit(lambda a, *, b: a + b + k, 1, b=2).result() == 13
        assert list(executor.map(lambda a, b: a * b * k, [1, 2], [3, 4])) == [30, 80]
        assert executor.submit(lambda: lambda: k).result()() == 10


class Local(Exception):
    pass


def test_exceptions_of_local_classes(by_value):
    class Strange(Exception):
        pass

    def fail(n):
        raise Strange(n, Local(n))

    with by_value.Pool(1) as pool:
        with pytest.raises(Strange) as caught:
            pool.map(fail, [7])
        assert caught.value.args[0] == 7 and type(caught.value.args[1]) is Local
        assert "fail() failed at item 0" in caught.value.__notes__[0]
        assert "in fail" in str(caught.value.__cause__)
    with mproc.ProcessPoolExecutor(1, by_value) as executor:
        assert type(executor.submit(fail, 8).exception()) is Strange


# ---- what cannot travel by value either


def path_of(error):
    own = [note for note in error.__notes__ if not note.startswith("when serializing ")]
    return own[0].partition(":")[0]


def test_culprits(by_value):
    lock = threading.Lock()
    with by_value.Pool(1) as pool:
        with pytest.raises(TypeError, match="cannot pickle") as caught:
            pool.apply(lambda: lock)
        assert path_of(caught.value) == "func.__closure__['lock']"
        with pytest.raises(TypeError) as caught:
            pool.map(lambda f: f, [lambda: 1, lambda: lock])
        assert path_of(caught.value) == "iterable[1].__closure__['lock']"
        with pytest.raises(MaybeEncodingError) as caught:
            pool.apply(lambda: [threading.Lock()])
        assert path_of(caught.value) == "result[0]"
        assert pool.apply(lambda: 5) == 5


def test_culprits_of_processes(method):
    if method == "fork":
        pytest.skip("nothing is pickled")
    lock = threading.Lock()
    process = mproc.get_context(method, pickler="cloudpickle").Process(target=lambda: lock)
    with pytest.raises(TypeError) as caught:
        process.start()
    assert path_of(caught.value) == "target.__closure__['lock']"


# ---- prompts and notebooks


PROMPT = """
import code, sys
console = code.InteractiveConsole(sys.modules["__main__"].__dict__)
for line in open(sys.argv[1]):
    console.push(line.rstrip("\\n"))
"""
TYPED = """\
import mproc
def double(n): return 2 * n

class Seen(Exception): pass

def fail(n): raise Seen(n)

ctx = mproc.get_context("METHOD", pickler="cloudpickle")
pool = ctx.Pool(1)
print(pool.map(double, [1, 2]))
try: pool.apply(fail, (3,))
except Seen as seen: print(seen)

pool.terminate()
process = ctx.Process(target=lambda: print(double(5), flush=True))
process.start(); process.join()
pool = mproc.get_context("METHOD").Pool(1)
try: pool.map(double, [1])
except AttributeError as error: print(*error.__notes__)

pool.terminate()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_functions_of_a_prompt(program, method):
    typed = program.write("typed.txt", TYPED.replace("METHOD", method))
    lines = program.output("-c", PROMPT, typed).splitlines()
    assert lines[:3] == ["[2, 4]", "3", "10"]
    assert 'pickler="cloudpickle"' in lines[3] and "notebook" in lines[3]


def test_a_process_that_does_not_know_its_target_says_what_to_do(program):
    code = (
        "import mproc\n"
        "def f(): pass\n"
        "p = mproc.get_context('spawn').Process(target=f); p.start(); p.join()\n"
    )
    assert 'pickler="cloudpickle"' in program.run("-c", code).stderr


def test_a_program_from_stdin(program):
    code = (
        "import mproc\n"
        "k = 2\n"
        "with mproc.get_context('spawn').Pool(1, pickler='cloudpickle') as pool:\n"
        "    print(pool.map(lambda n: k * n, [1, 2]))\n"
    )
    assert program.output("-", input=code) == "[2, 4]\n", sys.version
