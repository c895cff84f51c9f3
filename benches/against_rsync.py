#!/usr/bin/env python3
"""Times consign against a local rsync daemon with --fsync, in alternating pairs on one disk.

    cargo build --release --locked
    python3 benches/against_rsync.py [--dir DIR] [--pairs 5] [--binary target/release/consign]

Two workloads: one file of 1 GiB, and 10,000 files of 10 KB; each goes to one consumer over
loopback, without TLS. consign's time runs from the start of `consign send --wait` to its end, that
is, until the last file is `saved`: synced at the consumer. rsync's time is that of one `rsync
--fsync` to its daemon. Both read the same source files from the page cache, and write to fresh
directories below DIR. Prints the median times, their ratio, and the largest resident memory of
each agent. Needs rsync on PATH.
"""

import argparse
import filecmp
import mmap
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_DEADLINE_S = 20
RUN_DEADLINE_S = 600


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition):
    deadline = time.monotonic() + START_DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not come up; hint: look at its log below --dir, with --keep")
        time.sleep(0.02)


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Processes:
    """What was started here, and is ended here, by process id."""

    def __init__(self):
        self.started = []

    def start(self, command, log):
        with open(log, "wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def end(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(timeout=START_DEADLINE_S)
        self.started.clear()


class Consign:
    """One producer and one consumer; `bundles` names a file of keys for each, for TLS."""

    def __init__(self, binary, home, processes, bundles=None):
        self.binary, self.home = binary, home
        ports = {"producer": free_port(), "consumer": free_port()}
        members = (
            f'nodes = [{{ name = "consumer", addr = "127.0.0.1:{ports["consumer"]}", '
            'feeds = ["files"] }]'
        )
        roles = {
            "producer": '[[produce]]\nfeed = "files"\nafter = "keep"\nreplicas = 1\n',
            "consumer": f'[[consume]]\nfeed = "files"\ninbox = "{home}/inbox"\nmin_free = "0B"\n',
        }
        self.agents = {}
        (home / "inbox").mkdir(parents=True)
        for name, role in roles.items():
            (home / name).mkdir()
            config = home / f"{name}.toml"
            config.write_text(
                f'[node]\nname = "{name}"\ndata_dir = "{home}/{name}"\n'
                f'[listen]\npeer = "127.0.0.1:{ports[name]}"\n'
                + (f'[tls]\nbundle = "{bundles[name]}"\n' if bundles else "")
                + f'[membership]\nkind = "static"\n{members}\n{role}'
            )
            command = [binary, "agent", "--config", config]
            self.agents[name] = processes.start(command, home / f"{name}.log")
        for name in roles:
            sock = home / name / "agent.sock"
            wait_for(f"the agent {name}", sock.exists)
        wait_for("the consumer's port", lambda: answers(ports["consumer"]))
        time.sleep(1)  # Both have connected and are idle when the clock starts.

    def send(self, source):
        agent = f"unix:{self.home}/producer/agent.sock"
        command = [self.binary, "send", source, "--feed", "files", "--wait", "--agent", agent]
        return timed(command)

    def check(self, source, keep):
        compare(source, self.home / "inbox")
        if not keep:
            remove(source, self.home / "inbox")

    def resident_mib(self):
        """The largest resident memory of each agent so far, in MiB."""
        found = {}
        for name, process in self.agents.items():
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    found[name] = int(line.split()[1]) / 1024
        return found


class Rsync:
    """A daemon with one writable module."""

    def __init__(self, home, processes):
        self.home, self.port = home, free_port()
        (home / "inbox").mkdir(parents=True)
        config = home / "rsyncd.conf"
        config.write_text(
            f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n"
            f"[inbox]\npath = {home}/inbox\nread only = no\n"
        )
        command = ["rsync", "--daemon", "--no-detach", f"--config={config}"]
        command += [f"--port={self.port}", "--address=127.0.0.1"]
        processes.start(command, home / "rsyncd.log")
        wait_for("the rsync daemon", lambda: answers(self.port))

    def send(self, source):
        target = f"rsync://127.0.0.1:{self.port}/inbox/"
        return timed(["rsync", "--fsync", "--recursive", f"{source}/", target])

    def check(self, source, keep):
        compare(source, self.home / "inbox")
        if not keep:
            remove(source, self.home / "inbox")


def warm_memory():
    """Touches memory and gives it back: on a virtual machine whose host has taken unused memory
    away, whoever touches it first pays for its return, several times over."""
    size = min(8 << 30, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2)
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def warm_disk(home):
    """Writes a large file and deletes it: where a virtual disk grows on demand, blocks that were
    never written cost several times more than others, and must not cost only one side."""
    path = home / "warm"
    with open(path, "wb") as file:
        for _ in range(6 << 10):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    path.unlink()


def timed(command):
    """Seconds that a command takes."""
    warm_memory()
    os.sync()
    began = time.monotonic()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        timeout=RUN_DEADLINE_S,
    )
    return time.monotonic() - began


def make_files(directory, count, size):
    directory.mkdir(parents=True)
    for at in range(count):
        left = size
        with open(directory / f"{at:05}", "wb") as file:
            while left:
                step = min(left, 1 << 20)
                file.write(os.urandom(step))
                left -= step
    return directory


def compare(source, inbox):
    """Waits until every file is there, and compares their bytes."""
    for file in sorted(source.rglob("*")):
        if file.is_file():
            arrived = inbox / file.relative_to(source)
            wait_for(arrived, arrived.exists)
            if not filecmp.cmp(file, arrived, shallow=False):
                sys.exit(f"{arrived} is not what {file} is")


def remove(source, inbox):
    """Removes what arrived, so that the other side gets the same blocks of the disk."""
    for file in source.iterdir():
        (inbox / file.name).unlink()
    os.sync()


def run(title, source, home, options):
    ours, theirs, resident = [], [], {}
    for pair in range(options.pairs):
        processes = Processes()
        try:
            base = home / f"{source.name}-{pair}"
            consign = Consign(options.binary, base / "consign", processes)
            rsync = Rsync(base / "rsync", processes)
            sides = [(ours, consign), (theirs, rsync)]
            for times, side in sides if pair % 2 == 0 else reversed(sides):
                times.append(side.send(source))
                side.check(source, options.keep)
            for name, mib in consign.resident_mib().items():
                resident[name] = max(mib, resident.get(name, 0))
            print(f"  {title}: consign {ours[-1]:.2f} s, rsync {theirs[-1]:.2f} s", file=sys.stderr)
        finally:
            processes.end()
    consign_s, rsync_s = statistics.median(ours), statistics.median(theirs)
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in sorted(resident.items()))
    print(
        f"{title}: consign {consign_s:.2f} s, rsync --fsync {rsync_s:.2f} s, "
        f"ratio {consign_s / rsync_s:.2f}; resident: {memory}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--binary", type=Path, default=Path("target/release/consign"))
    parser.add_argument("--only", choices=["large", "small"])
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    home = Path(tempfile.mkdtemp(prefix="consign-bench-", dir=options.dir))
    try:
        warm_disk(home)
        if options.only != "small":
            source = make_files(home / "large", 1, 1 << 30)
            run("1 x 1 GiB", source, home, options)
        if options.only != "large":
            source = make_files(home / "small", 10_000, 10_000)
            run("10,000 x 10 KB", source, home, options)
    finally:
        if options.keep:
            print(f"kept: {home}", file=sys.stderr)
        else:
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
