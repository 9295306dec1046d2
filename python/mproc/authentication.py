"""Authentication of connections: both ends prove that they know a key, which never travels.

Each end in turn challenges the other with random bytes and gets back their HMAC (RFC 2104) under
the key. The accepting end challenges first. On the wire, a frame a line:

    #CHALLENGE#{sha256}<40 random bytes>     who challenges
    {sha256}<32 bytes of HMAC>               who answers: over all that follows #CHALLENGE#
    #WELCOME#  or  #FAILURE#                 who challenged

These are the standard library's messages since Python 3.12. Until 3.11 challenge and answer had no
{digest} and the HMAC was that of MD5. Such a peer answers our challenge with bare 16 bytes, and
sends bare 20 bytes as its own: both are understood, so every version may be at the other end,
whichever runs this.

An end may answer with another digest than it was challenged with, out of those allowed: that is
how an old peer gets in. So nobody can insist on SHA-256, and the handshake is as strong as
HMAC-MD5, which has no known weakness of use here; but the key should be long and random.

`welcome_client` and `greet_server` are whole handshakes. They save a trip each way: the connecting
end sends its challenge along with its answer, the accepting one its verdict along with its answer,
if the challenge is there already. In a stream that makes no difference to a peer that does
neither. The accepting end still proves nothing to an end that has not proved itself.
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
        """What a handshake needs of a connection."""

        def send_bytes(self, buf: bytes, /) -> None: ...
        def recv_bytes(self, maxlength: int, /) -> bytes: ...


__all__ = ["answer_challenge", "deliver_challenge", "greet_server", "welcome_client"]

MESSAGE_LENGTH = 40  # bytes of randomness in our challenges

_CHALLENGE = b"#CHALLENGE#"
_WELCOME = b"#WELCOME#"
_FAILURE = b"#FAILURE#"

_ALLOWED_DIGESTS = frozenset((b"md5", b"sha256", b"sha384", b"sha3_256", b"sha3_384"))
_MD5ONLY_MESSAGE_LENGTH = 20  # a challenge of a peer that knows only MD5
_MD5_DIGEST_LEN = 16  # and its answer
_LEGACY_LENGTHS = (_MD5ONLY_MESSAGE_LENGTH, _MD5_DIGEST_LEN)

_LONGEST = 256  # bytes of a frame that is accepted from somebody unknown


def deliver_challenge(connection: Messages, authkey: bytes, digest_name: str = "sha256") -> None:
    """Have the other end prove that it knows the key.

    AuthenticationError if it does not; ValueError for a key that is not bytes or a digest that no
    peer accepts.
    """
    _check_key(authkey)
    message = _challenge(digest_name)
    connection.send_bytes(_CHALLENGE + message)
    _verify(connection, authkey, message)
    connection.send_bytes(_WELCOME)


def answer_challenge(connection: Messages, authkey: bytes) -> None:
    """Prove to the other end, which calls deliver_challenge(), that we know the key.

    AuthenticationError if it does not believe it; ValueError for a key that is not bytes.
    """
    _check_key(authkey)
    connection.send_bytes(_answer(connection, authkey))
    _expect_welcome(connection)


def welcome_client(connection: Connection, authkey: bytes) -> None:
    """Authenticate at the accepting end: it challenges, then it answers."""
    _check_key(authkey)
    wire = _Wire(connection)
    message = _challenge()
    wire.send_bytes(_CHALLENGE + message)
    _verify(wire, authkey, message)
    if wire.ahead:
        wire.send_bytes(_WELCOME, _answer(wire, authkey))
    else:
        wire.send_bytes(_WELCOME)
        wire.send_bytes(_answer(wire, authkey))
    _expect_welcome(wire, len(_WELCOME))  # what is behind it is not for us
    _expect_no_more(wire)


def greet_server(connection: Connection, authkey: bytes) -> None:
    """Authenticate at the connecting end: it answers, then it challenges."""
    _check_key(authkey)
    wire = _Wire(connection)
    message = _challenge()
    wire.send_bytes(_answer(wire, authkey), _CHALLENGE + message)
    _expect_welcome(wire)
    _verify(wire, authkey, message)
    _expect_no_more(wire)
    wire.send_bytes(_WELCOME)


class _Wire:
    """The frames of a handshake, with as few calls of the system as can be.

    What is sent together goes in one call, so that the other end wakes up once; and what is there
    is read in one: an end that has said its part waits for ours. Only the last word is followed by
    messages that are not the handshake's; its length is known.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ahead = b""  # what has been read of the next frames

    def send_bytes(self, *messages: bytes) -> None:
        """Send messages.

        In two calls the second could fail, since the other end has rejected the first and gone.
        """
        frames = b"".join([len(message).to_bytes(4, "big") + message for message in messages])
        while frames:
            frames = frames[os.write(self._connection.fileno(), frames) :]

    def recv_bytes(self, maxlength: int) -> bytes:
        """Receive a message; read no more than the longest one takes.

        EOFError, or OSError as of Connection.recv_bytes(): it is cut off, or too long.
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
    """Return what the other end is to authenticate."""
    digest = digest_name.encode("ascii")
    if digest not in _ALLOWED_DIGESTS:
        raise ValueError(f"unsupported digest: {digest_name!r}")
    return b"{%s}%s" % (digest, os.urandom(MESSAGE_LENGTH))


def _verify(connection: Messages, authkey: bytes, message: bytes) -> None:
    """Receive the answer to a challenge; if it is wrong, tell the other end so."""
    response = connection.recv_bytes(_LONGEST)
    try:
        _verify_challenge(authkey, message, response)
    except AuthenticationError:
        with contextlib.suppress(OSError):  # it may not have waited for that
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
        raise AuthenticationError("digest sent was rejected")


def _expect_no_more(wire: _Wire) -> None:
    """The other end should have waited for us. What it has sent in advance would be lost."""
    if wire.ahead:
        raise AuthenticationError(f"Protocol error, unexpected data: {wire.ahead!r}")


# ---- messages


def _get_digest_name_and_payload(message: bytes) -> tuple[str, bytes]:
    """Take the digest's name off a challenge or an answer. Where only MD5 is known it has none."""
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
    except ValueError as error:  # a system may be without MD5, which is not good for much else
        raise AuthenticationError(f"digest {digest_name or 'md5'!r} is not available") from error


def _create_response(authkey: bytes, message: bytes) -> bytes:
    """Return the answer to a challenge, in the form that belongs to it."""
    name, _ = _get_digest_name_and_payload(message)
    mac = _mac(authkey, message, name)
    return b"{%s}%s" % (name.encode("ascii"), mac) if name else mac


def _verify_challenge(authkey: bytes, message: bytes, response: bytes) -> None:
    """AuthenticationError unless the response is right."""
    name, mac = _get_digest_name_and_payload(response)
    expected = _mac(authkey, message, name)
    if len(mac) != len(expected):
        raise AuthenticationError(
            f"expected {name or 'md5'!r} of length {len(expected)} got {len(mac)}"
        )
    if not hmac.compare_digest(expected, mac):
        raise AuthenticationError("digest received was wrong")
