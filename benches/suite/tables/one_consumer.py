"""From one producer to one consumer: a large file, many of a middling size, and very many small ones."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from ..files import compare, fresh_directory, make_files, remove
from ..peers.consign import Consign
from ..peers.copy import Copy
from ..peers.nats import JetStream
from ..peers.rsync import Daemon, Ssh
from ..results import Table
from ..timing import Side, alternate


class Rounds:
    """The same files under names of their own for each round: nothing is ever sent twice."""

    def __init__(self, files, home):
        self.files, self.home = files, home

    def of(self, side, round):
        """A directory with one subdirectory, in which the files are hard links."""
        top = self.home / f"{side}-{round}"
        below = top / f"{side}-{round}"
        below.mkdir(parents=True)
        for entry in os.scandir(self.files):
            os.link(entry.path, below / entry.name)
        return top


class Workload:
    """`count` files of `size` bytes by every way, in turn."""

    def __init__(self, home, count, size, leaves):
        self.home, self.count = fresh_directory(home), count
        self.files = make_files(home / "files", count, size)
        self.rounds = Rounds(self.files, home / "sources")
        # Large files make room again; small ones stay, since creating some where thousands were just
        # deleted is slower.
        self.leaves = leaves
        self.visible_s = []

    def side(self, peer):
        number = len(list(self.home.glob("peer-*")))
        arrivals = fresh_directory(self.home / f"peer-{number}")

        def run(round):
            source = self.rounds.of(f"peer{number}", round)
            into = arrivals / f"round-{round}"
            flat = source / f"peer{number}-{round}"
            if isinstance(peer, Consign):
                took = peer.send(source, None)
                self.visible_s.append(peer.cluster.visible(self.seen(peer, round)))
                arrived = peer.inbox / flat.name
            else:
                took = peer.send(flat, into)
                arrived = into
            compare(flat, arrived)
            if not self.leaves:
                remove(arrived)
            shutil.rmtree(source)
            return took

        return Side(peer.name, run)

    def seen(self, peer, round):
        """Files in its inbox once this round's are there."""
        rounds = round + 1 if self.leaves else 1
        return self.count * rounds


def costs(table, peer, files_gib, thousands):
    """Processor time and memory of the two agents, over all rounds of this peer."""
    producer_s, consumer_s = peer.cluster.processor_s()
    producer_mib, consumer_mib = peer.cluster.memory_mib()
    per = f"a GiB: {(producer_s) / files_gib:.2f} s and {consumer_s / files_gib:.2f} s"
    if thousands:
        per = f"10,000 files: {producer_s / thousands * 10:.2f} s and {consumer_s / thousands * 10:.2f} s"
    table.notes.append(f"{peer.name}: processor time of producer and consumer for {per}")
    table.target(f"resident memory of {peer.name}, producer, MiB", producer_mib, at_most=96)
    table.target(f"resident memory of {peer.name}, consumer, MiB", consumer_mib, at_most=96)


def of_size(key, title, count, size, options, peers, targets, leaves):
    home = options.home / key
    work = Workload(home, count, size, leaves)
    table = Table(key, title, "s")
    with ExitStack() as stack:
        entered = [stack.enter_context(peer) if hasattr(peer, "__enter__") else peer for peer in peers(home)]
        sides = alternate(title, [work.side(peer) for peer in entered], options.rounds)
        table.add(sides.values(), [(peer.name, peer.lacks) for peer in entered])
        targets(table, sides)
        for peer in entered:
            if isinstance(peer, Consign):
                gib = count * size * options.rounds / (1 << 30)
                costs(table, peer, gib, count * options.rounds / 1_000 if count >= 1_000 else 0)
    table.target("longest from the last `saved` until all are visible, s", max(work.visible_s), at_most=0.5)
    remove(home)
    return table


def large(options):
    binary = options.binary

    def peers(home):
        return [
            Copy(), Consign(binary, home / "plain"), Consign(binary, home / "tls", with_keys=True),
            Daemon(home / "daemon-each", each=True), Daemon(home / "daemon", each=False),
            *([Ssh(home / "ssh")] if Path("/usr/sbin/sshd").exists() else []),
        ]

    def targets(table, sides):
        ours, keyed = sides["consign"], sides["consign, TLS both ways"]
        table.compare("consign / cp and syncfs", ours, sides["cp, then syncfs"], at_most=1.15)
        table.compare("rsync --fsync / consign", sides["rsync --fsync"], ours, at_least=1.5)
        if Ssh.name in sides:
            table.compare("rsync over ssh / consign with TLS", sides[Ssh.name], keyed, at_least=2.5)
        table.compare("consign with TLS / without", keyed, ours, at_most=1.35)

    size = options.scaled(1 << 30)
    return of_size("large", "1 file of 1 GiB", 1, size, options, peers, targets, leaves=False)


def middling(options):
    def peers(home):
        return [
            Copy(), Consign(options.binary, home / "plain"),
            Daemon(home / "daemon-each", each=True), Daemon(home / "daemon", each=False),
        ]

    def targets(table, sides):
        ours = sides["consign"]
        table.compare("rsync --fsync / consign", sides["rsync --fsync"], ours, at_least=2)
        table.compare("rsync and one syncfs / consign", sides["rsync, then syncfs"], ours, at_least=1.5)

    count = options.scaled(1_000)
    return of_size("middling", "1,000 files of 1 MiB", count, 1 << 20, options, peers, targets, leaves=False)


def small(options):
    def peers(home):
        return [
            Copy(), Consign(options.binary, home / "plain"), Consign(options.binary, home / "tls", with_keys=True),
            Daemon(home / "daemon-each", each=True), Daemon(home / "daemon", each=False),
            *([JetStream(home / "nats")] if shutil.which("nats-server") else []),
        ]

    def targets(table, sides):
        ours = sides["consign"]
        table.compare("rsync --fsync / consign", sides["rsync --fsync"], ours, at_least=7)
        table.compare("rsync and one syncfs / consign", sides["rsync, then syncfs"], ours, at_least=1)

    count = options.scaled(10_000)
    return of_size("small", "10,000 files of 10 KB", count, 10_000, options, peers, targets, leaves=True)
