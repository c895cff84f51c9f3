"""A long queue: its consumer is down while it grows, then comes back."""

import shutil
import time
from pathlib import Path

from suite.processes import until
from suite.timing import say

from .agents import pair

FILE_BYTES = 1000
DIRECTORY_FILES = 1000
MEMORY_MIB = 256
READY_S = 10
ANSWER_S = 1
STEPS = 10
# The slowest that filling or draining may be before it is given up, in files a second.
RATE_MIN = 300


def content(number):
    return f"{number:010}\n".encode() * (FILE_BYTES // 11)


def path_of(number):
    return Path(f"{number // DIRECTORY_FILES:05}") / f"{number:08}.dat"


class Queue:
    def __init__(self, binary, home, files, table):
        self.home, self.files, self.table = home, files, table
        self.watched = home / "watched"
        self.watched.mkdir(parents=True)
        produce = (
            f'after = "delete"\nwatch = "{self.watched}"\nsettle = "200ms"\nscan_every = "5s"\n'
        )
        membership = 'replace_after = "never"\n'
        self.producer, self.consumer, _, self.inbox = pair(binary, home, produce, membership)

    def agents(self):
        return [self.producer, self.consumer]

    def run(self):
        self.fill()
        self.ask("with the queue full")
        self.restart()
        self.ask("after the restart")
        self.doctor()
        self.drain()
        self.count()

    def write(self, root, numbers):
        began = time.monotonic()
        for number in numbers:
            path = root / path_of(number)
            if number % DIRECTORY_FILES == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(number))
        say(f"wrote {len(numbers):,} files in {time.monotonic() - began:.0f} s")

    def fill(self):
        """Half by `send`, half out of a watched directory, in steps, so that a rate that falls with
        the length of the queue shows."""
        half = self.files // 2
        sent = self.home / "sent"
        self.write(sent, range(half))
        self.write(self.home / "found", range(half, self.files))
        self.producer.start()
        self.base_mib = self.producer.memory_mib()
        step = max(half // STEPS // DIRECTORY_FILES, 1) * DIRECTORY_FILES
        rates = []
        for at in range(0, half, step):
            batch = self.home / "batch"
            batch.mkdir()
            numbers = range(at, min(at + step, half))
            for number in numbers[::DIRECTORY_FILES]:
                (sent / path_of(number).parent).rename(batch / path_of(number).parent)
            ran = self.producer.asked("send", str(batch), "--feed", "files")
            if ran.code != 0 or ran.lines != len(numbers):
                raise SystemExit(f"send took {ran.lines} of {len(numbers)} files, exit {ran.code}")
            rates.append(len(numbers) / ran.all_s)
            shutil.rmtree(batch)
            say(f"sent {numbers[-1] + 1:,}: {rates[-1]:,.0f} files/s, {self.memory()}")
        self.table.add("send, first step", rates[0], "files/s", digits=0)
        self.table.add("send, last step", rates[-1], "files/s", digits=0)
        found = self.home / "found"
        rates = []
        for at in range(half, self.files, step):
            numbers, began = range(at, min(at + step, self.files)), time.monotonic()
            for number in numbers[::DIRECTORY_FILES]:
                directory = path_of(number).parent
                (found / directory).rename(self.watched / directory)
            self.await_queued(numbers[-1] + 1, len(numbers))
            rates.append(len(numbers) / (time.monotonic() - began))
            say(f"found {numbers[-1] + 1:,}: {rates[-1]:,.0f} files/s, {self.memory()}")
        self.table.add("watched directory, first step", rates[0], "files/s", digits=0)
        self.table.add("watched directory, last step", rates[-1], "files/s", digits=0)
        self.table.add("resident, empty", self.base_mib, "MiB")
        self.table.add("resident, full queue", self.producer.memory_mib(), "MiB", MEMORY_MIB)
        self.table.add("resident at most while filling", self.producer.peak_mib, "MiB", MEMORY_MIB)

    def memory(self):
        return f"{self.producer.memory_mib():.0f} MiB (at most {self.producer.peak_mib:.0f})"

    def await_queued(self, wanted, new):
        def there():
            return self.producer.queued_files() >= wanted

        until(f"{wanted:,} queued files", there, 30 + new / RATE_MIN, every_s=0.2)

    def ask(self, when):
        for name, words in {
            "status": ["status"],
            "status --json": ["status", "--json"],
            "transfers": ["transfers"],
            "feeds": ["feeds"],
            "nodes": ["nodes"],
        }.items():
            ran = self.producer.asked(*words, terminal=True)
            self.table.add(f"{name} {when}", ran.all_s, "s", ANSWER_S, digits=2)
            if ran.code != 0 or not ran.lines:
                self.table.missed.append(f"{name} {when}: {ran.lines} lines, exit {ran.code}")
        ran = self.producer.asked("transfers", "--json")
        self.table.add(f"transfers --json {when}, first line", ran.first_s, "s", ANSWER_S, digits=2)
        self.table.add(f"transfers --json {when}, all", ran.all_s, "s")
        self.table.add(f"transfers --json {when}, its memory", ran.peak_mib, "MiB", 64)
        if ran.lines != self.files:
            self.table.missed.append(f"transfers --json lists {ran.lines} of {self.files}")
        self.table.add(f"resident at most {when}", self.producer.peak_mib, "MiB", MEMORY_MIB)

    def disk_mib(self, directory):
        return sum(p.stat().st_blocks for p in directory.rglob("*") if p.is_file()) / 2048

    def restart(self):
        for name in ["log", "spool"]:
            used = self.disk_mib(self.producer.data / name) * (1 << 20) / self.files
            self.table.add(f"disk a queued file, {name}", used, "bytes", digits=0)
        catalogue = (self.producer.data / "catalogue.db").stat().st_size / self.files
        self.table.add("disk a queued file, catalogue", catalogue, "bytes", digits=0)
        self.producer.kill()
        took = self.producer.start()
        self.table.add("restart to ready", took, "s", READY_S)
        if self.producer.queued_files() != self.files:
            self.table.missed.append(f"after the restart {self.producer.queued_files()} are queued")
        self.table.add("resident after the restart", self.producer.memory_mib(), "MiB", MEMORY_MIB)
        self.table.add("resident at most during it", self.producer.peak_mib, "MiB", MEMORY_MIB)
        self.producer.kill()
        (self.producer.data / "catalogue.db").unlink()
        took = self.producer.start()
        self.table.add("restart without a catalogue to ready", took, "s", READY_S)

        def rebuilt():
            counts = self.producer.status()["transfers"]
            return sum(count["files"] for count in counts) >= self.files

        self.table.add("until the catalogue is rebuilt", took + until("catalogue", rebuilt, 600), "s")
        self.table.add("resident at most meanwhile", self.producer.peak_mib, "MiB", MEMORY_MIB)

    def doctor(self):
        self.producer.kill()
        ran = self.producer.command("doctor", "--config", str(self.producer.config))
        self.table.add("doctor", ran.all_s, "s")
        self.table.add("doctor, its memory", ran.peak_mib, "MiB")
        if ran.code != 0:
            self.table.missed.append(f"doctor ends with {ran.code}")

    def drain(self):
        self.producer.start()
        self.consumer.start()
        began, left, rates, costs = time.monotonic(), self.files, [], []
        step = max(self.files // STEPS, 1)
        for at in range(STEPS):
            wanted, since = max(self.files - step * (at + 1), 0), time.monotonic()
            used = self.cpu_s()
            wanted = wanted if at + 1 < STEPS else 0
            deadline = 60 + step / RATE_MIN
            until(f"{wanted:,} left", lambda: self.producer.queued_files() <= wanted, deadline, 0.2)
            now_left = self.producer.queued_files()
            rates.append((left - now_left) / (time.monotonic() - since))
            # A short queue can be empty before its last step.
            costs.append(1e6 * (self.cpu_s() - used) / max(left - now_left, 1))
            left = now_left
            say(
                f"{left:,} left: {rates[-1]:,.0f} files/s, {costs[-1]:.0f} µs a file, producer {self.memory()}, "
                f"consumer {self.consumer.memory_mib():.0f} MiB"
            )
        self.table.add("drain, whole", self.files / (time.monotonic() - began), "files/s", digits=0)
        self.table.add("drain, first tenth", rates[0], "files/s", digits=0)
        self.table.add("drain, last tenth", rates[-1], "files/s", digits=0)
        # Time on a processor says more than time on the clock, which others have a part in.
        self.table.add("processor time a file of both, first tenth", costs[0], "µs", digits=0)
        self.table.add("processor time a file of both, last tenth", costs[-1], "µs", digits=0)
        self.table.add("producer at most in the drain", self.producer.peak_mib, "MiB", MEMORY_MIB)
        self.table.add("consumer at most in the drain", self.consumer.peak_mib, "MiB", MEMORY_MIB)

    def cpu_s(self):
        return sum(agent.cpu_s() for agent in self.agents())

    def count(self):
        """Every file is there, and is itself; nothing else is."""
        until("inbox complete", self.is_complete, 120, every_s=1)
        wrong = [n for n in range(self.files) if not self.is_whole(n)]
        strange = sum(1 for p in self.inbox.glob("[0-9]*/*") if p.is_file()) - self.files
        spooled = sum(1 for p in (self.producer.data / "spool").rglob("*") if p.is_file())
        say(f"compared {self.files:,} files: {len(wrong)} wrong, {strange} strange, {spooled} spooled")
        if wrong or strange or spooled:
            self.table.missed.append(f"{len(wrong)} wrong, {strange} strange, {spooled} in the spool")

    def is_complete(self):
        counts = self.consumer.status()["consumes"]
        return sum(feed["published_total"] for feed in counts) >= self.files

    def is_whole(self, number):
        try:
            return (self.inbox / path_of(number)).read_bytes() == content(number)
        except OSError:
            return False
