"""Whether a file costs the same however many machines there are, and however long the queue is."""

import subprocess
import threading
import time

from ..agents import Cluster, Listener
from ..files import fresh_directory, make_files, remove
from ..results import Row, Table
from ..timing import say, warm_memory

PRODUCERS = (1, 10, 100)
CONSUMERS = (1, 2, 4, 8, 16)
QUEUES = (1_000, 10_000, 100_000, 1_000_000)
FILES = 10_000
FILE_BYTES = 1_000
# How much slower a file may be where there is most, for noise.
SLOWER = 1.2


def of(key, title, numbers, options, run):
    """A row for each number of something, in files a second; the last against the first."""
    table = Table(key, title, "files/s")
    for number in numbers:
        figures = []
        for round in range(options.rounds):
            warm_memory()
            home = fresh_directory(options.home / f"{key}-{number}-{round}")
            figures.append(run(home, number))
            remove(home)
        table.rows.append(Row(f"consign, {number:,}", figures))
        say(f"  {title}: {number:,}: {max(figures):,.0f} files/s")
    first, last = (sorted(row.figures)[len(row.figures) // 2] for row in (table.rows[0], table.rows[-1]))
    table.target("a file with the fewest / with the most, in time", first / last, at_most=SLOWER)
    return table


def producers(options):
    files = options.scaled(FILES)

    def run(home, number):
        each = max(files // number, 1)
        sources = [make_files(home / f"files-{at}", each, FILE_BYTES) for at in range(number)]
        with Cluster(options.binary, home / "cluster", producers=number) as cluster:
            threads = [threading.Thread(target=cluster.send, args=[source, at]) for at, source in enumerate(sources)]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return each * number / (time.monotonic() - began)

    numbers = PRODUCERS if not options.is_quick else PRODUCERS[:2]
    return of("producers", "10,000 files of 1 KB from so many producers to one consumer", numbers, options, run)


def consumers(options):
    files = options.scaled(FILES)

    def run(home, number):
        source = make_files(home / "files", files, FILE_BYTES)
        with Cluster(options.binary, home / "cluster", consumers=number) as cluster:
            return files / cluster.send(source)

    numbers = CONSUMERS if not options.is_quick else CONSUMERS[:2]
    return of("consumers", "10,000 files of 1 KB to so many consumers, one copy of each", numbers, options, run)


def queues(options):
    """Files that were queued while their consumer was down, delivered when it comes."""

    def run(home, number):
        number = options.scaled(number)
        source = make_files(home / "files", number, FILE_BYTES)
        with Cluster(options.binary, home / "cluster") as cluster:
            producer, consumer = cluster.producers[0], cluster.consumers[0]
            consumer.kill()
            command = producer.command("send", source, "--feed", "files")
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            listener = Listener(producer)
            consumer.start()
            return listener.rate(number)

    return of("queues", "So many queued files of 1 KB, once their consumer is back", QUEUES, options, run)
