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
    message = _challenge()
    connection.send_bytes(_CHALLENGE + message)
    _verify(connection, authkey, message)
    if connection.poll():
        _send_both(connection, _WELCOME, _answer(connection, authkey))
    else:
        connection.send_bytes(_WELCOME)
        connection.send_bytes(_answer(connection, authkey))
    _expect_welcome(connection)


def greet_server(connection: Connection, authkey: bytes) -> None:
    """Authenticate at the connecting end: it answers, then it challenges."""
    _check_key(authkey)
    message = _challenge()
    _send_both(connection, _answer(connection, authkey), _CHALLENGE + message)
    _expect_welcome(connection)
    _verify(connection, authkey, message)
    connection.send_bytes(_WELCOME)


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


def _expect_welcome(connection: Messages) -> None:
    if connection.recv_bytes(_LONGEST) != _WELCOME:
        raise AuthenticationError("digest sent was rejected")


def _send_both(connection: Connection, *messages: bytes) -> None:
    """Send two messages with one call of the system, so that the other end wakes up once.

    In two calls the second could fail, since the other end has rejected the first and gone.
    """
    frames = b"".join([len(message).to_bytes(4, "big") + message for message in messages])
    while frames:
        frames = frames[os.write(connection.fileno(), frames) :]


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
