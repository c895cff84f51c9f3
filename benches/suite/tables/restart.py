"""A kill in the middle of a large file: how soon it goes on, and what is sent again."""

import json
import time

from ..agents import Cluster
from ..files import compare, fresh_directory, make_files, remove
from ..links import Links, needs_root
from ..processes import until
from ..results import Row, Table
from ..timing import say

KILLED_AT = 0.6
# What a crash may cost one transfer on the wire, as is promised.
AGAIN_BYTES_MAX = 64 << 20
# More than connections take to be made anew.
GOES_ON_BYTES = 1 << 20
# The headers of a segment of 64 KiB, as it is between namespaces of one machine.
TCP_ADDS = 1 + 66 / 65_160


def restart(options):
    size = options.scaled(10 << 30)
    table = Table("restart", "A kill at 60 % of 10 GiB, and a restart at once", "s")
    needs_root("restart")
    resumed, again = {"producer": [], "consumer": []}, []
    for round in range(options.rounds):
        for which in resumed:
            home = fresh_directory(options.home / f"restart-{which}-{round}")
            source = make_files(home / "files", 1, size)
            with Links(["producer-1", "consumer-1"]) as links:
                goes_on_s, more_bytes = one_kill(options, links, home, source, which, size)
            remove(home)
            resumed[which].append(goes_on_s)
            again.append(max(0, more_bytes) / (1 << 20))
            say(f"  {which} killed: goes on after {goes_on_s:.2f} s, {again[-1]:.0f} MiB sent again")
    for which, figures in resumed.items():
        table.rows.append(Row(f"consign, its {which} killed: from ready to the first new byte", figures))
        table.target(f"{which} killed, the longest, s", max(figures), at_most=1)
    table.target("sent again, the most, MiB", max(again), at_most=AGAIN_BYTES_MAX >> 20)
    table.notes.append("sent again: what came to the consumer over its link, less the file and what TCP adds to it")
    return table


def one_kill(options, links, home, source, which, size):
    """Seconds from ready until it goes on, and bytes that came to the consumer beyond the file."""
    with Cluster(options.binary, home / "cluster", hosts=links.hosts()) as cluster:
        producer, consumer = cluster.producers[0], cluster.consumers[0]
        victim = producer if which == "producer" else consumer
        before = links.received_bytes(consumer.name)
        order = json.dumps([{"path": str(next(source.iterdir()))}])
        status, answer = producer.ask("POST", "/api/v1/feeds/files/files", order)
        accepted = json.loads(answer)
        if status != 200 or "id" not in accepted[0]:
            raise SystemExit(f"it was not taken: {answer}")
        transfer = accepted[0]["id"]
        until("60 % are there", lambda: links.received_bytes(consumer.name) - before >= KILLED_AT * size, 600)
        victim.kill()
        victim.start()
        seen, began = links.received_bytes(consumer.name), time.monotonic()
        until("it goes on", lambda: links.received_bytes(consumer.name) > seen + GOES_ON_BYTES, 60)
        goes_on_s = time.monotonic() - began
        until("all is there", lambda: producer.get(f"/transfers/{transfer}")["state"] == "done", 600, 0.05)
        came = links.received_bytes(consumer.name) - before
        compare(source, consumer.inbox)
    return goes_on_s, came - size * TCP_ADDS
