"""To several consumers at once: over links that limit, where a chain should cost no more than one copy, and
over links that do not, on one disk."""

import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from ..agents import Cluster
from ..files import compare, fresh_directory, make_files, remove
from ..links import Links, needs_root
from ..peers.rsync import LACKS, Daemon
from ..processes import free_ports
from ..results import Table
from ..timing import Side, alternate

RATE = "200mbit"
STREAM = Path(__file__).parent.parent / "stream.py"
# The unit that a consumer verifies before it passes it on.
UNIT_BYTES = 1 << 20
# What three streams over one link need against one.
STAR_RATIO = 2.85


def numbered(source, home, name):
    """The same files below a directory of another name: nothing is sent twice."""
    top = home / name
    top.mkdir()
    subprocess.run(["cp", "--recursive", "--link", source, top / name], check=True)
    return top


class Copies:
    """A cluster that keeps so many copies of each file."""

    def __init__(self, options, home, copies, hosts, what=""):
        self.name = f"consign to {copies}{what}"
        self.home = home
        self.cluster = Cluster(options.binary, home / "cluster", 1, copies, copies, hosts=hosts)

    def side(self, source, room):
        def run(round):
            name = f"{self.home.name}-{round}"
            top = numbered(source, room, name)
            took = self.cluster.send(top)
            for agent in self.cluster.consumers:
                compare(source, agent.inbox / name)
                remove(agent.inbox / name)
            return took

        return Side(self.name, run)


class Star:
    """As many rsyncs at once as there are receivers, each with its own daemon."""

    def __init__(self, home, receivers, inside, hosts):
        self.home, self.inside = home, inside
        self.daemons = [
            Daemon(home / name, each=True, address=hosts[name][0], inside=hosts[name][1]) for name in receivers
        ]
        self.name = f"{len(receivers)} × rsync --fsync at once"
        self.lacks = LACKS

    def side(self, source):
        def run(round):
            began, threads, codes = time.monotonic(), [], []
            for daemon in self.daemons:
                into = daemon.home / f"in-{round}"
                into.mkdir()
                command = [*self.inside, *daemon.command(source, into)]
                threads.append(threading.Thread(target=lambda command=command: codes.append(subprocess.call(command))))
                threads[-1].start()
            for thread in threads:
                thread.join()
            took = time.monotonic() - began
            if any(codes):
                raise SystemExit(f"an rsync ended with {codes}")
            for daemon in self.daemons:
                compare(source, daemon.home / f"in-{round}")
                remove(daemon.home / f"in-{round}")
            return took

        return Side(self.name, run)


def one_stream(links, sender, receiver, count):
    """Seconds of one TCP stream over the links between two machines."""
    def run(_):
        [port] = free_ports(1)
        where = [links.address(receiver), str(port)]
        server = subprocess.Popen([*links.inside(receiver), sys.executable, STREAM, "serve", *where])
        command = [*links.inside(sender), sys.executable, STREAM, "send", *where, str(count)]
        took = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        server.wait()
        return took

    return Side("one TCP stream, nothing on disk", run)


def chain(options):
    table = Table("chain", f"100 MB to several consumers, each link {RATE[:-4]} Mbit/s", "s")
    needs_root("chain")
    home = fresh_directory(options.home / "chain")
    count = options.scaled(100_000_000)
    source = make_files(home / "one", 1, count)
    many = make_files(home / "many", max(count // 10_000, 1), 10_000)
    room = home / "sources"
    room.mkdir()
    names = ["producer-1", *(f"consumer-{at + 1}" for at in range(8))]
    with ExitStack() as stack:
        links = stack.enter_context(Links(names, RATE))
        hosts = links.hosts()
        ways = [
            ("c1", 1, "", source), ("c3", 3, "", source), ("c8", 8, "", source),
            ("s3", 3, ", 10,000 files of 10 KB", many),
        ]
        sides = [one_stream(links, names[0], names[1], count)]
        for key, number, what, files in ways:
            one = Copies(options, home / key, number, hosts, what)
            stack.enter_context(one.cluster)
            sides.append(one.side(files, room))
        star = Star(home / "star", names[1:4], links.inside(names[0]), hosts)
        for daemon in star.daemons:
            stack.enter_context(daemon)
        sides.append(star.side(source))
        sides = alternate(table.title, sides, options.rounds)
    table.add(sides.values(), [(star.name, star.lacks)])
    stream, one, three, eight, small, rsync = sides.values()
    goodput = count / stream.median
    ideal = Side("ideal", None, [took + 3 * UNIT_BYTES / goodput for took in stream.figures])
    table.compare("3 copies / (one stream + 3 units)", three, ideal, at_most=1.05)
    table.compare(f"{star.name} / 3 copies", rsync, three, at_least=STAR_RATIO)
    table.compare("8 copies / 1 copy", eight, one, at_most=1.1)
    table.compare("3 copies of 10,000 small files / of the one large file", small, three, at_most=1.0)
    table.notes.append(f"a unit is {UNIT_BYTES >> 20} MiB: what a consumer verifies before it passes it on")
    remove(home)
    return table


def one_disk(options):
    table = Table("one-disk", "1,000 MB to three consumers on one disk", "s")
    home = fresh_directory(options.home / "one-disk")
    source = make_files(home / "files", 1, options.scaled(1_000_000_000))
    room = home / "sources"
    room.mkdir()
    receivers = [f"consumer-{at + 1}" for at in range(3)]
    star = Star(home / "star", receivers, [], {name: ("127.0.0.1", []) for name in receivers})
    with ExitStack() as stack:
        for daemon in star.daemons:
            stack.enter_context(daemon)
        ours = Copies(options, home / "c3", 3, None)
        stack.enter_context(ours.cluster)
        sides = alternate(table.title, [ours.side(source, room), star.side(source)], options.rounds)
    table.add(sides.values(), [(star.name, star.lacks)])
    ours, rsync = sides.values()
    table.compare(f"{star.name} / consign", rsync, ours, at_least=1.15)
    remove(home)
    return table
