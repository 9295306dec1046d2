"""A program of another family, which uses a manager's objects: on mproc or the standard library.

Usage: stranger.py mproc|multiprocessing, with a line on stdin: the pickle, in hexadecimal digits,
of the manager's address and key, and of a dict of its objects' types and idents. It evaluates each
line of stdin after that, and prints the repr() of the result, or the error.
"""

import importlib
import pickle
import sys

PROXIES = {
    "dict": "DictProxy",
    "list": "ListProxy",
    "Value": "ValueProxy",
    "Namespace": "NamespaceProxy",
    "Lock": "AcquirerProxy",
    "RLock": "AcquirerProxy",
    "BoundedSemaphore": "AcquirerProxy",
    "Event": "EventProxy",
    "Condition": "ConditionProxy",
    "Barrier": "BarrierProxy",
    "Array": "ArrayProxy",
}


def main():
    mp = importlib.import_module(sys.argv[1])
    managers = importlib.import_module(sys.argv[1] + ".managers")
    address, key, idents = pickle.loads(bytes.fromhex(sys.stdin.readline()))
    mp.current_process().authkey = key
    m = managers.SyncManager(address, authkey=key)
    m.connect()
    names = {"m": m, "pickle": pickle, "loads": lambda x: pickle.loads(bytes.fromhex(x))}
    for typeid, ident in idents.items():
        make = getattr(managers, PROXIES.get(typeid, "AutoProxy"))
        token = managers.Token(typeid, address, ident)
        names[typeid] = make(token, "pickle", manager=m, authkey=key)
    for line in sys.stdin:
        try:
            result = repr(eval(line, names))
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        print(result.replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
