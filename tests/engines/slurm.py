"""A Slurm of one node on this machine, for the tests beside this: munged, slurmctld and slurmd.

It has ports, a key and a directory of its own, so one that the machine may have is left alone.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
START = 60  # seconds that the node has for being there
PLACES = "/usr/sbin:/sbin:" + os.environ.get("PATH", "")
CONFIGURATION = """
ClusterName=mproc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={room}/munge.socket
StateSaveLocation={room}/state
SlurmdSpoolDir={room}/spool
SlurmctldPidFile={room}/slurmctld.pid
SlurmdPidFile={room}/slurmd.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES State=UP
"""


def free_ports(number):
    """Return ports that the system has chosen."""
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Slurm:
    """The daemons, and how to reach them."""

    def __init__(self, room):
        self._room = room
        self._daemons = {}
        self._conf = room / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self._conf)}

    def start(self):
        """Start the daemons; RuntimeError: the node does not come."""
        for name in ("state", "spool"):
            (self._room / name).mkdir()
        key = self._room / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        controller, node = free_ports(2)
        host = socket.gethostname().split(".")[0]
        names = {"room": self._room, "host": host, "user": getpass.getuser()}
        self._conf.write_text(CONFIGURATION.format(controller=controller, node=node, **names))
        files = [f"--{what}-file={self._room}/munge.{what}" for what in ("pid", "log", "seed")]
        socket_ = f"--socket={self._room}/munge.socket"
        self._start("munged", "--foreground", "--force", f"--key-file={key}", socket_, *files)
        self._await(lambda: (self._room / "munge.socket").exists())
        self._start("slurmctld", "-D", "-c")
        self._start("slurmd", "-D", "-c")
        self._await(lambda: self.run("sinfo", "-h", "-o", "%T").stdout.strip() == "idle")

    def _start(self, name, *arguments):
        with (self._room / f"{name}.out").open("wb") as out:
            self._daemons[name] = subprocess.Popen(
                [shutil.which(name, path=PLACES), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def _await(self, is_there):
        end = time.monotonic() + START
        while not is_there():
            ended = any(daemon.poll() is not None for daemon in self._daemons.values())
            if ended or time.monotonic() > end:
                raise RuntimeError("; ".join(map(self._said, self._daemons)))
            time.sleep(0.2)

    def _said(self, name):
        lines = (self._room / f"{name}.out").read_text(errors="replace").splitlines()
        return f"{name} says: {' '.join(lines[-2:])}"

    def run(self, *command, seconds=150, **environment):
        """Run a command with this Slurm."""
        return subprocess.run(
            [*map(str, command)],
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **self.environment, **environment},
            check=False,
        )

    def stop(self):
        """End all jobs and the daemons."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.run("scancel", "--signal=KILL", "--user", getpass.getuser(), seconds=20)
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@contextlib.contextmanager
def running():
    """Have a Slurm; the test is skipped where it cannot be had."""
    for program in (*DAEMONS, "srun"):
        if shutil.which(program, path=PLACES) is None:
            pytest.skip(f"no {program} is installed")
    room = Path(tempfile.mkdtemp(prefix="mproc-slurm-", dir="/tmp"))  # a socket's path is short
    room.chmod(0o755)
    slurm = Slurm(room)
    try:
        try:
            slurm.start()
        except RuntimeError as error:
            pytest.skip(f"Slurm does not run here: {error}")
        yield slurm
    finally:
        slurm.stop()
        shutil.rmtree(room, ignore_errors=True)
