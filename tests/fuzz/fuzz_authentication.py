"""Handshakes with a peer that may send anything.

What is fed. The first byte chooses one of the four handshakes. The rest is what the peer does each
time that our end waits for bytes: it sends frames of any bytes, challenges, answers that are right
or made with another key, verdicts, what we have sent ourselves; it breaks off, or the stream fails.
What it sends comes in pieces of any length.

What must hold. A handshake that proves something succeeds only with a peer that gave a right answer
to our challenge. Any other ends in AuthenticationError, EOFError or OSError. Our end asks for no
more bytes than the longest frame has. Nothing is unpickled.
"""

import hmac
import sys

from mproc import authentication
from mproc.context import AuthenticationError

KEY = b"the right key"
DIGESTS = ("md5", "sha256", "sha384", "sha3_256", "sha3_384")
LONGEST = 4 + 256


class Feed:
    """What is left of an input; one that is too short goes on with zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, n: int) -> int:
        return self.byte() % n

    def bytes(self, n: int) -> bytes:
        self.at += n
        return self.data[self.at - n : self.at]


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


class Peer:
    """The other end, and the connection to it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.ahead = b""  # sent by the peer and not read yet
        self.sent = b""  # what our end has sent
        self.proved = False  # whether the peer has given a right answer
        self.ended = False

    # -- what a connection does

    def fileno(self) -> int:
        return 4711

    def _read(self, most: int) -> bytes:
        assert 0 < most <= LONGEST, most
        self.wait()
        n = min(most, 1 + self.feed.byte() if self.feed else most)
        piece, self.ahead = self.ahead[:n], self.ahead[n:]
        return piece

    def send_bytes(self, message: bytes) -> None:
        self.write(4711, frame(message))

    def recv_bytes(self, maxlength: int = 1 << 20) -> bytes:
        size = int.from_bytes(self.exactly(4, "big"), "big", signed=True)
        if not 0 <= size <= maxlength:
            raise OSError("bad message length")
        return self.exactly(size, "message") if size else b""

    def exactly(self, size: int, what: str) -> bytes:
        while len(self.ahead) < size and not self.ended:
            self.act()
        if len(self.ahead) < size:
            raise OSError("got end of file during message") if self.ahead else EOFError
        piece, self.ahead = self.ahead[:size], self.ahead[size:]
        return piece

    def write(self, fd: int, data: bytes) -> int:
        assert fd == 4711
        n = 1 + self.feed.byte() % len(data) if self.feed and self.feed.byte() == 9 else len(data)
        self.sent += data[:n]
        return n

    # -- what the peer does

    def wait(self) -> None:
        while not self.ahead and not self.ended:
            self.act()

    def act(self) -> None:
        if not self.feed:
            self.ended = True
            return
        ACTS[self.feed.below(len(ACTS))](self)

    def raw(self) -> None:
        self.ahead += self.feed.bytes(self.feed.byte())

    def any_frame(self) -> None:
        self.ahead += frame(self.feed.bytes(self.feed.byte()))

    def bad_length(self) -> None:
        self.ahead += self.feed.bytes(4) + b"x"

    def answer(self, key: bytes) -> bool:
        """Answer our challenge, if there is one; with any digest, or as the old ones did."""
        start = self.sent.rfind(b"#CHALLENGE#")
        if start < 0:
            return False
        message = self.sent[start + len(b"#CHALLENGE#") :]
        which = self.feed.below(len(DIGESTS) + 1)
        name = DIGESTS[which] if which < len(DIGESTS) else ""
        mac = hmac.digest(key, message, name or "md5")
        self.ahead += frame(b"{%s}%s" % (name.encode(), mac) if name else mac)
        return True

    def right_answer(self) -> None:
        self.proved |= self.answer(KEY)

    def wrong_answer(self) -> None:
        self.answer(self.feed.bytes(4))

    def challenge(self) -> None:
        which = self.feed.below(len(DIGESTS) + 2)
        prefix = b"{%s}" % DIGESTS[which].encode() if which < len(DIGESTS) else b""
        message = self.feed.bytes(20 if which == len(DIGESTS) else self.feed.byte())
        self.ahead += frame(b"#CHALLENGE#" + prefix + message)

    def welcome(self) -> None:
        self.ahead += frame(b"#WELCOME#")

    def failure(self) -> None:
        self.ahead += frame(b"#FAILURE#")

    def echo(self) -> None:
        start = self.feed.byte()
        self.ahead += self.sent[start : start + self.feed.byte()]

    def end(self) -> None:
        self.ended = True

    def fail(self) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")


ACTS = (
    Peer.right_answer,
    Peer.challenge,
    Peer.welcome,
    Peer.wrong_answer,
    Peer.any_frame,
    Peer.raw,
    Peer.bad_length,
    Peer.failure,
    Peer.echo,
    Peer.end,
    Peer.fail,
)


class Kernel:
    """Stands in for the module os: bytes go to the peer, and random ones are no secret here."""

    peer: Peer
    number = 0

    @classmethod
    def write(cls, fd: int, data: bytes) -> int:
        return cls.peer.write(fd, data)

    @classmethod
    def urandom(cls, n: int) -> bytes:
        cls.number += 1
        return cls.number.to_bytes(n, "big")


authentication.os = Kernel  # type: ignore[assignment]

HANDSHAKES = (
    (authentication.welcome_client, True),
    (authentication.greet_server, True),
    (authentication.deliver_challenge, True),
    (authentication.answer_challenge, False),  # it proves nothing of the peer
)


def refuse_pickles(event: str, args: object) -> None:
    assert event != "pickle.find_class", args


refusing: list[None] = []


def feed(data: bytes) -> None:
    """Make one handshake."""
    if not refusing:  # not for the manager's half, which has requests
        sys.addaudithook(refuse_pickles)
        refusing.append(None)
    source = Feed(data)
    handshake, proves = HANDSHAKES[source.below(len(HANDSHAKES))]
    peer = Kernel.peer = Peer(source)
    Kernel.number = 0
    try:
        handshake(peer, KEY)  # type: ignore[arg-type]
    except (AuthenticationError, EOFError, OSError):
        return
    assert peer.proved or not proves, "a peer that proved nothing was believed"
