"""Small files while large ones flow, and others while one consumer stands still."""

import signal
import statistics
import subprocess
import threading
import time
from urllib.parse import quote

from ..agents import Cluster
from ..files import count_files, fresh_directory, make_files, remove
from ..processes import until
from ..results import Row, Table
from ..timing import Side, alternate, say
from .latency import percentile, sender
from .one_consumer import Rounds

PAUSE_S = 0.02


def mixed(options):
    """The time that small files take beside large ones, against an idle node."""
    table = Table("mixed", "Files of 4 KiB one by one, idle and while 10 GiB of large files flow", "ms")
    home = fresh_directory(options.home / "mixed")
    large = make_files(home / "large", 10, options.scaled(1 << 30))
    times = max(options.scaled(500), 20)
    with Cluster(options.binary, home / "cluster") as cluster, sender(cluster.producers[0]) as send:
        def one(name):
            time.sleep(PAUSE_S)
            return send(name)[1] * 1e3

        idle = [one(f"idle-{at}") for at in range(times)]
        flow = threading.Thread(target=cluster.send, args=[large])
        flow.start()
        beside = []
        while flow.is_alive():
            beside.append(one(f"beside-{len(beside)}"))
        flow.join()
    table.rows = [Row("consign, idle: done", idle), Row("consign, beside large files: done", beside)]
    table.target("99 of 100 beside large ones / idle", percentile(beside, 99) / percentile(idle, 99), at_most=3)
    say(f"  idle {statistics.median(idle):.1f} ms, beside {statistics.median(beside):.1f} ms")
    remove(home)
    return table


def standstill(options):
    """What a consumer that stands still costs those that do not."""
    table = Table("standstill", "10,000 files of 10 KB to three consumers: those of two, while the third runs or not", "s")
    home = fresh_directory(options.home / "standstill")
    rounds = Rounds(make_files(home / "files", options.scaled(10_000), 10_000), home / "sources")
    with Cluster(options.binary, home / "cluster", consumers=3) as cluster:
        producer, others, still = cluster.producers[0], cluster.consumers[:2], cluster.consumers[2]

        def for_others(source):
            """How many of these files go to the two."""
            files = [file.relative_to(source) for file in source.rglob("*") if file.is_file()]
            goes_to = (producer.get(f"/explain?feed=files&key={quote(str(file))}")["chain"][0] for file in files)
            return sum(name != still.name for name in goes_to)

        def run(name, round):
            source = rounds.of(name, round)
            wanted, top = for_others(source), next(source.iterdir()).name

            def seen():
                inboxes = [agent.inbox / top for agent in others]
                return sum(count_files(inbox) for inbox in inboxes if inbox.exists())

            began = time.monotonic()
            subprocess.run(producer.command("send", source, "--feed", "files"), check=True, stdout=subprocess.DEVNULL)
            until("the two have all of theirs", lambda: seen() >= wanted, 120)
            took = time.monotonic() - began
            return took

        def all_run(round):
            took = run("all", round)
            until_delivered(producer)
            return took

        def one_stopped(round):
            still.process.send_signal(signal.SIGSTOP)
            try:
                return run("stopped", round)
            finally:
                still.process.send_signal(signal.SIGCONT)
                until_delivered(producer)

        pair = [Side("consign, all three run", all_run), Side("consign, the third stopped", one_stopped)]
        sides = alternate(table.title, pair, options.rounds)
    table.add(sides.values())
    table.compare("stopped / running", sides["consign, the third stopped"], sides["consign, all three run"], at_most=1.05)
    remove(home)
    return table


def until_delivered(producer):
    """Nothing is queued any more."""
    until("all are delivered", lambda: producer.get("/status")["produces"][0]["queued_files"] == 0, 120, 0.05)
