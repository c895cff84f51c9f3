"""How long an audit takes, and what it costs those who send meanwhile."""

import json
import subprocess
import threading
import time
from contextlib import contextmanager

from ..agents import Cluster
from ..files import fresh_directory, make_files, remove
from ..results import Row, Table
from ..timing import Side, alternate
from .one_consumer import Rounds


def run_audit(cluster, *words):
    """Seconds; ends the run if anything is missing."""
    began = time.monotonic()
    command = cluster.producers[0].command("audit", "--json", *words)
    said = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    took = time.monotonic() - began
    summary = json.loads(said.stdout.splitlines()[-1])
    if said.returncode != 0 or not summary["sound"]:
        raise SystemExit(f"the audit found something wrong: {summary}")
    return took


@contextmanager
def audits(cluster):
    """Audits of what was sent just now, one after the other, until the end of a `with`."""
    over = threading.Event()

    def run():
        while not over.is_set():
            run_audit(cluster, "--read", "--since", "10s")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def audit(options):
    many, some = options.scaled(100_000), options.scaled(2_000)
    table = Table("audit", "Audits of 100,000 files of 100 bytes, and 2,000 files of 10 KB sent meanwhile", "s")
    home = fresh_directory(options.home / "audit")
    with Cluster(options.binary, home / "cluster") as cluster:
        cluster.send(make_files(home / "many" / "many", many, 100).parent)
        cluster.visible(many)
        before = cluster.memory_mib()
        for name, words in [("consign audit", []), ("consign audit --read", ["--read"])]:
            table.rows.append(Row(name, [run_audit(cluster, *words) for _ in range(options.rounds)]))
        grown = [after - mib for after, mib in zip(cluster.memory_mib(), before)]
        table.notes.append(f"memory that audits added to producer and consumer at most: {grown[0]:.0f} and {grown[1]:.0f} MiB")
        rounds = Rounds(make_files(home / "some", some, 10_000), home / "sources")

        def alone(round):
            return cluster.send(rounds.of("alone", round))

        def beside(round):
            with audits(cluster):
                time.sleep(0.2)  # The first of them has begun.
                return cluster.send(rounds.of("beside", round))

        pair = [Side("consign send, no audit", alone), Side("consign send, beside audits", beside)]
        sides = alternate(table.title, pair, options.rounds)
    table.add(sides.values())
    table.compare("beside audits / alone", sides["consign send, beside audits"], sides["consign send, no audit"])
    remove(home)
    return table
