"""What the archive of receipts costs: sending with it against sending while it cannot be written."""

import sqlite3

from ..agents import Cluster, Keys
from ..files import compare, fresh_directory, make_files, remove
from ..processes import processor_s, until
from ..results import Table
from ..timing import Side, alternate


def archived(database):
    """Receipts in an archive."""
    reader = sqlite3.connect(database)
    try:
        return reader.execute("SELECT count(*) FROM receipts").fetchone()[0]
    finally:
        reader.close()


def receipts(options):
    files = options.scaled(10_000)
    table = Table("receipts", "10,000 files of 10 KB with keys, with and without an archive of receipts", "s")
    home = fresh_directory(options.home / "receipts")
    source = make_files(home / "files", files, 10_000)
    keys = Keys(options.binary, home / "keys")
    used = {True: [], False: []}

    def side(is_locked):
        def run(round):
            with Cluster(options.binary, home / f"{is_locked}-{round}", keys=keys) as cluster:
                producer = cluster.producers[0]
                database = producer.home / "data" / "receipts.db"
                # Whoever holds this lock keeps the producer from archiving; it reads its log now and then.
                lock = sqlite3.connect(database, isolation_level=None, timeout=20)
                if is_locked:
                    lock.execute("BEGIN IMMEDIATE")
                before_s = processor_s(producer.process.pid)
                took = cluster.send(source)
                if not is_locked:
                    until("all are archived", lambda: archived(database) == files, deadline_s=60)
                used[is_locked].append(processor_s(producer.process.pid) - before_s)
                lock.close()
                compare(source, cluster.consumers[0].inbox)
            return took

        return Side("consign, nothing archived" if is_locked else "consign, archived", run)

    sides = alternate(table.title, [side(False), side(True)], options.rounds)
    table.add(sides.values())
    table.compare("archived / not", *sides.values(), at_most=1.05)
    more_us = (sum(used[False]) - sum(used[True])) / files / options.rounds * 1e6
    table.notes.append(f"the producer's processor time for archiving: {more_us:.0f} µs a file")
    remove(home)
    return table
