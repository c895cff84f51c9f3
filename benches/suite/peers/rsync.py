"""rsync, to a daemon of its own and over ssh."""

import getpass
import os
import subprocess

from ..processes import Processes, answers, free_ports, until
from ..timing import timed

LACKS = "what was sent is not remembered by anybody: who runs it again after a crash must find out"


class Daemon:
    """A daemon with one writable module; `each` syncs every file, else one syncfs follows."""

    def __init__(self, home, each, address="127.0.0.1", inside=()):
        self.processes, self.home, self.each, self.address = Processes(), home, each, address
        self.inside = [*inside]
        self.name = "rsync --fsync" if each else "rsync, then syncfs"
        self.lacks = LACKS if each else f"{LACKS}; nothing is durable before the end"

    def __enter__(self):
        self.home.mkdir(parents=True, exist_ok=True)
        [self.port] = free_ports(1)
        config = self.home / "rsyncd.conf"
        config.write_text(
            f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n"
            f"[all]\npath = /\nread only = no\n"
        )
        command = ["rsync", "--daemon", "--no-detach", f"--config={config}"]
        command += [f"--port={self.port}", f"--address={self.address}"]
        self.processes.start([*self.inside, *command], self.home / "rsyncd.log")
        probe = lambda: subprocess.run(
            [*self.inside, "rsync", self.url("")], capture_output=True, check=False
        ).returncode == 0
        until("the rsync daemon", probe)
        return self

    def __exit__(self, *_):
        self.processes.end()

    def url(self, path):
        return f"rsync://{self.address}:{self.port}/{path}"

    def command(self, source, into):
        words = ["--fsync"] if self.each else []
        return ["rsync", *words, "--recursive", f"{source}/", self.url(f"all{into}/")]

    def send(self, source, into):
        into.mkdir(parents=True)
        after = [] if self.each else [["sync", "--file-system", into]]
        return timed(self.command(source, into), *after)


class Ssh:
    """rsync through an ssh server of this program's own, with the fastest usual cipher."""

    name = "rsync over ssh, then syncfs"
    lacks = f"{LACKS}; nothing is durable before the end"

    def __init__(self, home):
        self.processes, self.home = Processes(), home

    def __enter__(self):
        self.home.mkdir(parents=True)
        for name in ("host", "user"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / name]
            subprocess.run(keygen, check=True)
        (self.home / "authorized").write_bytes((self.home / "user.pub").read_bytes())
        [port] = free_ports(1)
        config = self.home / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {self.home}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {self.home}/authorized\nUsePAM no\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\n"
        )
        os.makedirs("/run/sshd", exist_ok=True)
        self.processes.start(["/usr/sbin/sshd", "-D", "-e", "-f", config], self.home / "sshd.log")
        until("the ssh server", lambda: answers(port))
        self.shell = (
            f"ssh -p {port} -i {self.home}/user -c aes128-gcm@openssh.com -o BatchMode=yes "
            f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={self.home}/known -o LogLevel=ERROR"
        )
        return self

    def __exit__(self, *_):
        self.processes.end()

    def send(self, source, into):
        into.mkdir(parents=True)
        target = f"{getpass.getuser()}@127.0.0.1:{into}/"
        command = ["rsync", "--recursive", f"--rsh={self.shell}", f"{source}/", target]
        return timed(command, ["sync", "--file-system", into])
