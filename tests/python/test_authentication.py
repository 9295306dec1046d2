"""Authentication: the messages of both generations of peers, and peers that misbehave."""

import contextlib
import hmac
import os
import socket
import threading

import pytest

from mproc import AuthenticationError, authentication, connection
from mproc.connection import Client, Connection, Listener, answer_challenge, deliver_challenge

KEY = b"a key that both ends know"
CHALLENGE, WELCOME, FAILURE = b"#CHALLENGE#", b"#WELCOME#", b"#FAILURE#"
DIGESTS = ["md5", "sha256", "sha384", "sha3_256", "sha3_384"]


class Script:
    """A connection that receives given messages, and keeps those that are sent."""

    def __init__(self, *received):
        self.received = list(received)
        self.sent = []

    def send_bytes(self, data):
        self.sent.append(data)

    def recv_bytes(self, maxlength):
        assert maxlength == 256
        message = self.received.pop(0)
        return message(self.sent[-1]) if callable(message) else message


def mac(message, digest, key=KEY):
    return hmac.digest(key, message, digest)


def knows(key, digest="md5", tag=True):
    """The answer of a peer with that key."""

    def answer(sent):
        message = sent.removeprefix(CHALLENGE)
        return (b"{%s}" % digest.encode() if tag else b"") + mac(message, digest, key)

    return answer


# ---- the messages


def test_a_challenge():
    script = Script(knows(KEY, "sha256"))
    deliver_challenge(script, KEY)
    challenge, verdict = script.sent
    assert challenge.startswith(b"#CHALLENGE#{sha256}") and len(challenge) == 11 + 8 + 40
    assert verdict == WELCOME
    other = Script(knows(KEY, "sha256"))
    deliver_challenge(other, KEY)
    assert other.sent[0] != challenge


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_challenge_with_another_digest(digest):
    script = Script(knows(KEY, digest))
    deliver_challenge(script, KEY, digest)
    assert script.sent[0].startswith(b"#CHALLENGE#{%s}" % digest.encode())
    assert script.sent[1] == WELCOME


@pytest.mark.parametrize("digest", DIGESTS)
def test_who_is_challenged_chooses_the_digest(digest):
    deliver_challenge(Script(knows(KEY, digest)), KEY)
    with pytest.raises(AuthenticationError, match="digest received was wrong"):
        deliver_challenge(Script(knows(b"another", digest)), KEY)


def test_an_answer_of_python_3_11():
    """It authenticates the whole message with MD5, and does not say so."""
    deliver_challenge(Script(knows(KEY, "md5", tag=False)), KEY)
    script = Script(knows(b"another", "md5", tag=False))
    with pytest.raises(AuthenticationError, match="digest received was wrong"):
        deliver_challenge(script, KEY)
    assert script.sent[-1] == FAILURE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"x",
        b"something bogus",
        b"{sha256}",
        b"{sha256}" + b"x" * 31,
        b"{sha1}" + b"x" * 20,
        b"{" + b"x" * 40,
        b"{}" + b"x" * 40,
        b"{\xff}" + b"x" * 32,
        b"{md5}" + b"x" * 16,
        b"x" * 16,
        b"x" * 20,
        b"x" * 32,
        b"x" * 256,
    ],
)
def test_wrong_answers(answer):
    script = Script(answer)
    with pytest.raises(AuthenticationError):
        deliver_challenge(script, KEY)
    assert script.sent[1:] == [FAILURE]


def test_answers_say_what_is_wrong():
    for answer, message in [
        (b"bogus", "unsupported message length, missing digest prefix, .*: message=b'bogus'"),
        (b"{sha1}" + b"x" * 20, "unsupported digest: message=b'{sha1}"),
        (b"{sha256}xx", "expected 'sha256' of length 32 got 2"),
        (b"x" * 20, "expected 'md5' of length 16 got 20"),
        (b"{sha384}" + b"x" * 48, "digest received was wrong"),
    ]:
        with pytest.raises(AuthenticationError, match=message):
            deliver_challenge(Script(answer), KEY)


@pytest.mark.parametrize("digest", DIGESTS)
def test_answering(digest):
    message = b"{%s}" % digest.encode() + os.urandom(40)
    script = Script(CHALLENGE + message, WELCOME)
    answer_challenge(script, KEY)
    assert script.sent == [b"{%s}" % digest.encode() + mac(message, digest)]


def test_answering_python_3_11():
    """Its 20 bytes may look like anything."""
    for message in (b"x" * 20, b"{sha256}" + b"x" * 12, b"{" * 20):
        script = Script(CHALLENGE + message, WELCOME)
        answer_challenge(script, KEY)
        assert script.sent == [mac(message, "md5")]


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        (b"", "Protocol error, expected challenge: message=b''"),
        (b"bogus", "Protocol error, expected challenge: message=b'bogus'"),
        (WELCOME, "Protocol error"),
        (CHALLENGE, "challenge too short: 0 bytes"),
        (CHALLENGE + b"{md5}" + b"x" * 14, "challenge too short: 19 bytes"),
        (CHALLENGE + b"x" * 21, "unsupported message length"),
        (CHALLENGE + b"x" * 16, "too short: 16 bytes"),
        (CHALLENGE + b"{sha1}" + b"x" * 40, "unsupported digest"),
        (CHALLENGE + b"{sha256" + b"x" * 40, "missing digest prefix"),
    ],
)
def test_bad_challenges_are_not_answered(challenge, message):
    script = Script(challenge)
    with pytest.raises(AuthenticationError, match=message):
        answer_challenge(script, KEY)
    assert script.sent == []


def test_rejected():
    for verdict in (FAILURE, b"", b"#WELCOME", b"#welcome#"):
        with pytest.raises(AuthenticationError, match="digest sent was rejected"):
            answer_challenge(Script(CHALLENGE + b"x" * 20, verdict), KEY)


def test_keys_are_bytes():
    for key in ("text", None, 3, bytearray(b"x")):
        for use in (deliver_challenge, answer_challenge):
            with pytest.raises(ValueError, match=r"Authkey must be bytes, not <class '\w+'>"):
                use(Script(), key)


def test_digests_that_no_peer_accepts():
    for name in ("sha1", "", "SHA256", "nonsense"):
        script = Script()
        with pytest.raises(ValueError, match=f"unsupported digest: '{name}'"):
            deliver_challenge(script, KEY, name)
        assert script.sent == []


def test_a_system_without_md5(monkeypatch):
    def digest(key, message, name):
        if name == "md5":
            raise ValueError("disabled for FIPS")
        return hmac.new(key, message, name).digest()

    monkeypatch.setattr(authentication.hmac, "digest", digest)
    answer_challenge(Script(CHALLENGE + b"{sha256}" + b"x" * 40, WELCOME), KEY)
    with pytest.raises(AuthenticationError, match="digest 'md5' is not available"):
        answer_challenge(Script(CHALLENGE + b"x" * 20), KEY)


def test_the_rejected_may_be_gone():
    class Gone(Script):
        def send_bytes(self, data):
            super().send_bytes(data)
            if data == FAILURE:
                raise BrokenPipeError

    with pytest.raises(AuthenticationError, match="digest received was wrong"):
        deliver_challenge(Gone(knows(b"another")), KEY)


def test_names_that_programs_use():
    assert connection.CHALLENGE == connection._CHALLENGE == CHALLENGE
    assert connection.WELCOME == connection._WELCOME == WELCOME
    assert connection.FAILURE == connection._FAILURE == FAILURE
    assert connection.MESSAGE_LENGTH == 40
    response = connection._create_response(KEY, b"{sha256}message")
    assert response == b"{sha256}" + mac(b"{sha256}message", "sha256")
    assert connection._verify_challenge(KEY, b"{sha256}message", response) is None
    assert connection._get_digest_name_and_payload(response) == ("sha256", response[8:])
    assert connection._get_digest_name_and_payload(b"x" * 16) == ("", b"x" * 16)
    assert connection._get_digest_name_and_payload(b"{md5}x") == ("md5", b"x")


# ---- whole handshakes, with an end that is played by hand


def frame(message):
    return len(message).to_bytes(4, "big") + message


class Stranger:
    """A socket that speaks frames, and only what it is told to."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(10)

    def say(self, *messages):
        self.sock.sendall(b"".join(map(frame, messages)))

    def hear(self):
        size = int.from_bytes(self._exactly(4), "big")
        return self._exactly(size)

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def end_with(self, data):
        """Say a last thing, frame or not. The other end may have had enough before that."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)
            self.sock.shutdown(socket.SHUT_WR)

    def answer(self, tag=True, key=KEY):
        """Answer a challenge."""
        challenge = self.hear()
        assert challenge.startswith(CHALLENGE + b"{sha256}")
        return knows(key, "sha256" if tag else "md5", tag)(challenge)


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def accepting(family="AF_UNIX"):
    """A listener that accepts once, in a thread; yields a stranger and the outcome to be."""
    outcome = []

    def accept():
        try:
            outcome.append(listener.accept())
        except Exception as error:
            outcome.append(error)

    with Listener(family=family, authkey=KEY) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        with socket.socket(getattr(socket, family)) as sock:
            sock.connect(listener.address)
            try:
                yield Stranger(sock), lambda: thread.join(20) or outcome.pop()
            finally:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                thread.join(20)


@contextlib.contextmanager
def connecting(authkey=KEY):
    """A client that connects, in a thread; yields the stranger it found and the outcome to be."""
    outcome = []

    def connect():
        try:
            outcome.append(Client(address, authkey=authkey))
        except Exception as error:
            outcome.append(error)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"")
        listener.listen()
        address = listener.getsockname()
        thread = threading.Thread(target=connect)
        thread.start()
        sock, _ = listener.accept()
        with sock:
            try:
                yield Stranger(sock), lambda: thread.join(20) or outcome.pop()
            finally:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                thread.join(20)


@pytest.mark.parametrize("domain", ["AF_UNIX", "AF_INET"])
@pytest.mark.parametrize("tag", [True, False], ids=["3.12", "3.11"])
def test_accepting_a_peer_that_takes_its_turn(domain, tag):
    with accepting(domain) as (peer, outcome):
        peer.say(peer.answer(tag))
        assert peer.hear() == WELCOME
        message = (b"{sha256}" if tag else b"") + os.urandom(40 if tag else 20)
        peer.say(CHALLENGE + message)
        assert peer.hear() == knows(KEY, "sha256" if tag else "md5", tag)(message)
        peer.say(WELCOME, b"and this is not part of it")
        with outcome() as ours:
            assert ours.recv_bytes() == b"and this is not part of it"
            ours.send_bytes(b"nor this")
            assert peer.hear() == b"nor this"


def test_accepting_a_peer_that_sends_ahead():
    with accepting() as (peer, outcome):
        message = b"{sha256}" + os.urandom(40)
        peer.say(peer.answer(), CHALLENGE + message)
        assert peer.hear() == WELCOME
        assert peer.hear() == knows(KEY, "sha256")(message)
        peer.say(WELCOME, b"hello")
        with outcome() as ours:
            assert ours.recv_bytes() == b"hello"


def test_accepting_a_peer_that_sends_byte_by_byte():
    def trickle(*messages):
        for byte in b"".join(map(frame, messages)):
            peer.sock.sendall(bytes([byte]))

    with accepting("AF_INET") as (peer, outcome):
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trickle(peer.answer(), CHALLENGE + b"x" * 20)
        assert peer.hear() == WELCOME
        assert peer.hear() == mac(b"x" * 20, "md5")
        trickle(WELCOME, b"hello")
        with outcome() as ours:
            assert ours.recv_bytes() == b"hello"


@pytest.mark.parametrize("tag", [True, False], ids=["3.12", "3.11"])
def test_connecting_to_a_peer_that_takes_its_turn(tag):
    with connecting() as (peer, outcome):
        message = (b"{sha256}" if tag else b"") + os.urandom(40 if tag else 20)
        peer.say(CHALLENGE + message)
        assert peer.hear() == knows(KEY, "sha256" if tag else "md5", tag)(message)
        peer.say(WELCOME)
        peer.say(peer.answer(tag))
        assert peer.hear() == WELCOME
        with outcome() as ours:
            peer.say(b"hello")
            assert ours.recv_bytes() == b"hello"


def test_nothing_is_proved_to_who_has_not_proved_himself():
    with accepting() as (peer, outcome):
        peer.say(peer.answer(key=b"another"), CHALLENGE + b"{sha256}" + b"x" * 40)
        assert peer.hear() == FAILURE
        with pytest.raises((EOFError, ConnectionResetError)):
            peer.hear()
        assert str(outcome()).startswith("digest received was wrong: the other end has")


def test_a_listener_that_does_not_know_the_key():
    with connecting() as (peer, outcome):
        peer.say(CHALLENGE + b"x" * 20)
        assert peer.hear() == mac(b"x" * 20, "md5")
        peer.say(WELCOME)
        peer.say(peer.answer(key=b"another"))
        assert peer.hear() == FAILURE
        assert str(outcome()).startswith("digest received was wrong: the other end has")


def test_both_ends_are_ours():
    with Listener(authkey=KEY) as listener:
        clients = []
        thread = threading.Thread(
            target=lambda: clients.append(Client(listener.address, authkey=KEY))
        )
        thread.start()
        with listener.accept() as there:
            thread.join()
            with clients.pop() as here:
                here.send(1)
                assert there.recv() == 1


# ---- peers that go away, or speak of something else

ANSWERED, WELCOMED = "answered", "welcomed"

UNWELCOME = [
    (b"", EOFError, ""),
    (b"\0", OSError, "got end of file during message"),
    (b"\0\0\0\x07abc", OSError, "got end of file during message"),
    (b"GET / HTTP/1.0\r\n\r\n", OSError, "bad message length"),
    (frame(b"x" * 257), OSError, "bad message length"),
    (b"\x7f\xff\xff\xff", OSError, "bad message length"),
    (b"\xff\xff\xff\xff\0\0\0\0\0\0\0\1x", OSError, "bad message length"),
    (b"\x80\0\0\0", OSError, "bad message length"),
]


def ends_in(outcome, kind, message):
    error = outcome()
    if isinstance(error, Connection):
        error.close()
    assert type(error) is kind, error
    assert str(error) == message


@pytest.mark.parametrize("domain", ["AF_UNIX", "AF_INET"])
@pytest.mark.parametrize("step", [None, ANSWERED, WELCOMED])
@pytest.mark.parametrize(("data", "kind", "message"), UNWELCOME)
def test_strangers_that_connect(domain, step, data, kind, message):
    """At every step; nothing is left open."""
    before = open_descriptors()
    with accepting(domain) as (peer, outcome):
        if step is not None:
            peer.say(peer.answer())
            assert peer.hear() == WELCOME
        if step == WELCOMED:
            peer.say(CHALLENGE + b"x" * 20)
            assert peer.hear() == mac(b"x" * 20, "md5")
        peer.end_with(data)
        ends_in(outcome, kind, message)
    assert open_descriptors() == before


@pytest.mark.parametrize("step", [None, ANSWERED, WELCOMED])
@pytest.mark.parametrize(("data", "kind", "message"), UNWELCOME)
def test_strangers_that_listen(step, data, kind, message):
    before = open_descriptors()
    with connecting() as (peer, outcome):
        if step is not None:
            peer.say(CHALLENGE + b"x" * 20)
            assert peer.hear() == mac(b"x" * 20, "md5")
            assert peer.hear().startswith(CHALLENGE)
        if step == WELCOMED:
            peer.say(WELCOME)
        peer.end_with(data)
        ends_in(outcome, kind, message)
    assert open_descriptors() == before


def test_peers_that_do_not_wait_for_us():
    with accepting() as (peer, outcome):
        peer.say(peer.answer(), CHALLENGE + b"x" * 20, WELCOME, b"too early")
        error = outcome()
        assert isinstance(error, AuthenticationError) and "unexpected data" in str(error)
    with connecting() as (peer, outcome):
        peer.say(CHALLENGE + b"x" * 20)
        peer.hear()
        peer.say(WELCOME, peer.answer(), b"too early")
        error = outcome()
        assert isinstance(error, AuthenticationError) and "unexpected data" in str(error)


def test_peers_that_reset():
    with accepting("AF_INET") as (peer, outcome):
        peer.hear()
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        peer.sock.close()
        ends_in(outcome, EOFError, "")
