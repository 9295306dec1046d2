"""What mproc.managers is made of; programs import that module.

* wire: tokens, requests and replies, and how a reply becomes an error
* peers: a client process' connections to a server, and the references it holds there
* proxies: what stands for an object of a server
* server: the process that has the objects
* calls: how it calls their methods, and what becomes of errors
* referents: the objects that a server makes of the types that all managers know
* values: Namespace, Value, Array
* late, life, direct/: managers without a server; who keeps their objects; what these do
* shared: managers of named shared memory
"""

from __future__ import annotations

from .._current import manager_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def hashable(address: Any) -> Any:
    """Return the address as a key of a dict: XML-RPC makes lists of tuples."""
    return tuple(address) if isinstance(address, list) else address


def know_key(address: Any, authkey: bytes) -> None:
    """Remember the key of a server, for proxies that come without one, and for children."""
    manager_keys[hashable(address)] = bytes(authkey)


def forget_key(address: Any) -> None:
    """Undo know_key()."""
    manager_keys.pop(hashable(address), None)
