"""uvicorn: a server with two workers, of which one is killed and replaced."""

import http.client
import os
import signal
import socket
import threading
import time

import uvicorn


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def asked(port):
    """Return the pid of the worker that answers, None where none does yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return int(connection.getresponse().read())
    except OSError:
        return None
    finally:
        connection.close()


def workers(port, unlike=()):
    """Wait until two workers have answered that are not among those; return their pids."""
    found = set()
    while len(found) < 2:
        found |= {asked(port)} - {None, *unlike}
        time.sleep(0.01)
    return found


def use(port):
    first = workers(port)
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    second = workers(port, [killed])
    print(len(first & second), len(second - first), os.getpid() in first | second)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    threading.Thread(target=use, args=(port,), daemon=True).start()
    uvicorn.run("on_uvicorn:app", port=port, workers=2, log_level="warning")
    print("served")
