"""Listener and Client: addresses, what is left behind, and peers of the standard library."""

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import not_for_ever, wait_until

import mproc
from mproc import AuthenticationError, connection, util
from mproc.authentication import greet_server
from mproc.connection import Client, Listener
from mproc.listener import WAITING_MAX

PEER = Path(__file__).with_name("peer.py")
FINDER = Path(__file__).resolve().parents[2] / "scripts" / "find-python.sh"
KEY = b"a key that both ends know"
FAMILIES = ["AF_UNIX", "AF_INET"]


@pytest.fixture(scope="module", autouse=True)
def temporary_directory():
    """It lasts as long as the process does: not made by one of the tests."""
    util.get_temp_dir()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


def converse(here, there):
    for one, other in ((here, there), (there, here)):
        one.send(["hello", one is here])
        assert other.recv() == ["hello", one is here]


# ---- listening and connecting


@pytest.mark.parametrize("domain", [None, *FAMILIES])
def test_default_addresses(domain):
    with Listener(family=domain) as listener, Client(listener.address) as here:
        assert connection.address_type(listener.address) == domain or "AF_UNIX"
        with listener.accept() as there:
            converse(here, there)


def test_addresses(path):
    name = f"mproc-test-{os.getpid()}"
    for address in (path, "\0" + name, b"\0" + name.encode(), ("localhost", 0)):
        listener = Listener(address)
        with listener, Client(listener.address) as here, listener.accept() as there:
            converse(here, there)


def test_internet_addresses():
    with Listener(("localhost", 0)) as listener:
        host, port = listener.address
        assert host == "127.0.0.1" and port > 0
        assert listener.last_accepted is None
        with Client((host, port)) as here, listener.accept() as there:
            converse(here, there)
            with socket.fromfd(here.fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
                assert listener.last_accepted == sock.getsockname()


def test_internet_addresses_of_version_6():
    try:
        listener = Listener(("::1", 0), family="AF_INET6")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listener:
        assert len(listener.address) == 4
        for client in (
            Client(listener.address),
            Client(listener.address[:2], family="AF_INET6"),
        ):
            with client, listener.accept() as there:
                converse(client, there)


def test_one_who_listens_is_enough(path):
    for family, address in [("AF_UNIX", path), ("AF_INET", ("localhost", 0))]:
        with Listener(address, family) as listener:
            with pytest.raises(OSError, match="Address already in use"):
                Listener(listener.address, family)
            with Client(listener.address), listener.accept():
                pass


def test_the_same_port_again():
    """Connections of its predecessor that linger do not keep a server from starting."""
    with Listener(("localhost", 0)) as listener:
        address = listener.address
        client = Client(address)
        listener.accept().close()
    with Listener(address):
        client.close()


def test_backlog(path):
    with Listener(path, backlog=5) as listener:
        clients = [Client(path) for _ in range(5)]
        for client in clients:
            with client, listener.accept() as there:
                converse(client, there)


def test_between_processes(ctx):
    with Listener(authkey=KEY) as listener:
        child = ctx.Process(target=talk, args=(listener.address,))
        child.start()
        with listener.accept() as there:
            assert there.recv() == child.pid
            there.send("fine")
            with pytest.raises(EOFError):
                there.recv()
        child.join()
        assert child.exitcode == 0
        child.close()


def talk(address):
    with Client(address, authkey=KEY) as here:
        here.send(os.getpid())
        assert here.recv() == "fine"


def test_many_clients():
    def work(number):
        with Client(listener.address, authkey=KEY) as here:
            here.send(number)
            answers.append(here.recv())

    answers = []
    with Listener(backlog=20, authkey=KEY) as listener:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for _ in threads:
            with listener.accept() as there:
                there.send(there.recv() * 2)
        for thread in threads:
            thread.join()
    assert sorted(answers) == list(range(0, 40, 2))


# ---- keys


@pytest.mark.parametrize(("ours", "theirs"), [(KEY, b"wrong"), (b"wrong", KEY)])
def test_wrong_keys(ours, theirs):
    outcome = []

    def connect():
        try:
            Client(listener.address, authkey=theirs).close()
        except AuthenticationError as error:
            outcome.append(str(error))

    with Listener(authkey=ours) as listener:
        thread = threading.Thread(target=connect)
        thread.start()
        with pytest.raises(AuthenticationError, match="digest received was wrong"):
            listener.accept()
        thread.join()
        assert outcome == ["digest sent was rejected: the other end has another key"]
        assert_goes_on(listener, ours)


def assert_goes_on(listener, key):
    thread = threading.Thread(target=lambda: Client(listener.address, authkey=key).close())
    thread.start()
    listener.accept().close()
    thread.join()


def test_keys_are_bytes(path):
    """Told before anything is made."""
    for key in ("text", 3, bytearray(b"key")):
        with pytest.raises(TypeError, match="authkey should be a byte string"):
            Listener(path, authkey=key)
        with pytest.raises(TypeError, match="authkey should be a byte string"):
            Client(path, authkey=key)
    assert not os.path.exists(path)


def test_an_empty_key():
    with Listener(authkey=b"") as listener:
        thread = threading.Thread(target=lambda: Client(listener.address, authkey=b"").close())
        thread.start()
        with listener.accept() as there, pytest.raises(EOFError):
            there.recv()
        thread.join()
        with connection.SocketClient(listener.address) as stranger:
            stranger.send_bytes(b"no answer")
            with pytest.raises(AuthenticationError):
                listener.accept()


def test_a_client_that_is_killed_in_the_handshake(ctx):
    with Listener(authkey=KEY) as listener:
        child = ctx.Process(target=connect_and_wait, args=(listener.address,))
        child.start()
        outcome = []

        def accept():
            try:
                listener.accept()
            except EOFError as error:
                outcome.append(error)

        thread = threading.Thread(target=accept)
        thread.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        child.close()
        thread.join()
        assert len(outcome) == 1
        assert_goes_on(listener, KEY)


def connect_and_wait(address):
    with connection.SocketClient(address) as here:
        here.recv_bytes()  # the challenge
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_stranger_in_front_of_a_client():
    with Listener(authkey=KEY, backlog=2) as listener:
        with connection.SocketClient(listener.address) as stranger:
            stranger.send_bytes(b"x" * 300)
        with pytest.raises(OSError, match=r"bad message length|Broken pipe|Connection reset"):
            listener.accept()
        assert_goes_on(listener, KEY)


# ---- clients that say nothing


@pytest.mark.parametrize("number", [1, 10, WAITING_MAX + 5])
def test_silent_clients_keep_nobody_waiting(number):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(Listener(authkey=KEY, backlog=number + 1))
        silent = [
            stack.enter_context(connection.SocketClient(listener.address)) for _ in range(number)
        ]
        assert_goes_on(listener, KEY)
        for client in silent[-WAITING_MAX:]:
            assert client.recv_bytes().startswith(b"#CHALLENGE#")
        for client in silent[:-WAITING_MAX]:
            assert client.recv_bytes().startswith(b"#CHALLENGE#")
            with pytest.raises(EOFError):  # the oldest are disconnected
                client.recv_bytes()
        listener.close()
        with pytest.raises(EOFError):  # and so are all by close()
            silent[-1].recv_bytes()


def test_a_silent_client_that_answers_late():
    with Listener(authkey=KEY) as listener, connection.SocketClient(listener.address) as late:
        assert_goes_on(listener, KEY)
        answers = []
        thread = threading.Thread(
            target=lambda: (greet_server(late, KEY), answers.append(late.recv()))
        )
        thread.start()
        with listener.accept() as there:
            there.send("welcome")
            thread.join()
        assert answers == ["welcome"]


def test_a_silent_client_that_leaves():
    with Listener(authkey=KEY) as listener:
        with connection.SocketClient(listener.address):
            assert_goes_on(listener, KEY)
        with pytest.raises(EOFError):
            listener.accept()
        assert_goes_on(listener, KEY)


def test_a_child_that_closes_its_copy_disconnects_no_client():
    with Listener(authkey=KEY) as listener, connection.SocketClient(listener.address) as late:
        assert_goes_on(listener, KEY)
        child = mproc.get_context("fork").Process(target=listener.close)
        child.start()
        child.join()
        thread = threading.Thread(target=lambda: (greet_server(late, KEY), late.send("here")))
        thread.start()
        with listener.accept() as there:
            assert there.recv() == "here"
        thread.join()


def test_a_timeout_for_accepting_with_a_key(path):
    with Listener(path, authkey=KEY) as listener:
        listener._listener._socket.settimeout(0.01)
        with connection.SocketClient(path), pytest.raises(TimeoutError):
            listener.accept()
        listener._listener._socket.settimeout(20)
        with pytest.raises(EOFError):
            listener.accept()
        assert_goes_on(listener, KEY)


def test_several_threads_accept(path):
    """Each client is one thread's."""
    with Listener(path, authkey=KEY, backlog=20) as listener:
        got = []

        def serve():
            for _ in range(5):
                with listener.accept() as there:
                    got.append(there.recv())

        servers = [threading.Thread(target=serve) for _ in range(4)]
        with connection.SocketClient(path):
            for server in servers:
                server.start()
            for number in range(20):
                with Client(path, authkey=KEY) as here:
                    here.send(number)
            for server in servers:
                server.join()
        assert sorted(got) == list(range(20))


# ---- errors


def test_closed(path):
    listener = Listener(path)
    listener.close()
    listener.close()
    for use in (
        listener.accept,
        lambda: listener.address,
        lambda: listener.last_accepted,
    ):
        with pytest.raises(OSError, match="listener is closed"):
            use()


def test_families(path):
    assert connection.families == ["AF_INET", "AF_UNIX"]
    assert connection.default_family == "AF_UNIX"
    for family in ("X", "AF_PIPE", "SOCK_STREAM", "AF_"):
        with pytest.raises(ValueError, match=rf"Family {family} is not recognized\."):
            Listener(family=family)
        with pytest.raises(ValueError, match=rf"Family {family} is not recognized\."):
            Client(path, family=family)
    with pytest.raises(ValueError, match=r"Family AF_PIPE is not recognized\."):
        Listener(r"\\.\pipe\name")
    with pytest.raises(ValueError, match="unrecognized family"):
        Listener(family="AF_INET6")
    with pytest.raises(ValueError, match="unrecognized family"):
        connection.arbitrary_address("X")


def test_forms_of_addresses():
    kind = connection.address_type
    assert kind(("localhost", 0)) == kind(("::1", 0, 0, 0)) == "AF_INET"
    assert kind("/a/path") == kind("") == kind("\0name") == kind(b"\0name") == "AF_UNIX"
    assert kind(r"\\.\pipe\name") == "AF_PIPE"
    for bad, error in [(None, ValueError), (b"path", ValueError), (5, TypeError), ([], ValueError)]:
        with pytest.raises(error, match=r"address type of .* unrecognized"):
            kind(bad)
        with pytest.raises(error, match=r"address type of .* unrecognized"):
            Client(bad)
    assert connection.arbitrary_address("AF_INET") == ("localhost", 0)
    first, second = (connection.arbitrary_address("AF_UNIX") for _ in range(2))
    assert first != second and os.path.dirname(first) == util.get_temp_dir()


def test_nobody_listens(path):
    with pytest.raises(FileNotFoundError):
        Client(path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    with pytest.raises(ConnectionRefusedError):
        Client(path)
    with pytest.raises(TypeError):
        Client(path, family="AF_INET")


def test_what_cannot_be_listened_to(path, tmp_path):
    """Nothing is left of it."""
    for address, options, error in [
        ("/" + "x" * 200, {}, OSError),
        (str(tmp_path / "no" / "such"), {}, FileNotFoundError),
        (path, {"family": "AF_INET"}, TypeError),
        (("localhost", "http"), {}, TypeError),
        (path, {"backlog": "x"}, TypeError),
    ]:
        with pytest.raises(error):
            Listener(address, **options)
    assert os.listdir(tmp_path) == []


# ---- the path


def test_the_path_goes_with_the_listener(path):
    with Listener(path):
        assert os.path.exists(path)
    assert not os.path.exists(path)
    listener = Listener(path)
    del listener
    gc.collect()
    assert not os.path.exists(path)


def test_a_path_that_is_gone_already(path):
    with Listener(path):
        os.unlink(path)


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Listener("socket") as listener:
        assert listener.address == "socket"
        monkeypatch.chdir("/")
    assert os.listdir(tmp_path) == []


def test_a_successor_keeps_the_path(path):
    old = Listener(path)
    os.unlink(path)
    with Listener(path) as new, Client(path) as here:
        old.close()
        with new.accept() as there:
            converse(here, there)
        assert os.path.exists(path)


def test_who_failed_to_bind_removes_nothing(path):
    with Listener(path), pytest.raises(OSError, match="Address already in use"):
        Listener(path)
    Path(path).write_text("something else")
    with pytest.raises(OSError, match="Address already in use"):
        Listener(path)
    assert Path(path).read_text() == "something else"


def test_a_child_does_not_remove_it(path):
    with Listener(path):
        child = mproc.get_context("fork").Process(target=gc.collect)
        child.start()
        child.join()
        child.close()
        assert os.path.exists(path)


def test_the_path_goes_with_the_process(program):
    program.write(
        "main.py",
        """
        import os
        from mproc.connection import Listener
        named = Listener("socket")
        made_up = Listener()
        print(made_up.address)
        """.replace("\n        ", "\n"),
    )
    address = program.output("main.py").strip()
    assert address and not os.path.exists(address)
    assert not os.path.exists(os.path.dirname(address))
    assert not (program.folder / "socket").exists()


# ---- time and signals


INTERRUPTED = """
from mproc.connection import Listener
with Listener({arguments}) as listener:
    print("ready", flush=True)
    try:
        listener.accept()
    except KeyboardInterrupt:
        print("interrupted")
"""


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def accepting_child(program, arguments):
    """A child that has made a Listener of these arguments and is about to accept."""
    program.write("main.py", INTERRUPTED.format(arguments=arguments))
    with (
        subprocess.Popen(
            [sys.executable, "main.py"],
            cwd=program.folder,
            env=program.env,
            stdout=subprocess.PIPE,
            text=True,
        ) as child,
        not_for_ever(child),
    ):
        assert child.stdout.readline() == "ready\n"
        yield child


def test_control_c(program):
    with accepting_child(program, "'socket'") as child:
        assert wait_until(lambda: state_of(child.pid) == "S")
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == "interrupted\n"
        assert child.wait(20) == 0
    assert os.listdir(program.folder) == ["main.py"]


def test_control_c_in_the_handshake(program):
    with accepting_child(program, "'socket', authkey=b'key'") as child:
        with connection.SocketClient(str(program.folder / "socket")) as silent:
            assert silent.recv_bytes().startswith(b"#CHALLENGE#")
            assert wait_until(lambda: state_of(child.pid) == "S")
            child.send_signal(signal.SIGINT)
            with pytest.raises(EOFError):
                silent.recv_bytes()
        assert child.stdout.read() == "interrupted\n"
        assert child.wait(20) == 0


def test_signals_while_accepting(path):
    """Handlers run; accept() goes on."""
    clients = []
    old = signal.signal(signal.SIGALRM, lambda *_: clients.append(Client(path)))
    try:
        with Listener(path) as listener:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with listener.accept() as there, clients.pop() as here:
                converse(here, there)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_a_default_timeout_is_not_for_connections(path):
    socket.setdefaulttimeout(30)
    try:
        with Listener(path) as listener, Client(path) as here, listener.accept() as there:
            assert os.get_blocking(here.fileno()) and os.get_blocking(there.fileno())
    finally:
        socket.setdefaulttimeout(None)


def test_a_timeout_for_accepting(path):
    """Programs reach for the socket to have one."""
    with Listener(path) as listener:
        listener._listener._socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listener.accept()
        listener._listener._socket.settimeout(20)
        with Client(path) as here, listener.accept() as there:
            assert os.get_blocking(there.fileno())
            converse(here, there)


# ---- other ways to send objects


def test_xml():
    results = []

    def work():
        client = connection.XmlClient(listener.address, authkey=KEY)
        client.send([1, "two", None, 3.5, {"four": True}])
        results.append(client.recv())
        assert not client.poll() and client.fileno() > 0
        client.close()

    with connection.XmlListener(authkey=KEY) as listener:
        thread = threading.Thread(target=work)
        thread.start()
        there = listener.accept()
        assert there.recv() == [1, "two", None, 3.5, {"four": True}]
        there.send((1, (2,)))
        thread.join()
        assert results == [[1, [2]]]
        with pytest.raises(TypeError):
            there.send(object())
        there.close()


def test_xml_on_the_wire():
    with connection.XmlListener() as listener, Client(listener.address) as client:
        there = listener.accept()
        there.send(7)
        assert b"<value><int>7</int></value>" in client.recv_bytes()
        there.close()


def test_a_wrapper_of_ones_own(path):
    with Listener(path) as listener, Client(path) as here, listener.accept() as there:
        wrapper = connection.ConnectionWrapper(there, pickle.dumps, pickle.loads)
        here.send([1])
        assert wrapper.recv() == [1]
        wrapper.send({2})
        assert here.recv() == {2}


# ---- imports


def test_pipes_do_without_sockets(program):
    """What only listeners and keys need is imported when they are used."""
    code = (
        "import sys; import mproc.connection as c; c.Pipe(); {};"
        "print(*sorted({{'socket', 'hmac', 'tempfile', 'xmlrpc', 'mproc.listener'}}"
        " & set(sys.modules)))"
    )
    assert program.output("-c", code.format("c.families")) == "\n"
    assert program.output("-c", code.format("c.Listener")) == "mproc.listener socket\n"
    listen = code.format("c.Listener(chr(0) + 'mproc' + str(__import__('os').getpid())).close()")
    assert program.output("-c", listen) == "mproc.listener socket\n"


def test_names():
    namespace = {}
    exec("from mproc.connection import *", namespace)
    assert {"Client", "Listener", "Pipe", "wait"} == namespace.keys() - {"__builtins__"}
    assert namespace["Listener"] is connection.Listener is Listener
    with pytest.raises(AttributeError, match=r"'mproc.connection' has no attribute 'nonsense'"):
        _ = connection.nonsense


# ---- peers of the standard library


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def interpreter(request):
    """One of the interpreters that the machine has."""
    found = subprocess.run(
        [FINDER, request.param], capture_output=True, text=True, check=False, timeout=60
    )
    if found.returncode != 0:
        pytest.skip(f"there is no Python {request.param} here")
    return request.param, found.stdout.strip()


def start_peer(python, *arguments):
    command = [python, "-I", str(PEER), "multiprocessing", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("domain", FAMILIES)
def test_we_connect_to_the_standard_library(interpreter, domain):
    _, python = interpreter
    with start_peer(python, "serve", domain, KEY.decode()) as peer, not_for_ever(peer):
        address = eval(peer.stdout.readline())
        with Client(address, authkey=KEY) as here:
            here.send([1, {"two": 3.0}])
            assert here.recv() == [1, {"two": 3.0}]
        with pytest.raises(AuthenticationError, match="digest sent was rejected"):
            Client(address, authkey=b"wrong")
        assert peer.stdout.read() == "AuthenticationError digest received was wrong\n"
        assert peer.wait(20) == 0


@pytest.mark.parametrize("domain", FAMILIES)
def test_the_standard_library_connects_to_us(interpreter, domain):
    version, python = interpreter
    with Listener(family=domain, authkey=KEY) as listener:
        address = repr(listener.address)
        with start_peer(python, "connect", address, KEY.decode()) as peer, not_for_ever(peer):
            with listener.accept() as there:
                message = there.recv()
                assert message == ["a message", tuple(map(int, version.split(".")))]
                there.send("an answer")
            assert peer.stdout.read() == "an answer\n"
            assert peer.wait(20) == 0
        with start_peer(python, "connect", address, "wrong") as peer, not_for_ever(peer):
            with pytest.raises(AuthenticationError, match="digest received was wrong"):
                listener.accept()
            assert peer.stdout.read() == "AuthenticationError digest sent was rejected\n"
            assert peer.wait(20) == 0
