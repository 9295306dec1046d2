"""Hosts with cables that can be cut: network namespaces of this machine, for the tests beside this.

Each host is a namespace with one address, 10.77.0.10 and so on, and a name of its own. Its cable
ends at a bridge in a namespace that is nobody's host, so the machine's own network stays as it is.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

HUB = "hub"
NET = "10.77.0."
ENTER = 'mount --bind "$1" /etc/hosts; hostname "$0"; '  # in namespaces of its own
NO_PROXY = [word for name in os.environ if name.lower().endswith("_proxy") for word in ("-u", name)]


def ip(*words, check=True):
    """Run ip(8)."""
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise OSError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


class Hosts:
    """Hosts by name, each with an address; they end with all that runs on them."""

    def __init__(self, names):
        self._prefix = f"mproc-{os.getpid()}-"
        self.addresses = {name: f"{NET}{10 + number}" for number, name in enumerate(names)}
        descriptor, self._table = tempfile.mkstemp(prefix="mproc-hosts-")
        with open(descriptor, "w") as table:
            table.write("127.0.0.1 localhost\n")
            table.writelines(f"{address} {name}\n" for name, address in self.addresses.items())
        try:
            self._lay()
        except BaseException:
            self.close()
            raise

    def _lay(self):
        hub = self._prefix + HUB
        ip("netns", "add", hub)
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            host = self._prefix + name
            ip("netns", "add", host)
            ip("-n", hub, "link", "add", name, "type", "veth", "peer", "eth0", "netns", host)
            ip("-n", hub, "link", "set", name, "master", "bridge", "up")
            ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")
            ip("-n", host, "link", "set", "lo", "up")

    def on(self, name, *command):
        """Return the command that runs a command on a host."""
        return [
            *self._enter(name),
            ENTER + 'shift; exec "$@"',
            name,
            self._table,
            *map(str, command),
        ]

    def _enter(self, name):
        host = self._prefix + name
        unshare = ["unshare", "--uts", "--mount"]
        return ["ip", "netns", "exec", host, "env", *NO_PROXY, *unshare, "sh", "-c"]

    def remote_shell(self, path):
        """Write a program that runs a command on the host with an address, as ssh does."""
        cases = "".join(f"{address}) name={name} ;;\n" for name, address in self.addresses.items())
        path.write_text(
            f"#!/bin/sh\ncase $1 in\n{cases}esac\nshift\n"
            f"exec {' '.join(self._enter('$name'))} '{ENTER}eval \"$2\"'"
            f' "$name" {self._table} "$*"\n'
        )
        path.chmod(0o755)
        return path

    def cut(self, name):
        """Take a host off the net, without a word to anybody."""
        ip("-n", self._prefix + HUB, "link", "set", name, "down")

    def pids(self, name):
        """Return which processes run on a host."""
        return [int(pid) for pid in ip("netns", "pids", self._prefix + name, check=False).split()]

    def kill(self, name):
        """Kill all that runs on a host."""
        while pids := self.pids(name):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def close(self):
        """End all hosts."""
        for name in self.addresses:
            self.kill(name)
        for name in [*self.addresses, HUB]:
            ip("netns", "delete", self._prefix + name, check=False)
        os.unlink(self._table)


def why_not():
    """Return why hosts cannot be had; "": they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "unshare", "mount", "hostname"):
        if shutil.which(program) is None:
            return f"there is no {program}: network namespaces need it"
    return ""


@contextlib.contextmanager
def laid(*names):
    """Have hosts; the test is skipped where they cannot be had."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        hosts = Hosts(names)
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")
    try:
        yield hosts
    finally:
        hosts.close()


@contextlib.contextmanager
def running(command, **how):
    """Have a process; it is killed in the end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": sys.stderr}
    with subprocess.Popen([*map(str, command)], text=True, **{**pipes, **how}) as process:
        try:
            yield process
        finally:
            process.kill()
