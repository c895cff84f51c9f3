"""One small file on an idle cluster: how long until it is submitted, and until all of its consumers have saved
it; against what one sync of this disk takes."""

import json
import os
import statistics
import time
from contextlib import contextmanager
from urllib.parse import quote

from ..agents import Cluster, Listener, UnixConnection
from ..files import fresh_directory, remove
from ..results import Row, Table
from ..timing import say

FILE_BYTES = 4096
# Syncs, one after the other, that `saved` cannot do without: see the notes of the table.
SYNCS = 3


@contextmanager
def sender(agent):
    """`send(name)` gives the seconds until a file is submitted, and until it is done."""
    connection, listener = UnixConnection(agent.socket), Listener(agent)

    def send(name):
        content = os.urandom(FILE_BYTES)
        began = time.monotonic()
        connection.request("PUT", f"/api/v1/feeds/files/files/{quote(name)}", content)
        answer = connection.getresponse()
        transfer = json.loads(answer.read())
        submitted = time.monotonic() - began
        if answer.status != 201:
            raise SystemExit(f"{name} was not taken: {transfer}")
        listener.wait_for(transfer["id"])
        return submitted, time.monotonic() - began

    yield send
    connection.close()


def one_sync(home, times):
    """Milliseconds of each of so many syncs of 4 KiB, written to room that is there already."""
    with open(home / "synced", "wb", buffering=0) as file:
        file.write(bytes(FILE_BYTES * times))
        os.fsync(file.fileno())
        took = []
        for at in range(times):
            began = time.monotonic()
            os.pwrite(file.fileno(), os.urandom(FILE_BYTES), at * FILE_BYTES)
            os.fdatasync(file.fileno())
            took.append((time.monotonic() - began) * 1e3)
    return took


def percentile(figures, of_100):
    return statistics.quantiles(figures, n=100)[of_100 - 1]


def latency(options):
    table = Table("latency", "One file of 4 KiB, nothing else to do", "ms")
    home = fresh_directory(options.home / "latency")
    times = max(options.scaled(200 * options.rounds), 20)
    syncs = one_sync(home, times)
    table.rows.append(Row("fdatasync of 4 KiB, once", syncs))
    for copies in (1, 3):
        with Cluster(options.binary, home / f"to-{copies}", 1, copies, copies) as cluster:
            with sender(cluster.producers[0]) as send:
                for at in range(10):
                    send(f"warm-up-{at}")
                both = [send(f"{at}") for at in range(times)]
        submitted, saved = ([one[at] * 1e3 for one in both] for at in (0, 1))
        table.rows.append(Row(f"consign to {copies}, submitted", submitted))
        table.rows.append(Row(f"consign to {copies}, saved by all and done", saved))
        say(f"  to {copies}: {statistics.median(submitted):.2f} ms submitted, {statistics.median(saved):.2f} ms done")
        table.target(f"to {copies}: median / {SYNCS} syncs", statistics.median(saved) / statistics.median(syncs) / SYNCS)
        table.notes.append(
            f"to {copies}: 99 of 100 are submitted within {percentile(submitted, 99):.2f} ms, and done within "
            f"{percentile(saved, 99):.2f} ms"
        )
    table.notes.append(
        "the syncs that follow each other: the producer's log with the file in it (`submitted`), the log of each "
        "consumer (`saved`), and the producer's log with their answers (`done`). None can go: each is what the next "
        "word rests on"
    )
    remove(home)
    return table
