"""Authentication of connections: both ends prove that they know a key, which never travels.

Each end in turn challenges the other with random bytes and gets back their HMAC (RFC 2104) under
the key. The accepting end challenges first. On the wire, a frame a line:

    #CHALLENGE#{sha256}<40 random bytes>     sent by the end that challenges
    {sha256}<32 bytes of HMAC>               the answer: over all that follows #CHALLENGE#
    #WELCOME#  or  #FAILURE#                 sent by the end that challenged

These are the standard library's messages since Python 3.12. Until 3.11 challenge and answer had no
{digest} and the HMAC was that of MD5. Such a peer answers our challenge with bare 16 bytes, and
sends bare 20 bytes as its own. Both are understood, so the other end may be of any version.

An end may answer with another allowed digest than that of the challenge: an old peer does so.
Therefore no end can insist on SHA-256, and the handshake is as strong as HMAC-MD5. That has no
known weakness that would help here, but the key should be long and random.

`welcome_client` and `greet_server` are whole handshakes. They save a trip each way: the connecting
end sends its challenge along with its answer. The accepting end sends its verdict along with its
answer, if the challenge is there already. A peer that does neither sees no difference, since the
connection is a stream. The accepting end proves nothing before the other end has proved itself.
"""

from __future__ import annotations

import contextlib
import hmac
import os

from .context import AuthenticationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ._mproc import Connection

    class Messages(Protocol):
        """The methods of a connection that a handshake needs."""

        def send_bytes(self, buf: bytes, /) -> None: ...
        def recv_bytes(self, maxlength: int, /) -> bytes: ...


__all__ = [
    "answer_challenge",
    "challenge_client",
    "deliver_challenge",
    "finish_welcome",
    "greet_server",
    "welcome_client",
]

MESSAGE_LENGTH = 40  # bytes of randomness in our challenges

_CHALLENGE = b"#CHALLENGE#"
_WELCOME = b"#WELCOME#"
_FAILURE = b"#FAILURE#"

_ALLOWED_DIGESTS = frozenset((b"md5", b"sha256", b"sha384", b"sha3_256", b"sha3_384"))
_MD5ONLY_MESSAGE_LENGTH = 20  # a challenge of a peer that knows only MD5
_MD5_DIGEST_LEN = 16  # and its answer
_LEGACY_LENGTHS = (_MD5ONLY_MESSAGE_LENGTH, _MD5_DIGEST_LEN)

_LONGEST = 256  # bytes of a frame that is accepted before authentication


def deliver_challenge(connection: Messages, authkey: bytes, digest_name: str = "sha256") -> None:
    """Have the other end prove that it knows the key.

    AuthenticationError: it does not. ValueError: a key that is not bytes, or a digest that no peer
    accepts.
    """
    _check_key(authkey)
    message = _challenge(digest_name)
    connection.send_bytes(_CHALLENGE + message)
    _verify(connection, authkey, message)
    connection.send_bytes(_WELCOME)


def answer_challenge(connection: Messages, authkey: bytes) -> None:
    """Prove to the other end, which calls deliver_challenge(), that this one knows the key.

    AuthenticationError: the other end rejects the answer. ValueError: a key that is not bytes.
    """
    _check_key(authkey)
    connection.send_bytes(_answer(connection, authkey))
    _expect_welcome(connection)


def welcome_client(connection: Connection, authkey: bytes) -> None:
    """Authenticate as the accepting end, which challenges and then answers."""
    finish_welcome(connection, authkey, challenge_client(connection, authkey))


def challenge_client(connection: Connection, authkey: bytes) -> bytes:
    """Do the first step of the accepting end, which does not wait; return the challenge."""
    _check_key(authkey)
    message = _challenge()
    _Wire(connection).send_bytes(_CHALLENGE + message)
    return message


def finish_welcome(connection: Connection, authkey: bytes, message: bytes) -> None:
    """Do the other steps, which begin with the client's answer to the challenge."""
    wire = _Wire(connection)
    _verify(wire, authkey, message)
    if wire.ahead:
        wire.send_bytes(_WELCOME, _answer(wire, authkey))
    else:
        wire.send_bytes(_WELCOME)
        wire.send_bytes(_answer(wire, authkey))
    _expect_welcome(wire, len(_WELCOME))  # the bytes after it belong to the next reader
    _expect_no_more(wire)


def greet_server(connection: Connection, authkey: bytes) -> None:
    """Authenticate as the connecting end, which answers and then challenges."""
    _check_key(authkey)
    wire = _Wire(connection)
    message = _challenge()
    wire.send_bytes(_answer(wire, authkey), _CHALLENGE + message)
    _expect_welcome(wire)
    _verify(wire, authkey, message)
    _expect_no_more(wire)
    wire.send_bytes(_WELCOME)


class _Wire:
    """The frames of a handshake, sent and received with as few system calls as possible.

    Frames that are sent together go in one call, so that the other end wakes up once. All that is
    there is read in one call: an end that has sent its part waits for the other's. Only the last
    frame is followed by messages that do not belong to the handshake; its length is known.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ahead = b""  # what has been read of the next frames

    def send_bytes(self, *messages: bytes) -> None:
        """Send messages.

        They go in one call, for the other end may reject the first one and disconnect.
        """
        frames = b"".join([len(message).to_bytes(4, "big") + message for message in messages])
        while frames:
            frames = frames[os.write(self._connection.fileno(), frames) :]

    def recv_bytes(self, maxlength: int) -> bytes:
        """Receive a message; read no more than the longest one takes.

        EOFError: the other end has disconnected. OSError: the message is cut off, or too long.
        """
        self._fill(4, maxlength)
        end = 4 + int.from_bytes(self.ahead[:4], "big")
        if end > 4 + maxlength:
            raise OSError("bad message length")
        self._fill(end, maxlength)
        message, self.ahead = self.ahead[4:end], self.ahead[end:]
        return message

    def _fill(self, size: int, maxlength: int) -> None:
        """Read on until so many bytes are there."""
        while len(self.ahead) < size:
            more = self._connection._read(4 + maxlength - len(self.ahead))
            if not more:
                raise OSError("got end of file during message") if self.ahead else EOFError
            self.ahead += more


# ---- steps


def _check_key(authkey: bytes) -> None:
    if not isinstance(authkey, bytes):
        raise ValueError(f"Authkey must be bytes, not {type(authkey)}")


def _challenge(digest_name: str = "sha256") -> bytes:
    """Return the message that the other end is to authenticate."""
    digest = digest_name.encode("ascii")
    if digest not in _ALLOWED_DIGESTS:
        known = ", ".join(sorted(name.decode() for name in _ALLOWED_DIGESTS))
        raise ValueError(f"unsupported digest: {digest_name!r}; there are {known}")
    return b"{%s}%s" % (digest, os.urandom(MESSAGE_LENGTH))


def _verify(connection: Messages, authkey: bytes, message: bytes) -> None:
    """Receive the answer to a challenge; if it is wrong, send #FAILURE# and raise."""
    response = connection.recv_bytes(_LONGEST)
    try:
        _verify_challenge(authkey, message, response)
    except AuthenticationError:
        with contextlib.suppress(OSError):  # the other end may not have waited
            connection.send_bytes(_FAILURE)
        raise


def _answer(connection: Messages, authkey: bytes) -> bytes:
    """Receive a challenge; return the answer to it."""
    message = connection.recv_bytes(_LONGEST)
    if not message.startswith(_CHALLENGE):
        raise AuthenticationError(f"Protocol error, expected challenge: {message=}")
    message = message[len(_CHALLENGE) :]
    if len(message) < _MD5ONLY_MESSAGE_LENGTH:
        raise AuthenticationError(f"challenge too short: {len(message)} bytes")
    return _create_response(authkey, message)


def _expect_welcome(connection: Messages, maxlength: int = _LONGEST) -> None:
    if connection.recv_bytes(maxlength) != _WELCOME:
        raise AuthenticationError("digest sent was rejected: the other end has another key")


def _expect_no_more(wire: _Wire) -> None:
    """Raise AuthenticationError if there are more bytes, which the next reader would miss."""
    if wire.ahead:
        raise AuthenticationError(f"Protocol error, unexpected data: {wire.ahead!r}")


# ---- messages


def _get_digest_name_and_payload(message: bytes) -> tuple[str, bytes]:
    """Split a challenge or an answer; a peer that knows only MD5 sends no digest's name."""
    if len(message) in _LEGACY_LENGTHS:
        return "", message
    name, brace, payload = message[1:].partition(b"}")
    if message.startswith(b"{") and brace and name in _ALLOWED_DIGESTS:
        return name.decode("ascii"), payload
    raise AuthenticationError(
        f"unsupported message length, missing digest prefix, or unsupported digest: {message=}"
    )


def _mac(authkey: bytes, message: bytes, digest_name: str) -> bytes:
    try:
        return hmac.digest(authkey, message, digest_name or "md5")
    except ValueError as error:  # some systems are built without MD5
        raise AuthenticationError(f"digest {digest_name or 'md5'!r} is not available") from error


def _create_response(authkey: bytes, message: bytes) -> bytes:
    """Return the answer to a challenge, in the form of the challenge."""
    name, _ = _get_digest_name_and_payload(message)
    mac = _mac(authkey, message, name)
    return b"{%s}%s" % (name.encode("ascii"), mac) if name else mac


def _verify_challenge(authkey: bytes, message: bytes, response: bytes) -> None:
    """Raise AuthenticationError unless the response is right."""
    name, mac = _get_digest_name_and_payload(response)
    expected = _mac(authkey, message, name)
    if len(mac) != len(expected):
        raise AuthenticationError(
            f"expected {name or 'md5'!r} of length {len(expected)} got {len(mac)}"
        )
    if not hmac.compare_digest(expected, mac):
        raise AuthenticationError("digest received was wrong: the other end has another key")
