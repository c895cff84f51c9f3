"""Agents as processes: started, asked, killed, and looked at from outside."""

import json
import os
import pty
import signal
import subprocess
import threading
import time

from suite.agents import UnixConnection
from suite.processes import free_ports, memory_mib, processor_s, until
from suite.timing import say

READY_DEADLINE_S = 300
SAMPLE_EVERY_S = 0.2


def read_some(descriptor):
    """What a command prints next; nothing at its end, which a terminal calls an error."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


class Agent:
    """One agent with its own data directory under `home`."""

    def __init__(self, binary, home, name, config):
        self.binary, self.home, self.name = binary, home, name
        self.data = home / name
        self.data.mkdir(parents=True, exist_ok=True)
        self.config = home / f"{name}.toml"
        self.config.write_text(f'[node]\nname = "{name}"\ndata_dir = "{self.data}"\n{config}')
        self.process, self.sampler, self.peak_mib = None, None, 0.0

    def start(self):
        """Starts it; seconds until it is ready."""
        with open(self.home / f"{self.name}.log", "ab") as log:
            command = [self.binary, "agent", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.peak_mib = 0.0
        self.sampler = threading.Thread(target=self.sample, args=[self.process], daemon=True)
        self.sampler.start()
        return until(f"{self.name} ready", self.is_ready, READY_DEADLINE_S)

    def sample(self, process):
        """Follows the largest resident memory of this life."""
        while process.poll() is None and process is self.process:
            self.peak_mib = max(self.peak_mib, self.memory_mib("VmHWM"))
            time.sleep(SAMPLE_EVERY_S)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self):
        if not self.runs():
            raise SystemExit(f"{self.name} ended by itself; see {self.home}/{self.name}.log")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path):
        connection = UnixConnection(self.data / "agent.sock")
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/api/v1/status")[1])

    def queued_files(self):
        return sum(feed["queued_files"] for feed in self.status()["produces"])

    def memory_mib(self, field="VmRSS"):
        return memory_mib(self.process.pid, field)

    def cpu_s(self):
        return processor_s(self.process.pid)

    def kill(self):
        self.peak_mib = max(self.peak_mib, self.memory_mib("VmHWM"))
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        if self.runs():
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def command(self, *words, terminal=False):
        """A command's seconds until its first line, until its end, its lines, and its peak MiB."""
        began, first, lines = time.monotonic(), None, 0
        command = [self.binary, *words]
        out, end = pty.openpty() if terminal else os.pipe()
        with open(self.home / "commands.log", "ab") as log:
            run = subprocess.Popen(command, stdout=end, stderr=log)
        os.close(end)
        peak = [0.0]

        def sample():
            # Not the usage that the system adds up: that counts this program's memory before exec.
            while run.poll() is None:
                peak[0] = max(peak[0], memory_mib(run.pid, "VmHWM"))
                time.sleep(0.01)

        sampler = threading.Thread(target=sample)
        sampler.start()
        while part := read_some(out):
            first = first or time.monotonic() - began
            lines += part.count(b"\n")
        os.close(out)
        run.wait()
        sampler.join()
        return Ran(first or 0.0, time.monotonic() - began, lines, peak[0], run.returncode)

    def asked(self, *words, terminal=False):
        return self.command(*words, "--agent", f"unix:{self.data}/agent.sock", terminal=terminal)


class Ran:
    """What a command took."""

    def __init__(self, first_s, all_s, lines, peak_mib, code):
        self.first_s, self.all_s, self.lines = first_s, all_s, lines
        self.peak_mib, self.code = peak_mib, code


class Table:
    """Figures with their targets, and whether all of them were met."""

    def __init__(self):
        self.rows, self.missed = [], []

    def add(self, what, value, unit, at_most=None, digits=1):
        text = f"{value:,.{digits}f} {unit}"
        target = "" if at_most is None else f"≤ {at_most:,} {unit}"
        verdict = ""
        if at_most is not None:
            verdict = "met" if value <= at_most else "MISSED"
            if value > at_most:
                self.missed.append(what)
        say(f"  {what}: {text} {target} {verdict}")
        self.rows.append((what, text, target, verdict))

    def print(self):
        if not self.rows:
            return
        widths = [max(len(row[at]) for row in self.rows) for at in range(4)]
        for what, text, target, verdict in self.rows:
            print(f"{what:<{widths[0]}}  {text:>{widths[1]}}  {target:<{widths[2]}}  {verdict}")


def pair(binary, home, produce, membership=""):
    """A producer and its one consumer, not started yet; the consumer's port and inbox too."""
    ports, inbox = free_ports(2), home / "inbox"
    inbox.mkdir(parents=True)
    members = (
        f'[membership]\nkind = "static"\n{membership}'
        f'nodes = [{{ name = "consumer", addr = "127.0.0.1:{ports[1]}", feeds = ["files"] }}]\n'
    )
    produce = f'[[produce]]\nfeed = "files"\nreplicas = 1\n{produce}'
    consume = f'[[consume]]\nfeed = "files"\ninbox = "{inbox}"\nmin_free = "0B"\n'
    agents = [
        Agent(binary, home, name, f'[listen]\npeer = "127.0.0.1:{port}"\n{members}{part}')
        for name, port, part in [("producer", ports[0], produce), ("consumer", ports[1], consume)]
    ]
    return *agents, ports[1], inbox
