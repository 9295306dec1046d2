"""What mproc.managers is made of; programs import that module.

* wire: tokens, requests and replies, and how a reply becomes an error
* peers: a client process' connections to a server, and the references it holds there
* proxies: what stands for an object of a server
* server: the process that has the objects
* calls: how it calls their methods, and what becomes of errors
* referents: the objects that a server makes of the types that all managers know
* values: Namespace, Value, Array
* registry: what a manager's class has registered
* starting: the server process' beginning and end
* late, life, direct/: managers without a server; who keeps their objects; what these do
* shared: managers of named shared memory
"""

# In which of them a name of mproc.managers is, that most programs do without.
PLACES = {
    **dict.fromkeys(
        (
            "AcquirerProxy", "ArrayProxy", "AutoProxy", "BarrierProxy", "BaseListProxy",
            "BasePoolProxy", "BaseProxy", "ConditionProxy", "DictProxy", "EventProxy",
            "IteratorProxy", "ListProxy", "MakeProxyType", "NamespaceProxy", "PoolProxy",
            "RebuildProxy", "SetProxy", "ValueProxy", "_BaseDictProxy", "_BaseSetProxy",
        ),
        "proxies",
    ),
    "Array": "values",
    "Namespace": "values",
    "RemoteError": "wire",
    "Server": "server",
    "all_methods": "server",
    "public_methods": "server",
    "SharedMemoryManager": "shared",
    "SharedMemoryServer": "shared",
    "Token": "wire",
    "Value": "values",
    "_SharedMemoryTracker": "shared",
    "convert_to_error": "wire",
    "dispatch": "wire",
}  # fmt: skip
