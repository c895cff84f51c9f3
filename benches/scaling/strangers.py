"""Connections of nobody: silent ones and ones that dribble, beside honest transfers."""

import multiprocessing
import selectors
import shutil
import socket
import statistics
import time

from suite.timing import say

from .agents import pair

SILENT = 10_000
DRIBBLING = 1_000
CLIENTS = 4
MEMORY_MIB = 256
LOSS_PERCENT = 20
SMALL_FILES, SMALL_BYTES = 10_000, 10_000
LARGE_BYTES = 1 << 30
SETTLE_S = 12
# A connection that was closed is opened again after this long: who wants to be a nuisance comes back.
AGAIN_S = 0.5
# All of them are opened over this time, so that they do not come in waves.
SPREAD_S = 5.0


def pester(port, silent, dribbling, stop, held):
    """Keeps connections open, and opens those again that are closed."""
    selector = selectors.DefaultSelector()
    kinds, began = ["silent"] * silent + ["dribble"] * dribbling, time.monotonic()
    due = [(began + SPREAD_S * at / len(kinds), kind) for at, kind in enumerate(kinds)]
    dribblers, next_drop = {}, time.monotonic() + 1
    while not stop.is_set():
        now = time.monotonic()
        later = []
        for when, kind in due:
            if when > now:
                later.append((when, kind))
                continue
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            selector.register(one, selectors.EVENT_READ, kind)
            if kind == "dribble":
                dribblers[one] = None
        due = later
        for key, _ in selector.select(timeout=0.1):
            selector.unregister(key.fileobj)
            dribblers.pop(key.fileobj, None)
            key.fileobj.close()
            due.append((time.monotonic() + AGAIN_S, key.data))
        if now >= next_drop:
            next_drop = now + 1
            for one in dribblers:
                try:
                    one.send(b"\0")
                except OSError:
                    pass  # It is found closed above.
        held.value = len(selector.get_map())


class Pests:
    """Processes that pester a port until the end of a `with`."""

    def __init__(self, port):
        self.stop = multiprocessing.Event()
        self.held = [multiprocessing.Value("l", 0) for _ in range(CLIENTS)]
        share = (SILENT // CLIENTS, DRIBBLING // CLIENTS)
        self.processes = [
            multiprocessing.Process(target=pester, args=(port, *share, self.stop, held))
            for held in self.held
        ]

    def __enter__(self):
        for process in self.processes:
            process.start()
        time.sleep(SETTLE_S)
        say(f"  {self.count():,} connections of strangers")
        return self

    def count(self):
        return sum(held.value for held in self.held)

    def __exit__(self, *_):
        self.stop.set()
        for process in self.processes:
            process.join()


class Strangers:
    def __init__(self, binary, home, pairs, table):
        self.home, self.pairs, self.table = home, pairs, table
        produce = 'after = "keep"\n'
        self.producer, self.consumer, self.port, self.inbox = pair(binary, home, produce)

    def agents(self):
        return [self.producer, self.consumer]

    def run(self):
        self.write()
        self.consumer.start()
        self.producer.start()
        self.transfer("warm-up")
        alone, pestered, memory, held = [], [], [], []
        for at in range(self.pairs):
            say(f"pair {at + 1}")
            # As long as strangers take to come, so that the disk has had as much rest.
            time.sleep(SETTLE_S)
            before = self.consumer.memory_mib()
            alone.append(self.transfer("alone"))
            with Pests(self.port) as pests:
                memory.append(self.consumer.memory_mib() - before)
                pestered.append(self.transfer("pestered"))
                held.append(pests.count())
        self.table.add("connections of strangers, at least", min(held), "", digits=0)
        for at, what in enumerate(["10,000 small files", "1 GiB"]):
            for where, runs in [("alone", alone), ("among strangers", pestered)]:
                median = statistics.median(times[at] for times in runs)
                self.table.add(f"{what} {where}", median, "s", digits=2)
            # Of each pair, since the disk drifts from one to the next.
            pairs = zip(alone, pestered)
            kept = statistics.median(quiet[at] / loud[at] for quiet, loud in pairs)
            lost = 100 * (1 - kept)
            self.table.add(f"{what}: throughput lost, median pair", lost, "%", LOSS_PERCENT)
        self.table.add("memory for strangers", max(memory), "MiB", MEMORY_MIB)
        self.table.add("consumer at most", self.consumer.peak_mib, "MiB")
        self.reconnect()

    def reconnect(self):
        """A producer that starts among strangers finds its consumer."""
        with Pests(self.port):
            self.producer.kill()
            self.producer.start()
            began = time.monotonic()
            while not any(member["connected"] for member in self.producer.status()["members"]):
                time.sleep(0.05)
            self.table.add("a peer connects among strangers", time.monotonic() - began, "s", 5)

    def write(self):
        small = self.home / "small"
        small.mkdir()
        for number in range(SMALL_FILES):
            (small / f"{number:05}").write_bytes(f"{number:010}".encode() * (SMALL_BYTES // 10))
        with open(self.home / "large", "wb") as file:
            block = bytes(range(256)) * 4096
            for _ in range(LARGE_BYTES // len(block)):
                file.write(block)

    def transfer(self, how):
        """Seconds for the small files, and for the large one."""
        took = []
        for source in ["small", "large"]:
            words = ["send", str(self.home / source), "--feed", "files", "--wait"]
            ran = self.producer.asked(*words)
            if ran.code != 0:
                raise SystemExit(f"send --wait ended with {ran.code}")
            took.append(ran.all_s)
            for there in self.inbox.iterdir():
                if there.name == ".consign":
                    continue
                shutil.rmtree(there) if there.is_dir() else there.unlink()
        say(f"  {how}: small {took[0]:.2f} s, large {took[1]:.2f} s")
        return took
