#!/usr/bin/env python3
"""Times sending with the archive of receipts against sending while that cannot be written.

    cargo build --release --locked
    python3 benches/receipts.py [--dir DIR] [--pairs 5] [--binary target/release/consign]

10,000 files of 10 KB go over TLS to one consumer over loopback, until the last is saved; the way of
measuring is that of tls.py. On one side of each pair the producer archives what is signed; on the other
this program holds the database's lock, so that the producer only reads its log now and then. Who goes
first alternates. Also prints the processor time of the producer, through the last receipt that is
archived: on a busy machine that says more than the clock on the wall.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

from against_rsync import Consign, Processes, make_files, wait_for, warm_disk
from tls import make_bundles

FILES = 10_000


def processor_s(process):
    """Seconds that a process has run so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def archived(database):
    """Receipts in an archive."""
    reader = sqlite3.connect(database)
    try:
        return reader.execute("SELECT count(*) FROM receipts").fetchone()[0]
    finally:
        reader.close()


def run_one(side, is_locked, source):
    """Wall clock and processor time of one run, in seconds."""
    database = side.home / "producer" / "receipts.db"
    producer = side.agents["producer"]
    lock = sqlite3.connect(database, isolation_level=None, timeout=20)
    if is_locked:
        lock.execute("BEGIN IMMEDIATE")
    before_s = processor_s(producer)
    wall_s = side.send(source)
    if not is_locked:
        wait_for("the archive", lambda: archived(database) == FILES)
    used_s = processor_s(producer) - before_s
    lock.close()
    return wall_s, used_s


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--binary", type=Path, default=Path("target/release/consign"))
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    home = Path(tempfile.mkdtemp(prefix="consign-bench-", dir=options.dir))
    found = {"archived": [], "locked": []}
    try:
        bundles = make_bundles(options.binary, home)
        warm_disk(home)
        source = make_files(home / "small", FILES, 10_000)
        for pair in range(options.pairs):
            names = list(found) if pair % 2 == 0 else list(reversed(found))
            for name in names:
                processes = Processes()
                try:
                    side = Consign(options.binary, home / f"{name}-{pair}", processes, bundles)
                    found[name].append(run_one(side, name == "locked", source))
                    side.check(source, keep=False)
                finally:
                    processes.end()
            shown = ", ".join(f"{name} {runs[-1][0]:.2f} s" for name, runs in found.items())
            print(f"  {shown}", file=sys.stderr)
    finally:
        shutil.rmtree(home)
    pairs = zip(found["archived"], found["locked"])
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
    wall, used = (
        {name: statistics.median(run[at] for run in runs) for name, runs in found.items()}
        for at in (0, 1)
    )
    more_us = (used["archived"] - used["locked"]) / FILES * 1e6
    print(
        f"{FILES:,} x 10 KB over TLS: archived {wall['archived']:.2f} s, locked "
        f"{wall['locked']:.2f} s, median ratio {ratio:.2f}; the producer's processor time "
        f"{used['archived']:.2f} s and {used['locked']:.2f} s, {more_us:.0f} us a file more"
    )


if __name__ == "__main__":
    main()
