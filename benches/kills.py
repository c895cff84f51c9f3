#!/usr/bin/env python3
"""Runs real agents under load and kills them at random, for minutes, then checks every promise.

    cargo build --release --locked
    python3 benches/kills.py [--seconds 180] [--seed 1] [--dir DIR] [--binary target/release/consign]

Two producers with watched directories (`after = "delete"`), three consumers, `replicas = 2`, and
files from 0 bytes to 1 GiB. Every agent is killed with SIGKILL at random moments and started again
within two seconds. Beside each consumer an application takes every file out of the inbox as soon
as it is visible. In the end each file must have come to exactly two consumers, once, byte for
byte; nothing may be left in staging or spool, and no source. Exits with 1 if anything is wrong.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from suite.processes import free_ports

PRODUCERS = ["prod-1", "prod-2"]
CONSUMERS = ["cons-1", "cons-2", "cons-3"]
REPLICAS = 2
SIZES = [0, 1, 100, 10_000, 10_000, 10_000, 10_000, 200_000, 262_144, 262_145, 1 << 20, 5 << 20]
LARGE = [60 << 20, 300 << 20, 1 << 30]
DIRECTORIES = ["", "", "sub dir", "größe/tief"]
# An address of its own: while an agent is down, no connection of another program gets its port.
HOST = f"127.{64 + (os.getpid() >> 16) % 64}.{(os.getpid() >> 8) % 256}.{1 + os.getpid() % 254}"
PAUSE_S = 0.1
END_DEADLINE_S = 300


class Agent:
    def __init__(self, binary, home, name, config):
        self.binary, self.home, self.name = binary, home, name
        self.config = home / f"{name}.toml"
        self.config.write_text(config)
        self.process, self.back_at, self.peak_kib = None, 0, 0

    def start(self):
        with open(self.home / f"{self.name}.log", "ab") as log:
            command = [self.binary, "agent", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.back_at = 0

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def look_at_memory(self):
        try:
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_kib = max(self.peak_kib, int(line.split()[1]))
        except OSError:
            pass

    def kill(self, away_s):
        self.look_at_memory()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.back_at = time.monotonic() + away_s


class Application(threading.Thread):
    """Takes files out of an inbox; it notices what it gets twice."""

    def __init__(self, inbox):
        super().__init__(daemon=True)
        self.inbox, self.taken, self.twice = inbox, {}, []
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            self.take_all()
            self.stopping.wait(PAUSE_S)

    def take_all(self):
        for directory, below, names in os.walk(self.inbox):
            if ".consign" in below:
                below.remove(".consign")
            for name in names:
                path = Path(directory) / name
                relative = str(path.relative_to(self.inbox))
                if relative in self.taken:
                    self.twice.append(relative)
                self.taken[relative] = digest_of(path)
                path.unlink()


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Soak:
    def __init__(self, options, home):
        self.options, self.home = options, home
        self.random = random.Random(options.seed)
        self.sources, self.kills, self.written_bytes = {}, 0, 0
        names = PRODUCERS + CONSUMERS
        ports = dict(zip(names, free_ports(len(names))))
        members = ",\n  ".join(
            f'{{ name = "{name}", addr = "{HOST}:{ports[name]}"'
            + (', feeds = ["files"] }' if name in CONSUMERS else " }")
            for name in names
        )
        self.agents = {}
        for name in names:
            (home / name).mkdir()
            (home / f"files-{name}").mkdir()
            role = self.consumer(name) if name in CONSUMERS else self.producer(name)
            config = (
                f'[node]\nname = "{name}"\ndata_dir = "{home}/{name}"\n'
                f'[listen]\npeer = "{HOST}:{ports[name]}"\n'
                f'[membership]\nkind = "static"\nnodes = [{members}]\n{role}'
            )
            self.agents[name] = Agent(options.binary, home, name, config)
        self.applications = {name: Application(home / f"files-{name}") for name in CONSUMERS}

    def producer(self, name):
        return (
            f'[[produce]]\nfeed = "files"\nreplicas = {REPLICAS}\nafter = "delete"\n'
            f'watch = "{self.home}/files-{name}"\nsettle = "200ms"\nscan_every = "1s"\n'
        )

    def consumer(self, name):
        return (
            f'[[consume]]\nfeed = "files"\ninbox = "{self.home}/files-{name}"\n'
            'layout = "{producer}/{name}"\n'
        )

    def write(self, size):
        producer = self.random.choice(PRODUCERS)
        watched = self.home / f"files-{producer}"
        name = Path(self.random.choice(DIRECTORIES)) / f"{len(self.sources):06} {size}"
        hidden = watched / ".being-written"
        digest = hashlib.sha256()
        with open(hidden, "wb") as file:
            for at in range(0, size, 1 << 20):
                block = self.random.randbytes(min(1 << 20, size - at))
                digest.update(block)
                file.write(block)
        (watched / name).parent.mkdir(parents=True, exist_ok=True)
        hidden.rename(watched / name)
        self.sources[f"{producer}/{name}"] = digest.hexdigest()
        self.written_bytes += size

    def load(self):
        """Writes and kills until the time is over."""
        began = time.monotonic()
        next_kill, large = began + 1, sorted(LARGE)
        while time.monotonic() < began + self.options.seconds:
            for _ in range(self.random.randrange(20)):
                self.write(self.random.choice(SIZES))
            # The largest one is written while the first half of the time runs.
            share = (time.monotonic() - began) / self.options.seconds
            if large and share > (len(LARGE) - len(large)) / len(LARGE) / 2:
                self.write(large.pop(0))
            if time.monotonic() > next_kill:
                self.kill_one()
                next_kill = time.monotonic() + self.random.random() * 2
            self.revive()
            time.sleep(PAUSE_S)

    def kill_one(self):
        agent = self.agents[self.random.choice(sorted(self.agents))]
        if agent.runs():
            agent.kill(self.random.random() * 2)
            self.kills += 1

    def revive(self, now=False):
        for agent in self.agents.values():
            if agent.back_at and (now or time.monotonic() > agent.back_at):
                agent.start()
            elif not agent.back_at and not agent.runs():
                sys.exit(f"{agent.name} ended by itself; see {agent.home}/{agent.name}.log")
            agent.look_at_memory()

    def leftovers(self):
        staged = [
            path
            for name in CONSUMERS
            for path in (self.home / f"files-{name}" / ".consign").glob("*")
            if path.is_file() and path.name != "marker"
        ]
        spooled = [
            path for name in PRODUCERS for path in (self.home / name / "spool").rglob("*")
            if path.is_file()
        ]
        sources = [
            path for name in PRODUCERS for path in (self.home / f"files-{name}").rglob("*")
            if path.is_file()
        ]
        return staged + spooled + sources

    def is_settled(self):
        taken = sum(len(application.taken) for application in self.applications.values())
        return taken >= REPLICAS * len(self.sources) and not self.leftovers()

    def settle(self):
        self.revive(now=True)
        deadline = time.monotonic() + END_DEADLINE_S
        while not self.is_settled() and time.monotonic() < deadline:
            self.revive()
            time.sleep(PAUSE_S)
        for application in self.applications.values():
            application.stopping.set()
            application.join()

    def wrong(self):
        """What does not hold, a line each."""
        for name, digest in self.sources.items():
            at = [c for c, application in self.applications.items() if name in application.taken]
            if len(at) != REPLICAS:
                yield f"{name} came to {at or 'nobody'}"
            for consumer in at:
                if self.applications[consumer].taken[name] != digest:
                    yield f"{name} is damaged at {consumer}"
        for consumer, application in self.applications.items():
            for name in application.twice:
                yield f"{name} came to {consumer} more than once"
            for name in application.taken.keys() - self.sources.keys():
                yield f"{name} at {consumer} is nobody's file"
        for path in self.leftovers():
            yield f"{path} is left over"

    def end(self):
        for agent in self.agents.values():
            if agent.runs():
                agent.process.terminate()
                agent.process.wait(timeout=30)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--binary", type=Path, default=Path("target/release/consign"))
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    home = Path(tempfile.mkdtemp(prefix="consign-kills-", dir=options.dir))
    soak = Soak(options, home)
    try:
        for worker in [*soak.agents.values(), *soak.applications.values()]:
            worker.start()
        soak.load()
        soak.settle()
    finally:
        soak.end()
    wrong = list(soak.wrong())
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    memory = ", ".join(f"{a.name} {a.peak_kib >> 10} MiB" for a in soak.agents.values())
    print(
        f"seed {options.seed}: {len(soak.sources)} files, {soak.written_bytes / 1e9:.1f} GB, "
        f"{soak.kills} kills, {len(wrong)} wrong; resident at most: {memory}"
    )
    if wrong:
        sys.exit(f"kept for a look: {home}; hint: the agents' logs are there")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
