"""The other end of a connection: run by an interpreter of any version, on either package.

    peer.py PACKAGE serve FAMILY KEY     prints its address; echoes one message; then says what
                                         became of a second client
    peer.py PACKAGE connect ADDRESS KEY  sends a message, prints what comes back

Addresses are printed and given as Python literals.
"""

import ast
import importlib
import sys


def serve(connection, family, key):
    with connection.Listener(family=family, authkey=key) as listener:
        print(repr(listener.address), flush=True)
        with listener.accept() as client:
            client.send(client.recv())
        try:
            listener.accept().close()
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        else:
            print("accepted", flush=True)


def connect(connection, address, key):
    try:
        with connection.Client(ast.literal_eval(address), authkey=key) as server:
            server.send(["a message", sys.version_info[:2]])
            print(server.recv())
    except Exception as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    package, role, what, key = sys.argv[1:]
    module = importlib.import_module(f"{package}.connection")
    globals()[role](module, what, key.encode())
